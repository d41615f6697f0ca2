"""The conditions of a service, in HPA's words, from one row of a tick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from autoscaler.adapters.kubernetes.moments import time_text
from autoscaler.adapters.kubernetes.pods import Pod
from autoscaler.adapters.kubernetes.reasons import Reason
from autoscaler.adapters.kubernetes.stuck import short_resources
from autoscaler.core.model import Limit, Pause, ScalingSpec, Written
from autoscaler.core.node_facts import PoolFacts
from autoscaler.ports import Tick
from autoscaler.spec import Condition, Signals
from autoscaler.told_forecasts import missed_words, told_forecasts

Status = Literal["True", "False", "Unknown"]
OURS = ("Ready", "AbleToScale", "ScalingActive", "ScalingLimited", "ForecastTrusted", "EmptiesNodes")


def invalid_conditions(fault: str, generation: int) -> list[Condition]:
    """Of an object that can't be used."""
    words = f"the manifest can't be used and nothing is scaled: {fault}"
    return [
        _condition("Ready", "False", Reason.InvalidSpec, words, generation),
        _condition("AbleToScale", "False", Reason.InvalidSpec, words, generation),
    ]


def conditions_of(
    tick: Tick,
    row: int,
    troubled: Sequence[tuple[str, Pod]],
    limits: Sequence[Limit],
    shared: str = "",
    emptying: tuple[bool, str, str] | None = None,
) -> list[Condition]:
    """Ready, AbleToScale, ScalingActive and ScalingLimited of one row, ForecastTrusted where a policy scores its forecast, EmptiesNodes where the
    manifest wishes it. troubled: replicas that find no node or do not start. shared: who else reads its demand, in words. emptying: whether it can
    be chosen which pods leave, the reason and words."""
    generation = tick.fleet.specs[row].generation
    trusted = _trusted(tick, row)
    return [
        _condition("Ready", *_ready(tick, row, troubled, shared), generation),
        _condition("AbleToScale", *_able(tick, row), generation),
        _condition("ScalingActive", *_scaling_active(tick, row), generation),
        _condition("ScalingLimited", *_limited(limits), generation),
        *([] if trusted is None else [_condition("ForecastTrusted", *trusted, generation)]),
        *(
            []
            if emptying is None
            else [_condition("EmptiesNodes", "True" if emptying[0] else "False", *emptying[1:], generation)]
        ),
    ]


def pool_conditions(facts: PoolFacts, generation: int) -> list[Condition]:
    """Of an AcceleratorPool whose nodes are seen."""
    if facts.silent is not None:
        return [_condition("AcceleratorsAdvertised", "False", Reason.DevicePluginSilent, facts.silent.words, generation)]
    words = "every node that is Ready has its accelerators in status.allocatable, or was Ready only lately"
    return [_condition("AcceleratorsAdvertised", "True", Reason.AllAdvertised, words, generation)]


def merged(
    wanted: Iterable[Condition], present: Sequence[Condition], now_s: float, ours: Sequence[str] = OURS
) -> list[Condition]:
    """`wanted` with the transition times of `present` where the status is the same, then those that others put there. ours: types of which
    those that aren't wanted go."""
    known = {condition.type: condition for condition in present}
    found = []
    for condition in wanted:
        before = known.pop(condition.type, None)
        same = before is not None and before.status == condition.status
        condition.last_transition_time = before.last_transition_time if before is not None and same else time_text(now_s)
        found.append(condition)
    return found + [condition for name, condition in known.items() if name not in ours]


def pending_words(troubled: Sequence[tuple[str, Pod]]) -> str:
    """Which replicas wait, and for what: names the resource that is short where the scheduler does."""
    waiting = [(name, pod) for name, pod in troubled if pod.unschedulable]
    if waiting:
        short = sorted({resource for _, pod in waiting for resource in short_resources(pod.unschedulable)})
        what = f"insufficient {', '.join(short)}" if short else "no node fits"
        return f"{_count(waiting)} for a node: {what} ({waiting[0][0]}: {waiting[0][1].unschedulable})"
    failing = [(name, pod) for name, pod in troubled if pod.waiting]
    return f"{_count(failing)} to start: {failing[0][1].waiting} ({failing[0][0]})" if failing else ""


def _count(pods: Sequence[tuple[str, Pod]]) -> str:
    return "1 replica waits" if len(pods) == 1 else f"{len(pods)} replicas wait"


def _ready(tick: Tick, row: int, troubled: Sequence[tuple[str, Pod]], shared: str) -> tuple[Status, str, str]:
    if tick.fleet.hands_off[row]:
        return ("False", *_split(tick.fleet.hands_off_why.get(row, "")))
    if row in tick.fleet.stuck:
        return "False", Reason.ScaleUpStuck, tick.fleet.stuck[row].words
    if any(pod.unschedulable for _, pod in troubled):
        return "False", Reason.Unschedulable, pending_words(troubled)
    if troubled:
        return "False", Reason.ReplicasFailing, pending_words(troubled)
    if (limit := tick.plan.limits.get(row)) is not None and limit.name == Reason.ScaleUpStuck:
        return "False", Reason.ScaleUpStuck, limit.why  # what was stuck is released, what was wished is still missing
    roles = tick.decisions.roles
    if roles is not None and row in roles.faults:
        return "False", Reason.RoleFault, roles.faults[row]
    if shared:
        return "True", Reason.SharedDemand, shared
    if row in tick.unlearnt:
        return "True", Reason.LearningPast, f"decided on by what is seen now; {tick.unlearnt[row]}"
    asleep = _unseen_at_zero(tick.fleet.specs[row])
    if warnings := tick.decisions.warnings(row):
        return "True", Reason.ObjectiveWarning, "; ".join((*warnings, *filter(None, [tick.decisions.objective(row)]))) + asleep
    more = [words for words in (tick.decisions.objective(row), "" if roles is None else roles.words(row)) if words]
    return "True", Reason.Reconciled, "; ".join(("decided on, and nothing is in the way", *more)) + asleep


def _unseen_at_zero(spec: ScalingSpec) -> str:
    """A warning where a service may go to zero and nothing would see its next request."""
    signals = spec.sources
    if spec.min_replicas > 0 or not isinstance(signals, Signals) or signals.gateway is not None:
        return ""
    if any(query.signal in ("demand", "queue", "concurrency") for query in signals.queries):
        return ""
    return "; but at zero nothing sees a request: only a policy's wish or a schedule wakes it (name signals.gateway, or own PromQL for demand)"


def _able(tick: Tick, row: int) -> tuple[Status, str, str]:
    spec = tick.fleet.specs[row]
    if tick.fleet.hands_off[row]:
        return ("False", *_split(tick.fleet.hands_off_why.get(row, "")))
    if spec.mode != "Active":
        return "False", Reason.NotActive, f"mode {spec.mode}: the target is never written"
    written = tick.outcome.written[row]
    if written == Written.FAILED:
        return "False", Reason.FailedUpdateScale, tick.outcome.errors.get(row, "the write failed")
    if written == Written.DONE:
        return "True", Reason.SucceededRescale, f"{spec.target} was set to {int(tick.plan.replicas[row])} replicas"
    return "True", Reason.ReadyForNewScale, f"{spec.target} can be scaled"


def _scaling_active(tick: Tick, row: int) -> tuple[Status, str, str]:
    at_s = tick.decisions.at_s
    for pause, whose in ((tick.fleet.paused, "the whole cluster"), (tick.fleet.specs[row].pause, "this object")):
        if pause is not None and pause.in_force(at_s):
            return "False", Reason.ScalingPaused, _pause_words(pause, whose)
    if tick.decisions.blind[row]:
        return "False", Reason.SignalsUnknown, f"no policy can tell: {tick.decisions.reason(row)}"
    if tick.decisions.partial[row]:
        return "True", Reason.SignalsPartial, "some needed signal is unknown: growing is possible, shrinking is not"
    return "True", Reason.SignalsKnown, "all needed signals are known"


def _pause_words(pause: Pause, whose: str) -> str:
    direction = {"Both": "scaling", "Up": "growing", "Down": "shrinking"}[pause.direction]
    end = "" if pause.until_s is None else f" until {time_text(pause.until_s)}"
    return f"{direction} is paused for {whose}{end}{f': {pause.reason}' if pause.reason else ''}"


def _limited(limits: Sequence[Limit]) -> tuple[Status, str, str]:
    if not limits:
        return "False", Reason.DesiredWithinRange, "the policies' wish is within all rules"
    last = limits[-1]
    return "True", last.name, last.why


def _trusted(tick: Tick, row: int) -> tuple[Status, str, str] | None:
    scored = [told for told in told_forecasts(tick.decisions, row) if "trusted" in told]
    if not scored:
        return None
    told = min(scored, key=lambda one: (one["trusted"], -(one["missed_ratio"] or 0.0)))
    missed = missed_words(told["missed_ratio"], told["claimed_ratio"])
    if told["trusted"]:
        return "True", Reason.ForecastHolds, f"{told['policy']} scales ahead of demand by its forecast: {missed}"
    words = (
        f"{told['policy']} does not scale ahead of demand for now: {missed}, so demand has become another one than before. Replicas follow "
        "what is seen now, as a reactive policy's do, until the forecast holds again, by itself; nothing has to be done unless this lasts "
        "for days"
    )
    return "False", Reason.ForecastMisses, words


def _split(why: str) -> tuple[str, str]:
    reason, _, words = why.partition(": ")
    return reason, words


def _condition(type_: str, status: Status, reason: str, message: str, generation: int) -> Condition:
    return Condition(
        type=type_,
        status=status,
        reason=str(reason),
        message=message[:1024],
        last_transition_time="",
        observed_generation=generation,
    )
