"""``check_forecaster``: the forecasters' contract, run on any of them, ours or a stranger's. Use it in a test::

    from autoscaler.core.contract_forecaster import check_forecaster

    def test_my_forecaster_keeps_the_contract() -> None:
        assert check_forecaster(FORECASTER) == []

It is driven through made demand of a few services (steady, a wave, one with gaps, one that is never known); nothing is random, so a
finding comes back until it is mended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from autoscaler.core.contract import Finding
from autoscaler.core.forecaster import LARGEST_LOG, Forecaster, ForecasterType, Moment
from autoscaler.core.model import Floats

START_S: Final = 1_750_000_200.0
STEP_S: Final = 15.0
TICKS: Final = 400
NEVER: Final = 3
"""The row whose demand is never known."""
FLOOR_PER_S: Final = 0.016


def check_forecaster(kind: ForecasterType) -> list[Finding]:
    """Everything in which the forecaster breaks the contract, at most one finding a rule; an empty list says that it keeps it."""
    if not kind.summary or not kind.experts or len(set(kind.experts)) < len(kind.experts):
        return [
            Finding("declaration", f"a summary and a name for each expert are needed, not {kind.summary!r} and {kind.experts!r}")
        ]
    found: list[Finding] = []
    for name, rule in _RULES.items():
        try:
            words = next(rule(kind), None)
        except Exception as error:  # whatever a stranger's plug-in raises is a finding about it
            reads = "read-only" in str(error)
            words = "it writes into the moment, which belongs to all" if reads else f"it raised {type(error).__name__}: {error}"
        if words is not None:
            found.append(Finding(name, words))
            if name == "shape":
                break
    return found


def moments(rows: Any, first: int = 0, last: int = TICKS) -> Iterator[Moment]:
    """What services `rows` of the made ones are shown."""
    rows = np.asarray(rows, dtype=np.int64)
    level = np.full(len(rows), np.nan)
    for tick in range(last):
        rates = _demand(tick)[rows]
        known: Any = rates == rates
        logs = np.log(np.fmax(rates, FLOOR_PER_S))
        logs[~known] = np.nan
        level = np.where(known, np.where(level == level, level + 0.2 * (logs - level), logs), level)
        if tick < first:
            continue
        whole = bool(known.all())
        reached = 0.95 * logs
        floors, ahead_s = np.full(len(rows), FLOOR_PER_S), np.full(len(rows), 120.0)
        shown = level.copy()
        for column in (rates, known, logs, reached, floors, ahead_s, shown):
            column.flags.writeable = False
        yield Moment(
            at_s=START_S + STEP_S * tick,
            interval_s=STEP_S,
            rates=rates,
            known=None if whole else known,
            logs=logs,
            floors=floors,
            levels=shown,
            reached=reached,
            whole=whole,
            ahead_s=ahead_s,
            window_s=60.0,
        )


def _demand(tick: int) -> Floats:
    wave = 20.0 + 10.0 * np.sin(tick / 30.0) + (tick * 7 % 5)
    return np.array([12.0, wave, np.nan if tick % 50 > 40 else 2.0 * wave, np.nan, 0.0 if tick < 100 else 5.0])


_ALL: Final = tuple(range(5))


def _told(kind: ForecasterType, rows: Any = _ALL, last: int = TICKS) -> Forecaster:
    made = kind.make(len(rows))
    for moment in moments(rows, last=last):
        made.observe(moment)
    return made


def _goes_on(made: Forecaster, rows: Any, first: int = TICKS, ticks: int = 40) -> Floats:
    said = []
    for moment in moments(rows, first, first + ticks):
        made.observe(moment)
        said.append(np.array(made.forecast()))
    return np.array(said)


def _shape(kind: ForecasterType) -> Iterator[str]:
    for rows in ((), (1,), _ALL):
        said, wanted = np.asarray(_told(kind, rows, 60).forecast()), (len(rows), len(kind.experts))
        if said.shape != wanted or said.dtype != np.float64:
            yield f"forecast gives {said.dtype} {said.shape} for {len(rows)} services; float64 {wanted} is allowed: services, experts"


def _unknown(kind: ForecasterType) -> Iterator[str]:
    said = _told(kind).forecast()[NEVER]
    if not np.isnan(said).all():
        yield f"of demand that was never known it says {said}; NaN is allowed"
    if not np.isnan(kind.make(2).forecast()).all():
        yield "it says something before it has seen anything; NaN is allowed"


def _logs(kind: ForecasterType) -> Iterator[str]:
    said = _goes_on(kind.make(len(_ALL)), _ALL, 0, TICKS)
    if (wrong := said[np.isinf(said) | (np.abs(said) > LARGEST_LOG)]).size:
        yield f"it says {wrong[0]:g}; natural logarithms of requests/s are wanted, within ±{LARGEST_LOG:g}"


def _only_reads(kind: ForecasterType) -> Iterator[str]:
    made = _told(kind)
    first = np.array(made.forecast())
    if not _same(first, np.array(made.forecast())):
        yield "asked twice, forecast gives different answers"


def _repeats(kind: ForecasterType) -> Iterator[str]:
    if not _same(_goes_on(_told(kind), _ALL), _goes_on(_told(kind), _ALL)):
        yield "equal samples give different forecasts"


def _alone(kind: ForecasterType) -> Iterator[str]:
    among = _told(kind).forecast()
    for row in _ALL:
        if not _same(among[row], _told(kind, (row,)).forecast()[0]):
            yield f"service {row} is foretold {among[row]} among others, {_told(kind, (row,)).forecast()[0]} alone"


def _moves(kind: ForecasterType) -> Iterator[str]:
    made, rows = _told(kind), np.array([4, -1, 1])
    made.rearrange(rows.copy())
    if len(made.forecast()) != len(rows):
        yield f"after rearrange to {len(rows)} services it forecasts {len(made.forecast())}"
    moved, stayed = _goes_on(made, (4, 0, 1)), _goes_on(_told(kind), _ALL)
    for place in (0, 2):
        if not _same(moved[:, place], stayed[:, rows[place]]):
            yield "what it has learnt does not move with its service"


def _takes_over(kind: ForecasterType) -> Iterator[str]:
    made, other = _told(kind, (0, 1)), _told(kind, (2, 4))
    wanted = _goes_on(_told(kind), _ALL)
    made.adopt(other, np.array([-1, 0]))
    said = _goes_on(made, (0, 2))
    if not _same(said[:, 0], wanted[:, 0]):
        yield "adopt changes a row that stays (−1)"
    if not _same(said[:, 1], wanted[:, 2]):
        yield "a row that takes over another's past is foretold something else than that one"


def _survives(kind: ForecasterType) -> Iterator[str]:
    state = json.loads(json.dumps(_told(kind).save(), allow_nan=False))
    made = kind.make(len(_ALL))
    made.load(state)
    if not _same(_goes_on(made, _ALL), _goes_on(_told(kind), _ALL)):
        yield "after save and load it forecasts something else"


def _same(one: Floats, other: Floats) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-9, atol=1e-9, equal_nan=True))


_RULES: Final[dict[str, Callable[[ForecasterType], Iterator[str]]]] = {
    "shape": _shape,
    "unknown": _unknown,
    "logarithms": _logs,
    "only reads": _only_reads,
    "repeats": _repeats,
    "alone": _alone,
    "moves": _moves,
    "takes over": _takes_over,
    "survives": _survives,
}
