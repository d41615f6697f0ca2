"""The forecaster plug-in contract, the smaller one below policies.

A forecaster is found by the entry point group ``inference_autoscaler.forecasters``; the entry point names a ``ForecasterType``. One
object serves all services: arrays carry a leading service axis. It holds one or more *experts*, each of which says at every moment what
demand it expects in the window ahead. Nobody believes an expert: the policy ``predictive`` weighs them all by what they were worth
for that very service, so a poor one costs nothing but its time. ``check_forecaster`` (in ``autoscaler.core.contract_forecaster``)
judges any forecaster, ours or a stranger's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.core.value import tick_value

LARGEST_LOG: Final = 30.0
"""A forecast beyond e^±30 requests/s is none: in a regression it would drown what all the others say."""


@tick_value
class Moment:
    """What a forecaster is shown: the next sample of demand of n services, and of which window a forecast is wanted.

    at_s: when the sample ends. interval_s: since the sample before. rates (n,): requests/s, NaN where unknown (then nothing is to be
    learnt); known (n,): which are not, None for all. logs (n,): their natural logarithms, never below that of `floors` (n,), under which
    a rate is as good as none. levels (n,): the log of the mean rate of about the last minute, known from the first known sample on;
    forecasts are weighed as differences to it. reached (n,): the log of the effective demand of the last window (``core.envelope``), NaN
    where a part is unknown; whole: whether it is known of all. ahead_s (n,): from at_s to the window's beginning; window_s: its length.
    All of it is only read.
    """

    at_s: float
    interval_s: float
    rates: Floats
    known: Bools | None
    logs: Floats
    floors: Floats
    levels: Floats
    reached: Floats
    whole: bool
    ahead_s: Floats
    window_s: float


class Forecaster(Protocol):
    """Experts for n services."""

    def observe(self, moment: Moment) -> None:
        """Learns from the next sample."""

    def forecast(self) -> Floats:
        """(n, k): for each of its k experts the log of the rate that it expects in the window of the moment observed last; NaN where it
        can't tell. Only reads."""

    def rearrange(self, rows: Ints) -> None:
        """The services changed: new row i is the old row rows[i], or a new service where that is −1."""

    def adopt(self, other: Any, rows: Ints) -> None:
        """Row i takes over what `other`, made alike, has learnt of its row rows[i]; rows of −1 stay as they are."""

    def save(self) -> dict[str, Any]:
        """Learnt state as plain JSON values."""

    def load(self, state: dict[str, Any]) -> None:
        """Takes back what save gave (same rows). Raises ValueError or KeyError for what it can't use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecasterType:
    """What an entry point of ``inference_autoscaler.forecasters`` names. experts: the names of its columns, for explanations."""

    name: str
    summary: str
    experts: tuple[str, ...]
    make: Callable[[int], Forecaster]
    """Makes it for so many services."""
    source: str = ""
    """Where the rule comes from: a paper, a formula."""
