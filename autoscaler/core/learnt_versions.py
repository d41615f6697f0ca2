"""What was learnt of each version of a target, so that an update begins with what is known and a rollback finds it again.

The estimate of a service is that of one version: the one that (nearly) all of its ready replicas are of. A version that was never seen
is taken to do what the one before it did, less surely, and learns on its own from there. A version that was here before gets back
what had been learnt of it. While two are mixed, samples teach nothing: what they show is the mean of both, which belongs to neither and
would look like a jump; policies are told the mean of what is known of each, weighted by their shares, since that is what the ready replicas do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity_estimate import Estimates
from autoscaler.core.capacity_samples import STEADY
from autoscaler.core.model import Bools, Floats, Ints, LearntVersion, Versions

KEPT: Final = 4
"""Versions of a target that are remembered beside the one that runs; the one that went first is forgotten first."""


class LearntVersions:
    """Of m services, in the order of their estimates. version: what each estimate is of, "" until one is seen. others: what was learnt of
    other versions, by version, the last to go last. mixed (m,): two versions are ready."""

    def __init__(self, m: int) -> None:
        self.version: list[str] = [""] * m
        self.others: list[dict[str, LearntVersion]] = [{} for _ in range(m)]
        self.mixed: Bools = np.zeros(m, dtype=np.bool_)
        self._ready: list[Versions] = [()] * m
        self._last: tuple[Versions, ...] | None = None
        self._any_mixed = False

    def adopt(self, before: LearntVersions, places: Sequence[int]) -> None:
        """Place i goes on from `before`'s places[i]; one of −1 begins anew."""
        for place, old in enumerate(places):
            if old >= 0:
                self.version[place], self.others[place] = before.version[old], before.others[old]
                self.mixed[place], self._ready[place] = before.mixed[old], before._ready[old]
        self._any_mixed = bool(self.mixed.any())

    def look(self, versions: tuple[Versions, ...] | None, rows: Ints, estimates: Estimates) -> None:
        """Takes in which versions are ready now; rows (m,): where our services stand in `versions`."""
        if versions is None or versions is self._last:
            return
        self._last = versions
        for place, row in enumerate(rows.tolist()):
            ready = versions[row]
            if ready == self._ready[place]:
                continue
            self._ready[place] = ready
            # Where nothing is ready, all stays as it was: nobody knows what comes.
            leading = next((version for version, share in ready if share >= 1.0 - STEADY), None)
            self.mixed[place] = bool(ready) and leading is None
            if leading is not None and leading != self.version[place]:
                self._change(place, leading, estimates)
        self._any_mixed = bool(self.mixed.any())

    def _change(self, place: int, version: str, estimates: Estimates) -> None:
        before, others = self.version[place], self.others[place]
        self.version[place] = version
        if not before:
            # What was learnt while nobody told of versions is taken to be of this one, and what is kept of it is older.
            others.pop(version, None)
            return
        if _possible(learnt := learnt_of(before, place, estimates)):
            others[before] = learnt
        known = others.pop(version, None)
        if known is None:
            estimates.doubt(place)
        else:
            estimates.restore(place, known.per_s, known.weight, known.seen)
            estimates.forget_lately(place)
        while len(others) > KEPT:
            del others[next(iter(others))]

    def means(self, estimates: Estimates) -> Floats:
        """What a ready replica does on average, (m,) requests/s."""
        if not self._any_mixed:
            return estimates.mean
        means = estimates.mean.copy()
        for place in np.flatnonzero(self.mixed).tolist():
            others, own = self.others[place], float(means[place])
            means[place] = sum(
                share * (others[version].per_s if version in others else own) for version, share in self._ready[place]
            )
        return means

    def recall(self, place: int, version: str, others: Sequence[LearntVersion]) -> None:
        """What a status remembers."""
        self.version[place] = version
        self.others[place] = {one.version: one for one in others[-KEPT:] if _possible(one)}

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "version": self.version,
            "others": [[[one.version, one.per_s, one.weight, one.seen] for one in kept.values()] for kept in self.others],
            "ready": [[list(pair) for pair in ready] for ready in self._ready],
            "mixed": self.mixed.tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of as many services."""
        self.version = list(state["version"])
        self.others = [
            {
                version: LearntVersion(version=version, per_s=per_s, weight=weight, seen=seen)
                for version, per_s, weight, seen in kept
            }
            for kept in state["others"]
        ]
        self._ready = [tuple((version, share) for version, share in ready) for ready in state["ready"]]
        self.mixed = np.array(state["mixed"], dtype=np.bool_)
        self._any_mixed = bool(self.mixed.any())
        self._last = None


def learnt_of(version: str, place: int, estimates: Estimates) -> LearntVersion:
    """What the estimates know now."""
    return LearntVersion(
        version=version,
        per_s=float(estimates.mean[place]),
        weight=float(estimates.weight[place]),
        seen=float(estimates.seen[place]),
    )


def _possible(one: LearntVersion) -> bool:
    return 0.0 < one.per_s < np.inf and 0.0 < one.weight < np.inf and 0.0 <= one.seen <= one.weight
