"""The decision core: pure functions and data, no I/O, no clock, no randomness of its own.

What runs here in the cluster runs in ``replay`` and in ``autoscaler demo`` as well. Reading order: ``model`` (the words),
``policy`` (the plug-in contract), ``history``, ``constraints`` (what may change a wish, in which order), ``engine``
(observe → recommend → constrain for all services at once), ``allocation`` (shared budgets and node slots).
"""
