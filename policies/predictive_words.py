"""What ``predictive`` found that is needed, and how it says so: one sentence with the numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autoscaler.core.model import Bools, Floats
from autoscaler.core.value import tick_value

_MUCH = 1.005
"""So much more is worth a word: both are shown in three digits."""


@tick_value
class Need:
    """What one observation needs, (n,) each."""

    rate: Floats
    recent: Floats
    backlog: Floats
    coming: Floats
    least: Floats
    most: Floats
    replicas: Floats
    headroom: Floats
    by_reactive: Bools | None


def by_reactive_words(need: Need, row: int, missed: float | None, spoken: str) -> str:
    """Why `reactive` speaks, and what it says (spoken). missed: the share of forecasts that were too low; None: there was none to make."""
    why = "neither demand nor what it was is known"
    if missed is not None:
        why = f"the forecast has lost its vote ({missed:.0%} of its last minutes needed more than it says one in twenty does)"
    return f"{why}, so reactive speaks: {spoken}{_joining(need, row)}"


def forecast_words(
    need: Need,
    row: int,
    *,
    own: float,
    lead_s: float,
    middle: float,
    foretold: float,
    share: float,
    promised: float,
    care: float,
    allowed_s: float,
    drain_s: float,
    surprised: bool,
    silenced: Mapping[str, str],
) -> str:
    """own: requests/s a replica. middle: what is as likely as not to be needed. foretold: what is not exceeded in all but the share of the
    minutes; need.rate is what is believed of it. share: what the promise bears, and by the logarithm `care` less often for what was late so
    far. allowed_s: the wait that is allowed. surprised: whether the last window needed far more than was foretold. silenced: forecasters
    that failed, and why."""
    rate, recent, waits, replicas = (float(column[row]) for column in (need.rate, need.recent, need.backlog, need.replicas))
    if replicas == 0:
        return "nothing comes, and nothing came at this time yesterday: no replica is needed"
    words = (
        f"in {lead_s:.0f} s, when a replica ordered now serves, demand will need {middle:.3g}/s as likely as not, and no more than {foretold:.3g}/s "
        f"in all but {share:.2%} of the minutes (what {100 * promised:.4g}% promised bears, with up to {allowed_s:.3g} s of waiting{_boldness(care)})"
    )
    if foretold > rate * _MUCH:
        words += f", of which {rate:.3g}/s is believed, as more lies too far above what was needed lately"
    if surprised:
        words += "; the last minute needed far more than was foretold, so at least what reactive asks for"
    if recent > rate:
        words += f"; the last minute needs {recent:.3g}/s already"
    words += f": {max(rate, recent):.3g}/s ÷ {own:.3g}/s a replica = {max(rate, recent) / own:.2f}"
    if waits >= 0.05:
        words += f"; the backlog adds {waits:.2f} to work it off in {drain_s:.0f} s"
    words += f"{_joining(need, row)}, so {need.least[row]:.0f}"
    if replicas > need.least[row]:
        words += f"; {replicas:.0f} stay, as up to {float(need.most[row]):.0f} may soon be needed again"
    for name, fault in silenced.items():
        words += f"; without the forecaster {name}, which failed ({fault})"
    return words


def _boldness(care: float) -> str:
    """By how much more or less often than the promise alone says a forecast may be too low."""
    more = float(np.exp(-care)) - 1.0
    if abs(more) < 0.01:
        return ""
    return f"; {abs(more):.0%} {'bolder, as fewer' if more > 0 else 'more careful, as more'} were late so far than it allows"


def _joining(need: Need, row: int) -> str:
    coming = float(need.coming[row])
    return f"; those who will have joined it until help is ready add {coming:.1f}" if coming > 0 else ""
