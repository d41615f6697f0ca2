"""What ``predictive`` orders for requests that will have joined a backlog until help is ready, and how long what worked one off stays."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.model import Bools, Floats, Observation
from autoscaler.core.rows import some

LASTS_RATIO: Final = 0.5
"""That memory keeps at most this share of what demand itself needs: a large backlog shows that demand has jumped, which the forecast knows by
then, and what worked it off is needed no longer."""
LASTS_BESIDE: Final = 0.1
"""Up to this share of what demand needs it comes on top of the forecast's own margin; beyond it the margin is part of it, since what a jump
of demand made uncertain and what it left waiting are the same requests."""
STARTS_HALFWAY: Final = 0.5
"""Where requests wait too long already, those join them that what is ready can't serve within half the lead time: replicas on their way
become ready at any moment of it. Waiting to see the backlog grow would order what it needs one lead time too late. Of a service whose first
forecast hasn't fallen due nothing is on its way, nor are nodes kept for it: the whole time counts, the node's as well."""
SOONEST: Final = 15.0
"""Those who join are worked off in no less than a fifteenth of the time for which they wait for help: who has waited ten minutes gains little
by one less, and as many replicas as that takes would be ordered for a minute's work."""

_LASTS_RATIO: Final = constant(LASTS_RATIO)
_LASTS_BESIDE: Final = constant(LASTS_BESIDE)


def coming(
    observation: Observation, queue: Floats, bearable: Floats, recent: Floats, drains: Floats, *, room: Floats, begun: Bools
) -> Floats:
    """Replicas (n,) for requests that will have joined the backlog until help is ready; 0 where nobody waits too long yet.

    bearable (n,): of how many that wait the last one waits as long as is allowed. recent (n,): what the latest samples need, requests/s. drains
    (n,): replicas for each request that waits. room (n,): of how many replicas the nodes are kept; more of them wait for a node first. begun
    (n,): whose first forecast fell due."""
    late = queue > bearable
    if not some(late):
        return np.zeros(len(queue))
    own = observation.capacity_per_s
    served = observation.ready * own
    placed = np.where(begun, np.fmax(np.ceil(room), observation.current), observation.current)
    node_s = np.where(recent > placed * own, observation.node_lead_time_s, 0.0)
    help_s = observation.lead_time_s + node_s
    share = np.where(begun, STARTS_HALFWAY, 1.0)
    joining = np.fmax(recent - served, 0.0) * share * help_s
    return np.where(late, joining * np.minimum(drains, SOONEST / (help_s * own)), 0.0)


def most_kept(kept: Floats, expected: Floats, provided: Floats, lasting: Floats) -> Floats:
    """Replicas (n,) up to which what is there stays. kept, expected, provided (n,): that demand needs somewhat above what is provided for, as
    likely as not, and provided for. lasting (n,): the memory of what a backlog needed."""
    lasting = np.fmin(lasting, _LASTS_RATIO * provided)
    return np.fmax(kept + np.fmin(lasting, _LASTS_BESIDE * provided), expected + lasting)
