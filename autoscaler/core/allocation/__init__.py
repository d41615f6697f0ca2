"""The joint plan: what all services share is shared out here, in one pure function of what is there and what is wished.

``plan`` is the order of it. ``wishes`` says what each service wants of which pool, ``places`` who gets it (``priority``, ``fair_share``), ``packing``
and ``nodes`` how many nodes that takes, ``cuts`` what those are told that get less, ``budget`` how many may change at once.
"""

from autoscaler.core.allocation.budget import ChangeBudget
from autoscaler.core.allocation.plan import allocate

__all__ = ["ChangeBudget", "allocate"]
