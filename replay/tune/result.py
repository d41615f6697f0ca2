"""What tuning a service came to: the chosen candidate beside the manifest's own, on traffic of both parts, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autoscaler.core.model import PolicyRef
from replay.plugins import policy_text
from replay.tune.front import chosen, front
from replay.tune.parts import Parts
from replay.tune.search import Player
from replay.tune.space import Space, Values
from replay.tune.trial import Standing, Trial, needed_ratio, priced, standing

Score = Mapping[str, Any]
_DEARER_RATIO: Final = 0.0005
"""What is shown as 0.1 % at least."""
_MORE_RATIO: Final = 0.00005
"""Attainments less apart than this are the same to people: 0.005 percentage points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Policies on both parts: a score a trace each."""

    policies: tuple[PolicyRef, ...]
    training: Sequence[Score]
    held_out: Sequence[Score]

    @property
    def text(self) -> str:
        return " + ".join(map(policy_text, self.policies))

    def keeps(self, part: str) -> bool:
        """On every trace of the part (`training`, `held_out`)."""
        return all(score["attained_ratio"] >= score["promised_ratio"] for score in getattr(self, part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """One service. parts, traces: by trace. money: whether cost is money or replica-hours."""

    space: Space
    trials: Sequence[Trial]
    chosen: Trial
    front: Sequence[Trial]
    parts: Sequence[Parts]
    traces: Sequence[str]
    promised_ratio: float
    margin_ratio: float
    untuned: Judged
    tuned: Judged
    money: bool

    @property
    def service(self) -> str:
        return self.space.spec.key

    @property
    def values(self) -> Values:
        return self.chosen.values

    def saved(self, part: str) -> float:
        """Share of the untuned cost that is saved on a part; below zero where the tuned one is dearer."""
        before = standing(getattr(self.untuned, part)).cost_per_h
        return 1 - standing(getattr(self.tuned, part)).cost_per_h / before if before > 0 else 0.0

    @property
    def warnings(self) -> list[str]:
        """Plain words, each about something that does not hold."""
        return [*self._broken("training"), *self._thin(), *self._broken("held_out"), *self._gone()]

    @property
    def notes(self) -> list[str]:
        """What to know before trying again."""
        ends = [
            f"{knob.name}={self.values[knob.name]} lies at an end of its range; --range {knob.name}=LOW..HIGH widens it"
            for knob in self.space.knobs
            if knob.at_an_end(self.values[knob.name])
        ]
        same = self.values == self.space.given() and self.untuned.policies == self.space.own
        return (["nothing cheaper was found than what the manifest has"] if same else []) + ends

    def _broken(self, part: str) -> list[str]:
        words = "the training part" if part == "training" else "held-out traffic, which it never saw"
        found = []
        for score, before in zip(getattr(self.tuned, part), getattr(self.untuned, part), strict=True):
            if score["attained_ratio"] < score["promised_ratio"]:
                own = "kept it" if before["attained_ratio"] >= before["promised_ratio"] else "did not keep it either"
                found.append(
                    f"the promise is NOT kept on {words} ({score['trace']}): {score['attained_ratio']:.3%} of {score['promised_ratio']:.2%}; "
                    f"the untuned manifest {own} ({before['attained_ratio']:.3%})"
                )
        return found

    def _thin(self) -> list[str]:
        needed = needed_ratio(self.promised_ratio, self.margin_ratio)
        attained = min(score["attained_ratio"] for score in self.tuned.training)
        if self.promised_ratio <= attained < needed:
            return [f"no candidate kept the margin in training: {attained:.3%} attained, {needed:.3%} wanted"]
        return []

    def _gone(self) -> list[str]:
        """The gain of the training part, lost on the other; or more money for nothing."""
        learnt, shown = self.saved("training"), self.saved("held_out")
        if learnt > 0 and self.untuned.keeps("training") and self.untuned.keeps("held_out") and self.tuned.keeps("held_out"):
            if shown <= 0:
                return [
                    f"the gain does not hold: {learnt:.1%} saved in training, {-shown:.1%} dearer than untuned on held-out traffic"
                ]
            if shown < learnt / 2:
                return [f"most of the gain does not hold: {learnt:.1%} saved in training, {shown:.1%} on held-out traffic"]
        elif shown <= -_DEARER_RATIO and not any(
            after["attained_ratio"] > before["attained_ratio"] + _MORE_RATIO
            for after, before in zip(self.tuned.held_out, self.untuned.held_out, strict=True)
        ):
            return [f"{-shown:.1%} dearer than untuned on held-out traffic, and attains no more there"]
        return []

    def as_json(self) -> dict[str, Any]:
        done = [trial for trial in self.trials if trial.finished]
        return {
            "policies": [{"name": ref.name, "params": dict(ref.params)} for ref in self.tuned.policies],
            "params": dict(self.values),
            "promised_ratio": self.promised_ratio,
            "needed_ratio": round(needed_ratio(self.promised_ratio, self.margin_ratio), 9),
            "cost_unit": "money" if self.money else "replica_hours",
            "trials": len(self.trials),
            "finished": len(done),
            "pruned": sum(trial.pruned for trial in self.trials),
            "trial": self.chosen.number,
            "parts": [
                {
                    "trace": trace,
                    "training_s": [part.training.from_s, part.training.until_s],
                    "held_out_s": [part.held_out.from_s, part.held_out.until_s],
                    "first_stretch_s": None if part.rung is None else [part.rung.from_s, part.rung.until_s],
                }
                for trace, part in zip(self.traces, self.parts, strict=True)
            ],
            "training": {
                "untuned": list(self.untuned.training),
                "tuned": list(self.tuned.training),
                "saved_ratio": self.saved("training"),
            },
            "held_out": {
                "untuned": list(self.untuned.held_out),
                "tuned": list(self.tuned.held_out),
                "saved_ratio": self.saved("held_out"),
            },
            "front": [_row(trial) for trial in self.front],
            "warnings": self.warnings,
            "notes": self.notes,
        }


def judge(
    player: Player,
    space: Space,
    own: tuple[PolicyRef, ...],
    trials: Sequence[Trial],
    *,
    margin_ratio: float,
    traces: Sequence[str],
) -> Tuned:
    """Picks a trial, and plays it and the manifest's own policies once more, each alone, as ``replay run`` plays it."""
    promised = space.spec.objective.promised_ratio
    best = chosen(trials, needed_ratio(promised, margin_ratio), promised)

    def judged(policies: tuple[PolicyRef, ...]) -> Judged:
        (training,), (held_out,) = player.scores([policies], player.training), player.scores([policies], player.held_out)
        return Judged(policies=policies, training=training, held_out=held_out)

    untuned, tuned = judged(own), judged(space.policies(best.values))
    return Tuned(
        space=space,
        trials=trials,
        chosen=best,
        front=front(trials, promised),
        parts=player.parts,
        traces=traces,
        promised_ratio=promised,
        margin_ratio=margin_ratio,
        untuned=untuned,
        tuned=tuned,
        money=priced([*untuned.training, *tuned.training]),
    )


def _row(trial: Trial) -> dict[str, Any]:
    found: Standing | None = trial.standing
    assert found is not None
    return {
        "trial": trial.number,
        "cost_per_h": found.cost_per_h,
        "attained_ratio": found.attained_ratio,
        "actions_per_h": found.actions_per_h,
        "params": dict(trial.values),
    }
