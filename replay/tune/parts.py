"""How a trace is split in time: a training part that the search sees, a held-out part that it never sees, a shorter stretch to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autoscaler.errors import UsageError

DAY_S: Final = 86_400
_LEAST_S: Final = 600
_RUNG_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A piece of a trace, in seconds from its start: it is played from 0 to until_s, and scored from from_s on."""

    from_s: int
    until_s: int

    @property
    def scored_s(self) -> int:
        return self.until_s - self.from_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """training ends where held_out is scored from; held_out is played from the trace's start, so that a policy that learns has learnt by
    then what it would have in a cluster. rung: the training part's beginning, None where it is too short to leave some out."""

    training: Stretch
    held_out: Stretch
    rung: Stretch | None


def parts_of(name: str, warmup_s: int, end_s: int, held_out_ratio: float) -> Parts:
    """Raises UsageError where a part would be too short to judge anything."""
    cut_s = end_s - round((end_s - warmup_s) * held_out_ratio)
    cut_s -= cut_s % 60
    training = Stretch(from_s=warmup_s, until_s=cut_s)
    held_out = Stretch(from_s=cut_s, until_s=end_s)
    for words, part in (("training", training), ("held-out", held_out)):
        if part.scored_s < _LEAST_S:
            raise UsageError(
                f"trace {name}: {end_s - warmup_s} s after the warm-up, {held_out_ratio:.0%} of them held out, leave {part.scored_s} s for the "
                f"{words} part; {_LEAST_S} s is the least"
            )
    # A night alone says little about a day: the first stretch holds a whole day at least.
    rung_s = warmup_s + max(round(training.scored_s * _RUNG_SHARE), DAY_S)
    rung = Stretch(from_s=warmup_s, until_s=rung_s) if rung_s <= cut_s / 2 else None
    return Parts(training=training, held_out=held_out, rung=rung)
