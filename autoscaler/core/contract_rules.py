"""The rules that ``check_policy`` runs: each is a function of a case that yields what it finds, in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscaler.core.contract_world import What, World
from autoscaler.core.model import Floats, Forecast, Observation, ParamValue, Recommendation
from autoscaler.core.policy import (
    LONGEST_TEXT,
    KeepsTimes,
    Params,
    Policy,
    PolicyType,
    Remembers,
    Saved,
    TakesOver,
    complete_params,
    stack_params,
)
from autoscaler.core.trust import forecast_fault

ROWS = (0, 1, 2)
NEW_ROW = 3
TICKS = 48
"""12 minutes of 15 s: longer than the five-minute bins and one-minute windows that policies are made of."""
WEEK_S = 7 * 86400.0
_SEED = 7


class Case:
    """A policy with one set of completed parameters, ready to be made for any rows."""

    def __init__(self, policy: PolicyType, params: Mapping[str, ParamValue]) -> None:
        self.type = policy
        self.params = params
        self.needs = tuple(policy.signals(params))
        self.names = tuple(dict.fromkeys((*self.needs, *policy.optional_signals)))

    def stacked(self, rows: int) -> Params:
        stacked = stack_params(self.type, [self.params] * rows)
        for values in stacked.values():
            values.flags.writeable = False
        return stacked

    def make(self, rows: int) -> Policy:
        return self.type.make(self.stacked(rows), np.random.Generator(np.random.PCG64(_SEED)))

    def world(self, rows: Sequence[int] = ROWS, what: What = "usual", first_tick: int = 0) -> World:
        return World(self.names, rows, self.type.lookback_s, what, first_tick)


def _play(policy: Policy, observations: Iterable[Observation]) -> list[Floats]:
    """The counts (n,) of each tick."""
    answers = []
    for observation in observations:
        policy.observe(observation)
        answers.append(np.array(policy.recommend(observation).replicas))
    return answers


def _differ(one: Sequence[Floats], other: Sequence[Floats], exact: bool = False) -> tuple[int, Floats, Floats] | None:
    """The first tick at which two runs' counts differ, and both counts; None where they never do."""
    tolerance = 0.0 if exact else 1e-9
    for tick, (a, b) in enumerate(zip(one, other, strict=True)):
        if a.shape != b.shape or not np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
            return tick, a, b
    return None


# ---------------------------------------------------------------- one answer


def _shapes(case: Case) -> Iterator[str]:
    for rows in (ROWS, ROWS[:1]):
        policy = case.make(len(rows))
        for observation in case.world(rows).ticks(3):
            policy.observe(observation)
            yield from _shape_faults(policy.recommend(observation), len(rows))


def _shape_faults(answer: Recommendation, n: int) -> Iterator[str]:
    columns: dict[str, Any] = (
        {"replicas": answer.replicas} if answer.headroom is None else {"replicas": answer.replicas, "headroom": answer.headroom}
    )
    for name, column in columns.items():
        if not isinstance(column, np.ndarray):
            yield f"{name} is a {type(column).__name__}, not an array"
        elif column.shape != (n,):
            yield f"{name} has shape {column.shape} for {n} services; ({n},) is needed"
        elif column.dtype != np.float64:
            yield f"{name} is {column.dtype}; float64 is needed, because NaN says 'can't tell'"
    if answer.forecast is not None:
        yield from _forecast_faults(answer.forecast, n)


def _forecast_faults(forecast: Forecast, n: int) -> Iterator[str]:
    if fault := forecast_fault(forecast, n):
        yield f"forecast.{fault}"
        return
    if (np.diff(forecast.quantiles) <= 0).any() or not ((forecast.quantiles > 0) & (forecast.quantiles < 1)).all():
        yield f"forecast.quantiles {forecast.quantiles.tolist()} do not rise within 0 to 1"
    if forecast.missed_ratio is not None and ((forecast.missed_ratio < 0) | (forecast.missed_ratio > 1)).any():
        yield f"forecast.missed_ratio {forecast.missed_ratio.tolist()} is not within 0 to 1"
    for row in range(n):
        parts = forecast.parts(row)
        for name, factor in {} if parts is None else parts.factors.items():
            if not (np.isfinite(factor) and factor >= 0):
                yield f"forecast.parts({row}) gives '{name}' the factor {factor}"


def _count_faults(answer: Recommendation, where: str) -> Iterator[str]:
    replicas = answer.replicas
    if np.isinf(replicas).any():
        yield f"an infinite count {where}: {replicas.tolist()}"
    if (replicas < 0).any():
        yield f"a negative count {where}: {replicas.tolist()}"
    if answer.headroom is not None and not (np.isfinite(answer.headroom) & (answer.headroom >= 0)).all():
        yield f"a headroom that is no count {where}: {answer.headroom.tolist()}"


def _counts(case: Case) -> Iterator[str]:
    whats: tuple[What, ...] = ("usual", "gaps", "idle", "unknown", "absent")
    for what in whats:
        policy = case.make(len(ROWS))
        for observation in case.world(what=what).ticks(TICKS):
            policy.observe(observation)
            yield from _count_faults(policy.recommend(observation), f"({what} signals)")


def _words(case: Case) -> Iterator[str]:
    whats: tuple[What, ...] = ("usual", "gaps", "unknown")
    for what in whats:
        policy = case.make(len(ROWS))
        for observation in case.world(what=what).ticks(3):
            policy.observe(observation)
            answer = policy.recommend(observation)
            for row in range(len(ROWS)):
                words = answer.why(row)
                if not isinstance(words, str) or not words.strip():
                    yield f"why({row}) says {words!r} ({what} signals): one sentence with the numbers is needed, also for 'can't tell'"


def _empty(case: Case) -> Iterator[str]:
    policy = case.make(0)
    for observation in case.world(()).ticks(3):
        policy.observe(observation)
        yield from _shape_faults(policy.recommend(observation), 0)


# ---------------------------------------------------------------- the same question, the same answer


def _determinism(case: Case) -> Iterator[str]:
    first = _play(case.make(len(ROWS)), case.world().ticks(TICKS))
    second = _play(case.make(len(ROWS)), case.world().ticks(TICKS))
    if found := _differ(first, second, exact=True):
        tick, a, b = found
        yield f"two policies made alike and shown the same differ at tick {tick}: {a.tolist()} and {b.tolist()}"


def _only_reads(case: Case) -> Iterator[str]:
    once, often = case.make(len(ROWS)), case.make(len(ROWS))
    for tick, (observation, again) in enumerate(zip(case.world().ticks(TICKS), case.world().ticks(TICKS), strict=True)):
        once.observe(observation)
        often.observe(again)
        a = np.array(once.recommend(observation).replicas)
        answers = [np.array(often.recommend(again).replicas) for _ in range(3)]
        if _differ(answers[:2], answers[1:], exact=True):
            yield f"recommend asked twice at tick {tick} answers {answers[0].tolist()}, then {answers[1].tolist()}: it may only read"
            return
        if _differ([a], answers[:1], exact=True):
            yield f"asking recommend more than once changed what it says later (tick {tick}): it may only read"
            return


def _alone(case: Case) -> Iterator[str]:
    whats: tuple[What, ...] = ("usual", "gaps")
    for what in whats:
        together = _play(case.make(len(ROWS)), case.world(what=what).ticks(TICKS))
        for place, row in enumerate(ROWS):
            alone = _play(case.make(1), case.world((row,), what).ticks(TICKS))
            if found := _differ([answer[place : place + 1] for answer in together], alone):
                tick, a, b = found
                yield f"service {row} gets {a[0]:g} among {len(ROWS)} but {b[0]:g} alone (tick {tick}, {what} signals)"
                return


# ---------------------------------------------------------------- unknown, idle


def _unknown(case: Case) -> Iterator[str]:
    if not case.needs:
        return
    whats: tuple[What, ...] = ("unknown", "absent")
    for what in whats:
        for tick, replicas in enumerate(_play(case.make(len(ROWS)), case.world(what=what).ticks(8))):
            if not np.isnan(replicas).all():
                yield (
                    f"nothing was ever known ({what} signals), yet it counts {replicas.tolist()} at tick {tick}; "
                    "NaN says 'can't tell', and unknown is not zero"
                )
                return


def _idle(case: Case) -> Iterator[str]:
    if not case.needs:
        return
    last = _play(case.make(len(ROWS)), case.world(what="idle").ticks(TICKS))[-1]
    if np.isnan(last).any():
        yield f"after {TICKS} idle ticks it can't tell ({last.tolist()}); idle is known to be without work, not unknown"


# ---------------------------------------------------------------- what is learnt


def _rearranged(case: Case) -> Iterator[str]:
    places = np.array([2, 0, -1], dtype=np.int64)
    half = TICKS // 2
    stays, moves = case.make(len(ROWS)), case.make(len(ROWS))
    world_stays, world_moves = case.world(), case.world()
    _play(stays, world_stays.ticks(half))
    _play(moves, world_moves.ticks(half))
    moves.rearrange(places, case.stacked(len(places)))
    kept = _play(stays, world_stays.ticks(half))
    got = _play(moves, world_moves.rearranged(places.tolist(), NEW_ROW).ticks(half))
    if found := _differ([a[[2, 0]] for a in kept], [a[:2] for a in got]):
        tick, a, b = found
        yield f"{tick} ticks after rearrange the moved services get {b.tolist()}, unmoved they get {a.tolist()}: what was learnt moves along"
    fresh = _play(case.make(1), case.world((NEW_ROW,), first_tick=half).ticks(half))
    if found := _differ(fresh, [a[2:] for a in got]):
        tick, a, b = found
        yield f"{tick} ticks after rearrange a new service gets {b.tolist()}, in a policy of its own it gets {a.tolist()}"


def _taught(case: Case) -> Iterator[str]:
    """A service that joins late and takes over what a policy of its own has seen of its past."""
    if not (case.type.lookback_s or case.type.backfill_s):
        return
    half, rows = TICKS // 2, (0, 1, NEW_ROW)
    there, world = case.make(3), case.world(rows)
    _play(there, world.ticks(half))
    joined, same_world = case.make(2), case.world(rows)
    _play(joined, case.world(rows[:2]).ticks(half))
    for _ in same_world.ticks(half):
        pass  # the histories are the engine's to keep
    joined.rearrange(np.array([0, 1, -1], dtype=np.int64), case.stacked(3))
    taught = case.make(1)
    _play(taught, case.world((NEW_ROW,)).ticks(half))
    if isinstance(joined, TakesOver):
        joined.adopt(taught, np.array([-1, -1, 0], dtype=np.int64))
    expected, got = _play(there, world.ticks(half)), _play(joined, same_world.ticks(half))
    if found := _differ([a[:2] for a in expected], [a[:2] for a in got]):
        tick, a, b = found
        yield f"{tick} ticks after another service took over its past the others get {b.tolist()}, without it {a.tolist()}"
    elif found := _differ([a[2:] for a in expected], [a[2:] for a in got]):
        tick, a, b = found
        how = "taking over its past" if isinstance(joined, TakesOver) else "joining (there is no adopt, see TakesOver)"
        yield f"{tick} ticks after {how} a service gets {b.tolist()}, there from the start it gets {a.tolist()}"


def _shifted(case: Case) -> Iterator[str]:
    """A clock that is set by a whole week, so that the time of day and the day of the week stay what they were."""
    half = TICKS // 2
    for by_s in (WEEK_S, -WEEK_S):
        undisturbed, world = case.make(len(ROWS)), case.world()
        shifted, set_world = case.make(len(ROWS)), case.world()
        if not isinstance(shifted, KeepsTimes):
            return
        shifted.shift(by_s)  # before it has seen anything
        _play(undisturbed, world.ticks(half))
        _play(shifted, set_world.ticks(half))
        shifted.shift(by_s)
        set_world.shift(by_s)
        if found := _differ(_play(undisturbed, world.ticks(half)), _play(shifted, set_world.ticks(half))):
            tick, a, b = found
            yield (
                f"{tick} ticks after the clock was set by {by_s:+.0f} s it gives {b.tolist()}, with a clock that nobody touched "
                f"{a.tolist()}: what it remembers must move along"
            )
            return


def _restored(case: Case) -> Iterator[str]:
    half = TICKS // 2
    goes_on, world = case.make(len(ROWS)), case.world()
    restored, same_world = case.make(len(ROWS)), case.world()
    _play(goes_on, world.ticks(half))
    for _ in same_world.ticks(half):
        pass  # the histories are the engine's to keep
    state = goes_on.save()
    try:
        text = json.dumps(state, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"save gives what is no plain JSON ({error}); numbers, texts, lists and dicts are, NaN is not"
        return
    restored.load(json.loads(text))
    if found := _differ(_play(goes_on, world.ticks(half)), _play(restored, same_world.ticks(half))):
        tick, a, b = found
        yield f"{tick} ticks after save and load it gives {b.tolist()}, without them {a.tolist()}: something learnt is not saved"


def _foreign_state(case: Case) -> Iterator[str]:
    untouched = _play(case.make(len(ROWS)), case.world().ticks(8))
    states: tuple[Saved, ...] = ({}, {"version": 2**31})
    for state in states:
        policy = case.make(len(ROWS))
        policy.load(state)
        if _differ(untouched, _play(policy, case.world().ticks(8))):
            yield f"loading the unknown state {state} changes counts; it must be ignored"


def _recalled(case: Case) -> Iterator[str]:
    """What a row remembers goes back into it, and into no other; what nobody remembered is ignored."""
    told, plain, foreign = case.make(len(ROWS)), case.make(len(ROWS)), case.make(len(ROWS))
    if not (isinstance(told, Remembers) and isinstance(plain, Remembers) and isinstance(foreign, Remembers)):
        return
    _play(plain, case.world().ticks(TICKS))
    texts = [plain.remember(row) for row in range(len(ROWS))]
    for row, text in enumerate(texts):
        if not isinstance(text, str) or len(text) > LONGEST_TEXT:
            yield f"remember({row}) gives no text of at most {LONGEST_TEXT} characters"
            return
    _play(told, case.world().ticks(TICKS))
    told.recall(0, texts[0])
    last = [_play(one, case.world(first_tick=TICKS).ticks(8)) for one in (told, plain)]
    if _differ([counts[1:] for counts in last[0]], [counts[1:] for counts in last[1]]):
        yield "recalling one service's memory changes another's counts"
    untouched = _play(case.make(len(ROWS)), case.world().ticks(8))
    for text in ("nonsense", "AAAA", "{}"):
        foreign.recall(0, text)
    if _differ(untouched, _play(foreign, case.world().ticks(8))):
        yield "recalling what it never remembered changes counts; it must be ignored"


def _extremes(case: Case) -> Iterator[str]:
    tried = list(_extreme_params(case))
    for label, params in tried:
        one = Case(case.type, params)
        whats: tuple[What, ...] = ("usual", "idle")
        for what in whats:
            try:
                policy = one.make(len(ROWS))
                for observation in one.world(what=what).ticks(6):
                    policy.observe(observation)
                    yield from _count_faults(policy.recommend(observation), f"with {label} ({what} signals)")
            except Exception as error:  # as any other finding about a stranger's plug-in
                yield f"fails with {label}: {type(error).__name__}: {error}"


def _extreme_params(case: Case) -> Iterator[tuple[str, Mapping[str, ParamValue]]]:
    for parameter in case.type.parameters:
        values: list[ParamValue] = [*parameter.choices]
        if parameter.kind == "bool":
            values = [False, True]
        if parameter.kind in ("float", "int"):
            values = [value for value in (parameter.minimum, parameter.maximum) if value is not None]
        for value in values:
            completed, faults = complete_params(case.type, {**case.params, parameter.name: value})
            if not faults:  # what the policy's own check refuses never reaches it
                yield f"{parameter.name}={value}", completed


@dataclass(frozen=True, slots=True)
class Rule:
    """doing: what the rule does, for the words of an exception. unless: rules without whose keeping this one can't be judged."""

    name: str
    find: Callable[[Case], Iterator[str]]
    doing: str
    unless: tuple[str, ...] = ()


SHAPE = Rule("shape", _shapes, "asked for its counts")
RULES: tuple[Rule, ...] = (
    Rule("counts", _counts, "shown usual, missing, idle and unknown signals"),
    Rule("words", _words, "asked why"),
    Rule("empty", _empty, "made for no services"),
    Rule("determinism", _determinism, "made twice"),
    Rule("only reads", _only_reads, "asked several times", unless=("determinism",)),
    Rule("alone", _alone, "made for one service", unless=("determinism",)),
    Rule("unknown", _unknown, "shown nothing but unknown signals"),
    Rule("idle", _idle, "shown idle services"),
    Rule("rearrange", _rearranged, "told to move its services", unless=("determinism",)),
    Rule("adopt", _taught, "told to take over a service's past", unless=("determinism", "rearrange")),
    Rule("shift", _shifted, "told that the clock was set", unless=("determinism",)),
    Rule("save and load", _restored, "saved and loaded", unless=("determinism",)),
    Rule("remember", _recalled, "told to remember and recall", unless=("determinism",)),
    Rule("foreign state", _foreign_state, "given state that it can't know", unless=("determinism",)),
    Rule("extremes", _extremes, "given its parameters' extremes", unless=("counts",)),
)
"""Run in this order, once the declaration and the answer's shape are in order (rules "declaration", "runs" and "shape")."""
