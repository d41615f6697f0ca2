"""What became of a candidate: on one trace, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replay.tune.space import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Over all traces. cost_per_h: money where every trace has prices, else replica-hours; per hour scored. attained_ratio: the worst
    trace's, since a promise must be kept on each."""

    cost_per_h: float
    attained_ratio: float
    actions_per_h: float

    @property
    def objectives(self) -> tuple[float, float, float]:
        """To be made small, all three."""
        return self.cost_per_h, 1.0 - self.attained_ratio, self.actions_per_h


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate that was tried. pruned: only on the first stretch of the training part, which its standing is of. faults: why it could
    not be tried at all (then there is no standing)."""

    number: int
    values: Values
    standing: Standing | None = None
    pruned: bool = False
    faults: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        return self.standing is not None and not self.pruned


def standing(scores: Sequence[Mapping[str, Any]]) -> Standing:
    """Of the scores of one candidate, one a trace."""
    hours = sum(score["evaluated_s"] for score in scores) / 3600
    return Standing(
        cost_per_h=round(sum(cost_of(score, priced(scores)) for score in scores) / hours, 9),
        attained_ratio=min(score["attained_ratio"] for score in scores),
        actions_per_h=round(sum(score["actions"] for score in scores) / hours, 9),
    )


def priced(scores: Sequence[Mapping[str, Any]]) -> bool:
    return all(score["cost"] is not None for score in scores)


def cost_of(score: Mapping[str, Any], money: bool) -> float:
    return float(score["cost"] if money else score["replica_hours"])


def needed_ratio(promised_ratio: float, margin_ratio: float) -> float:
    """What must be attained in training: the promise, with a share of the lateness that it allows left unused."""
    return promised_ratio + (1.0 - promised_ratio) * margin_ratio
