"""HPA v2's scaling policies as plain arithmetic: how far a count may move at once.

Source: kubernetes/api autoscaling/v2 (HPAScalingRules), kubernetes pkg/controller/podautoscaler/horizontal.go
(calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors). The engine applies them to the manifest's behavior, the
policy ``hpa`` to its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, Ints, RatePolicy, ScalingRules

ChangedSince = Callable[[float], Any]
"""By period in seconds: what was added less what was removed within it, (n,), or 0.0."""


def rate_bound(current: Ints | Floats, changed_since: ChangedSince, rules: ScalingRules, *, up: bool) -> Floats | None:
    """The farthest count that `rules` allow in one direction now, (n,), never on the wrong side of `current`; None: no limit."""
    if rules.select == "Disabled":
        return current.astype(np.float64)
    if not rules.policies:
        return None
    # Max selects the policy that allows the most change: the highest bound upwards, the lowest downwards.
    pick = np.maximum if (rules.select == "Max") == up else np.minimum
    bound = _policy_bound(current, changed_since, rules.policies[0], up)
    for policy in rules.policies[1:]:
        bound = pick(bound, _policy_bound(current, changed_since, policy, up))
    return np.maximum(bound, current) if up else np.minimum(bound, current)


def _policy_bound(current: Ints | Floats, changed_since: ChangedSince, policy: RatePolicy, up: bool) -> Floats:
    """The count at the period's start is the current one less what was added and plus what was removed since."""
    start: Floats = current - changed_since(policy.period_s)
    if policy.kind == "Pods":
        return start + policy.value if up else start - policy.value
    # HPA rounds up upwards and truncates downwards, in plain floating point: 10 % on top of 100 make 111 there, and so here.
    return np.ceil(start * (1 + policy.value / 100)) if up else np.trunc(start * (1 - policy.value / 100))
