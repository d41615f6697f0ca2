"""The policy plug-in contract.

A policy is found by the entry point group ``inference_autoscaler.policies``; the entry point names a ``PolicyType``. One policy
object serves all services that name it: arrays carry a leading service axis, parameters too, because ten thousand Python
objects a tick do not fit into a control interval, and because a sweep of parameters is then simply a replay with many services.
``check_policy`` (in ``autoscaler.core.contract``) judges any policy, ours or a stranger's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Ints, Observation, ParamValue, Recommendation

Params: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Every declared parameter with one value a row: float64, int64 or bool arrays; texts are object arrays of str."""

Saved: TypeAlias = dict[str, Any]
"""Learnt state as plain JSON values and lists (numbers, strings, lists, dicts), small and versioned by the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A declared parameter. Numbers lie within minimum…maximum (inclusive); texts in choices where those are given.

    kind "signal" is a text that names a signal. required: a parameter without a sensible default.
    tunable: a tuner may change it. search: the range that is worth trying, where minimum…maximum is too wide for that; in which measure,
    says search_of: "value" (the parameter's own), "held" (shares of what one replica holds of the policy's `signal`), "bounds" (the
    service's minReplicas to maxReplicas). log_scale, step: tried by ratio, or in such steps from the range's low end.
    """

    name: str
    kind: Literal["float", "int", "bool", "str", "signal"]
    default: ParamValue | None
    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    tunable: bool = False
    log_scale: bool = False
    search: tuple[float, float] | None = None
    search_of: Literal["value", "held", "bounds"] = "value"
    step: float | None = None

    @property
    def required(self) -> bool:
        return self.default is None


class Policy(Protocol):
    """One policy object for n services (rows)."""

    def observe(self, observation: Observation) -> None:
        """Learns from a tick. Called once a tick, before recommend."""

    def recommend(self, observation: Observation) -> Recommendation:
        """Only reads: calling it twice with the same observation gives the same answer."""

    def rearrange(self, rows: Ints, params: Params) -> None:
        """The services changed: new row i is the old row rows[i], or a new service where that is -1. Learnt state moves with it."""

    def save(self) -> Saved:
        """Learnt state, to survive a restart. `{}` where nothing is learnt."""

    def load(self, state: Saved) -> None:
        """Takes back what save gave (same rows). State of an unknown version is ignored: the policy then learns anew."""


@runtime_checkable
class TakesOver(Protocol):
    """A policy whose services can be taught apart. Whoever declares `lookback_s` or `backfill_s` and learns anything must be one: the
    past of a service that comes later, or whose past could not be read at first, is shown to a policy object of its own."""

    def adopt(self, other: Any, rows: Ints) -> None:
        """Row i takes over, in place of its own, all that `other` (made by the same factory, and done with) has learnt of its row
        rows[i]; rows of −1 stay exactly as they are. `other` has seen about the same moments as this one, or more of them."""


@runtime_checkable
class KeepsTimes(Protocol):
    """A policy that remembers moments in order to tell how long ago they were."""

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s` seconds (negative: back): remembered moments move along, so that nothing ages by it."""


@runtime_checkable
class Remembers(Protocol):
    """A policy of which something small was learnt over so long a time that the past a restart is shown can't teach it again. It is kept in
    the object's status, a few kB a service at most, written again every ten minutes or so."""

    def remember(self, row: int) -> str:
        """The row's, as a short text that says of which version it is; "" while there is nothing worth it. At most LONGEST_TEXT long."""

    def recall(self, row: int, text: str) -> None:
        """Takes back what remember gave for this service once, in place of what the row has learnt of it. What it can't use it ignores."""


LONGEST_TEXT: Final = 16_384
"""Characters of a remembered text; a longer one is not kept."""


class Stateless:
    """Base for policies that learn nothing between ticks; they keep their parameters in `self.params`."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def observe(self, observation: Observation) -> None:
        return None

    def rearrange(self, rows: Ints, params: Params) -> None:
        self.params = params

    def save(self) -> Saved:
        return {}

    def load(self, state: Saved) -> None:
        return None


SignalsOf: TypeAlias = Callable[[Mapping[str, ParamValue]], Sequence[str]]
"""Which signals a service with these parameters needs (all of them known, or the tick counts as partial for it)."""


def no_signals(_params: Mapping[str, ParamValue]) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyType:
    """What an entry point of ``inference_autoscaler.policies`` names.

    make(params, rng) builds the policy for len(any param) rows; rng is seeded by the caller, so equal input gives equal output.
    signals(params): the signals that the policy needs. optional_signals: those it uses where they are there.
    lookback_s: how far back it reads ``Signal.history``. backfill_s: how much of the past it wants to be shown by ``observe`` beyond that
    when a service is new to it, in steps of five minutes (``observation.interval_s`` says so); see ``TakesOver``.
    settle_s: for how long a service whose near past can't be known doesn't shrink; None: until the whole of `lookback_s` has been seen.
    counts_starting: True where the policy's count is absolute (what demand and backlog need), so that replicas on their way are
    already in it. False (the safe default) lets the engine hold back a count that grows only because help hasn't arrived yet.
    interval_s: the period of the loop that the policy has of its own, sample_s: how often it samples its signals itself then, without a
    scrape's delay (None: it has none). A replay gives it that loop; a controller decides all at its own interval.
    alone: False where the policy is only a floor beside another one.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    make: Callable[[Params, np.random.Generator], Policy]
    signals: SignalsOf = no_signals
    optional_signals: tuple[str, ...] = ()
    lookback_s: float = 0.0
    backfill_s: float = 0.0
    settle_s: float | None = None
    counts_starting: bool = False
    interval_s: float | None = None
    sample_s: float | None = None
    alone: bool = True
    source: str = ""
    """Where the rule comes from: a paper, an API document, a formula."""
    check: Callable[[Mapping[str, ParamValue]], Sequence[str]] = field(default=lambda _params: ())
    """Faults that span several parameters, in words; called with the completed parameters of one service."""


def complete_params(policy: PolicyType, given: Mapping[str, ParamValue]) -> tuple[dict[str, ParamValue], list[str]]:
    """The parameters of one service with defaults filled in, and every fault in words (empty: none)."""
    known = {parameter.name: parameter for parameter in policy.parameters}
    faults = [
        f"{name}: not a parameter of policy '{policy.name}'; it has {', '.join(known) or 'none'}"
        for name in given
        if name not in known
    ]
    completed: dict[str, ParamValue] = {}
    for parameter in policy.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is None:
            faults.append(f"{parameter.name}: policy '{policy.name}' needs it; {parameter.description}")
            continue
        converted, fault = _convert(parameter, value)
        if fault:
            faults.append(f"{parameter.name}: {fault}")
        else:
            completed[parameter.name] = converted
    if not faults:
        faults.extend(policy.check(completed))
    return completed, faults


_LARGEST_INT = 2.0**53
"""Beyond it floats skip whole numbers; no count is that large."""


def _convert(parameter: Parameter, value: ParamValue) -> tuple[ParamValue, str]:
    """Texts from a command line become the declared kind. Returns (value, fault)."""
    from autoscaler.core.signals import SIGNALS

    kind = parameter.kind
    if kind in ("str", "signal"):
        text = str(value)
        choices = parameter.choices or (tuple(SIGNALS) if kind == "signal" else ())
        if choices and text not in choices:
            return text, f"'{text}' is not allowed; one of {', '.join(choices)}"
        return text, ""
    if kind == "bool":
        if isinstance(value, bool):
            return value, ""
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true", ""
        return value, f"{value!r} is not allowed; true or false"
    if isinstance(value, bool):
        return value, f"{value!r} is not a number"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return value, f"'{value}' is not a number"
    low, high = parameter.minimum, parameter.maximum
    finite = math.isfinite(number) and (kind == "float" or abs(number) < _LARGEST_INT)
    if not finite or (low is not None and number < low) or (high is not None and number > high):
        allowed = f"{'−∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
        return value, f"{value} is not allowed; {allowed}{' ' + parameter.unit if parameter.unit else ''}"
    if kind == "int":
        if not number.is_integer():
            return value, f"{value} is not a whole number"
        return int(number), ""
    return number, ""


def stack_params(policy: PolicyType, rows: Sequence[Mapping[str, ParamValue]]) -> dict[str, npt.NDArray[Any]]:
    """Completed parameters of many services as one array a parameter."""
    dtypes: dict[str, Any] = {"float": np.float64, "int": np.int64, "bool": np.bool_, "str": object, "signal": object}
    return {
        parameter.name: np.array([row[parameter.name] for row in rows], dtype=dtypes[parameter.kind])
        for parameter in policy.parameters
    }
