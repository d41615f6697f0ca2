"""The search for one service: generations of candidates, played in batches, the worse half of each left behind on the first stretch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autoscaler.core.model import PolicyRef
from replay.tune.batch import batches
from replay.tune.front import best_first
from replay.tune.parts import Parts, Stretch
from replay.tune.sampler import GENERATION, Sampler
from replay.tune.space import Space
from replay.tune.study import Study
from replay.tune.trial import Standing, Trial, standing
from replay.tune.workers import Workers

BATCH: Final = 16
"""Candidates in one replay. Part of the result where start times or faults are drawn, so it never depends on how many processes there are."""
_KEPT: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Plays candidates on all traces; what a study knows already is not played again. parts: of each trace."""

    service: str
    workers: Workers
    study: Study | None
    parts: Sequence[Parts]

    def scores(
        self, candidates: Sequence[tuple[PolicyRef, ...]], stretches: Sequence[Stretch], size: int = BATCH
    ) -> list[list[dict[str, Any]]]:
        """By candidate and trace. stretches: one a trace."""
        work = [batch for trace, stretch in enumerate(stretches) for batch in batches(trace, stretch, candidates, size)]
        found = [None if self.study is None else self.study.known(self.service, batch) for batch in work]
        missing = [place for place, scores in enumerate(found) if scores is None]
        for place, scores in zip(missing, self.workers.play([work[place] for place in missing]), strict=True):
            found[place] = scores
            if self.study is not None:
                self.study.keep(self.service, work[place], scores)
        in_turn = [score for scores in found for score in scores or ()]
        return [in_turn[place :: len(candidates)] for place in range(len(candidates))]

    @property
    def training(self) -> list[Stretch]:
        return [one.training for one in self.parts]

    @property
    def held_out(self) -> list[Stretch]:
        return [one.held_out for one in self.parts]

    @property
    def rungs(self) -> list[Stretch]:
        """The first stretches; empty where a trace has none."""
        found = [one.rung for one in self.parts if one.rung is not None]
        return found if len(found) == len(self.parts) else []


def search(
    player: Player,
    space: Space,
    *,
    trials: int,
    seed: int,
    needed_ratio: float,
    progress: Callable[[float], None] | None = None,
) -> list[Trial]:
    """Tries so many candidates, in their order. Raises AutoscalerError."""
    sampler = Sampler(space, seed, needed_ratio)
    found: list[Trial] = []
    if player.study is not None:
        player.study.begin(player.service)
    while len(found) < trials:
        asked = sampler.ask(min(GENERATION, trials - len(found)))
        faults = {number: tuple(space.faults(values)) for number, values in asked}
        able = [(number, space.policies(values)) for number, values in asked if not faults[number]]
        standings, pruned = _tried(player, [refs for _, refs in able], needed_ratio)
        by_number = {number: (one, late) for (number, _), one, late in zip(able, standings, pruned, strict=True)}
        made = []
        for number, values in asked:
            one, late = by_number.get(number, (None, False))
            made.append(Trial(number=number, values=values, standing=one, pruned=late, faults=faults[number]))
        sampler.tell(made)
        if player.study is not None:
            player.study.note(player.service, made)
        found += made
        if progress is not None:
            progress(len(found) / trials)
    return found


def _tried(player: Player, candidates: Sequence[tuple[PolicyRef, ...]], needed_ratio: float) -> tuple[list[Standing], list[bool]]:
    """Each candidate's standing, and whether it was left behind on the first stretch."""
    places = list(range(len(candidates)))
    found: list[Standing | None] = [None] * len(candidates)
    if player.rungs and len(candidates) > 1:
        first = [standing(scores) for scores in player.scores(candidates, player.rungs)]
        found[:] = first
        places = sorted(best_first(first, needed_ratio)[: math.ceil(len(candidates) * _KEPT)])
    if places:
        whole = player.scores([candidates[place] for place in places], player.training)
        for place, scores in zip(places, whole, strict=True):
            found[place] = standing(scores)
    kept = set(places)
    return [one for one in found if one is not None], [place not in kept for place in range(len(candidates))]
