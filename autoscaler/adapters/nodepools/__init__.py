"""Node-pool backends, one file each, behind the ``NodePools`` port.

``backend`` is what they have in common, ``pools`` the port's implementation over them, ``wiring`` makes them of manifests.
"""
