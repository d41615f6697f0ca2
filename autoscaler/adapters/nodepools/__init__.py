"""Node-pool backends, one file each, behind the ``NodePools`` port."""
