"""Which candidates nobody beats in everything, and which one of them is taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.tune.trial import Standing, Trial


def ranks(standings: Sequence[Standing]) -> Ints:
    """0 for those that no other one beats (as good in each objective, better in one), 1 for those that only rank 0 beats, and so on."""
    points: Floats = np.array([one.objectives for one in standings]).reshape(-1, 3)
    better = (points[:, None] <= points[None]).all(axis=2) & (points[:, None] < points[None]).any(axis=2)
    found = np.full(len(points), -1, dtype=np.int64)
    rank = 0
    while (left := found < 0).any():
        found[left & ~(better & left[:, None]).any(axis=0)] = rank
        rank += 1
    return found


def best_first(standings: Sequence[Standing], needed_ratio: float) -> list[int]:
    """Places: those that attain what is needed by rank and cost, then the others by how little they lack."""
    rank = ranks(standings)

    def key(place: int) -> tuple[float, int, float, int]:
        one = standings[place]
        lacks = max(needed_ratio - one.attained_ratio, 0.0)
        return lacks, 0 if lacks else int(rank[place]), one.cost_per_h, place

    return sorted(range(len(standings)), key=key)


def front(trials: Sequence[Trial], promised_ratio: float) -> list[Trial]:
    """Finished trials that keep the promise and that none beats, the cheapest first; where none keeps it, of all finished ones."""
    done = [trial for trial in trials if trial.finished]
    meant = [trial for trial in done if _standing(trial).attained_ratio >= promised_ratio] or done
    rank = ranks([_standing(trial) for trial in meant])
    seen: set[tuple[float, float, float]] = set()
    found = []
    for place in sorted(range(len(meant)), key=lambda place: (_standing(meant[place]).objectives, meant[place].number)):
        point = _standing(meant[place]).objectives
        if rank[place] == 0 and point not in seen:
            seen.add(point)
            found.append(meant[place])
    return found


def chosen(trials: Sequence[Trial], needed_ratio: float, promised_ratio: float) -> Trial:
    """The cheapest that attains what is needed; else the cheapest that keeps the promise; else the one that attains most."""
    done = [trial for trial in trials if trial.finished]
    for least in (needed_ratio, promised_ratio):
        keep = [trial for trial in done if _standing(trial).attained_ratio >= least]
        if keep:
            return min(keep, key=lambda trial: (_standing(trial).cost_per_h, _standing(trial).actions_per_h, trial.number))
    return min(done, key=lambda trial: (-_standing(trial).attained_ratio, _standing(trial).cost_per_h, trial.number))


def _standing(trial: Trial) -> Standing:
    assert trial.standing is not None
    return trial.standing
