"""The scenario: all that a replay needs to know beside the manifest and the trace. A YAML file, or ``--set scenario.PATH=VALUE``.

What is not written has the value of the standard scenario, so that an empty file is the standard scenario. Field names are
Kubernetes' spelling (camelCase), durations and moments are written as in a manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from autoscaler.errors import Fault, InvalidSetting, OutsideError, UsageError
from autoscaler.overrides import override
from autoscaler.schema import schema_of
from autoscaler.spec import Base, Duration, Moment, Share, duration_s, moment_s
from autoscaler.structure import Flaw, check, dotted, shown
from autoscaler.yaml_tree import Document, documents

if TYPE_CHECKING:
    from replay.traces.uses import TraceUse

Ratio = Annotated[float, Meta(ge=0, le=1)]


class Scale(Base):
    """How the trace is scaled to the service: its `quantile` minute is what `replicas` replicas sustain; or a fixed factor."""

    mode: Annotated[
        Literal["Peak", "Factor"],
        Meta(description="Peak: the trace's quantile minute needs `replicas` replicas. Factor: rates times `factor`."),
    ] = "Peak"
    replicas: Annotated[float, Meta(gt=0, le=1e6, description="Replicas that the peak minute needs (mode Peak).")] = 40.0
    quantile: Annotated[Ratio, Meta(description="Which minute is the peak minute (mode Peak).")] = 0.999
    factor: Annotated[float, Meta(gt=0, le=1e9, description="Multiplier of all rates (mode Factor).")] = 1.0


class ThroughputChange(Base):
    """From when on replicas do more or less than the manifest says."""

    factor: Annotated[float, Meta(gt=0, le=1000, description="What a replica does ÷ capacity.requestsPerSecond, afterwards.")]
    at: Annotated[Duration, Meta(description="When the change begins, from the trace's start.")] = "0s"
    over: Annotated[Duration, Meta(description="How long it takes, in a straight line; 0s: a jump.")] = "0s"


class Replicas(Base):
    """How replicas come and go, and what they really do."""

    initial: Annotated[int, Meta(ge=0, le=100000, description="Ready replicas at the start.")] = 10
    start: Annotated[Duration, Meta(description="From a slot on a ready node to ready: scheduling, image, model load.")] = "120s"
    start_spread: Annotated[
        float,
        Meta(ge=0, le=10, description="Standard deviation ÷ mean of the start times, which are lognormal then; 0: all alike."),
    ] = 0.0
    start_measured_seconds: Annotated[
        list[Annotated[float, Meta(ge=0, le=1e6)]],
        Meta(
            max_length=100000,
            description="Start times to draw from, as a live object's status.leadTime.recent holds them; they win over start.",
        ),
    ] = msgspec.field(default_factory=list)
    swap: Annotated[
        Duration | None,
        Meta(
            description="Start time in a slot where a replica of the pool has run before: only a model is swapped. As start if left out."
        ),
    ] = None
    drain: Annotated[Duration, Meta(description="How long a removed replica still holds its slot (plant fluid).")] = "20s"
    grace: Annotated[
        Duration | None,
        Meta(
            description="The longest that a removed replica finishes its requests (plant requests); the rest begins anew elsewhere."
        ),
    ] = None
    throughput: Annotated[
        list[ThroughputChange],
        Meta(
            max_length=1000,
            description=(
                "What replicas do where it is not what the manifest says: changes in the order of their time. In the plant requests "
                "they are the requests that get longer or shorter."
            ),
        ),
    ] = msgspec.field(default_factory=list)
    mixed: Annotated[
        list[Annotated[float, Meta(gt=0, le=1000)]],
        Meta(
            max_length=64,
            description="Further factors that replicas have by turns, in the order in which they start: GPUs of several types (plant fluid).",
        ),
    ] = msgspec.field(default_factory=list)


class Nodes(Base):
    """How nodes come and go."""

    start: Annotated[Duration, Meta(description="From the request of a node until it is ready.")] = "180s"
    start_spread: Annotated[float, Meta(ge=0, le=10, description="As of replicas.")] = 0.0
    start_measured_seconds: Annotated[
        list[Annotated[float, Meta(ge=0, le=1e6)]], Meta(max_length=100000, description="As of replicas.")
    ] = msgspec.field(default_factory=list)
    slots: Annotated[int, Meta(ge=1, le=1024, description="Accelerators per node, where the manifest names no pool.")] = 8
    spare: Annotated[Duration, Meta(description="Spare nodes go once some were spare for so long without a break.")] = "600s"
    check: Annotated[Duration, Meta(description="How often that is looked at.")] = "15s"
    owner: Annotated[
        Literal["Rule", "Plan"],
        Meta(
            description="Rule: a node comes when slots are short and goes when spare. Plan: the controller's plan sets the count."
        ),
    ] = "Rule"


class Metrics(Base):
    """What the controller sees of the plant."""

    period: Annotated[Duration, Meta(description="Between two scrapes.")] = "15s"
    window: Annotated[Duration, Meta(description="Rates and utilization are means over this (a multiple of the period).")] = "15s"
    late: Annotated[
        int, Meta(ge=0, le=1000, description="A decision sees the scrape that is so many scrapes before the latest one.")
    ] = 1
    samples: Annotated[int, Meta(ge=1, le=1000, description="A decision sees the mean of so many scrapes.")] = 1


class FaultWindow(Base):
    """Something that goes wrong for a while."""

    kind: Annotated[
        Literal[
            "Surge",
            "MetricsOutage",
            "ScrapeGap",
            "MetricsLag",
            "MetricsNaN",
            "SlowStarts",
            "FailedStarts",
            "SpotLoss",
            "ScarceNodes",
        ],
        Meta(
            description=(
                "Surge: demand × factor. MetricsOutage: the source is dead, all is unknown at once. ScrapeGap: nothing new is scraped, so "
                "values get old. MetricsLag: scrapes are seen `by` later. MetricsNaN: signals are NaN. SlowStarts: start times × factor. "
                "FailedStarts: this share of the starts fails and begins anew. SpotLoss: this share of the ready nodes (one at least) goes "
                "at once, with what runs there, `notice` after they were told to. ScarceNodes: no new node is to be had."
            )
        ),
    ]
    at: Annotated[Duration, Meta(description="When it begins, from the trace's start.")]
    lasts: Annotated[Duration, Meta(description="For how long.")] = "10m"
    factor: Annotated[float, Meta(gt=0, le=1000, description="Multiplier (Surge, SlowStarts).")] = 3.0
    share: Annotated[Ratio, Meta(description="Share of starts that fail (FailedStarts), of nodes that go (SpotLoss).")] = 0.5
    by: Annotated[Duration, Meta(description="How much later scrapes are seen (MetricsLag).")] = "60s"
    notice: Annotated[
        Duration,
        Meta(
            description=(
                "How long before `at` the nodes are told to go (SpotLoss): nothing new starts on them. 0s: without a word. AWS gives 120s, "
                "Google and Azure 30s."
            )
        ),
    ] = "0s"
    pool: Annotated[
        str,
        Meta(
            max_length=253,
            description="Of which pool (SpotLoss, ScarceNodes), by the AcceleratorPool's name; all where left out.",
        ),
    ] = ""
    signals: Annotated[list[str], Meta(max_length=32, description="Which signals (MetricsNaN); all where left out.")] = (
        msgspec.field(default_factory=list)
    )
    service: Annotated[str, Meta(max_length=512, description="namespace/name; all services where left out.")] = ""


class Rollout(Base):
    """A rolling update: every replica is replaced by one of another version."""

    at: Annotated[Duration, Meta(description="When it begins, from the trace's start.")]
    max_surge: Annotated[
        Share, Meta(description="Replicas beyond the count while it runs, of the count, rounded up; as a Deployment's maxSurge.")
    ] = "25%"
    max_unavailable: Annotated[
        Share, Meta(description="Replicas of the count that may be missing, rounded down; as a Deployment's maxUnavailable.")
    ] = "25%"
    version: Annotated[
        str,
        Meta(
            max_length=63,
            description="Of the new replicas; v1 is what runs at the start. v2, v3, … where left out; an earlier one: a rollback.",
        ),
    ] = ""
    factor: Annotated[
        float, Meta(gt=0, le=1000, description="What a replica of this version does ÷ what one of v1 does (plant fluid).")
    ] = 1.0
    service: Annotated[str, Meta(max_length=512, description="namespace/name; all services where left out.")] = ""


class TokenLengths(Base):
    """How many tokens requests have, where the trace doesn't say."""

    distribution: Annotated[
        Literal["Fixed", "Exponential", "Lognormal", "Measured"],
        Meta(description="Fixed: mean, always. Exponential, Lognormal: drawn around mean. Measured: drawn from values."),
    ] = "Lognormal"
    mean: Annotated[float, Meta(ge=0, le=1e7, description="Mean number of tokens.")] = 200.0
    spread: Annotated[float, Meta(ge=0, le=20, description="Standard deviation ÷ mean (Lognormal).")] = 1.0
    values: Annotated[
        list[float], Meta(max_length=1000000, description="Numbers of tokens, drawn with equal chances (Measured).")
    ] = msgspec.field(default_factory=list)


class TwoPools(Base):
    """Prefill and decode on replicas of their own: a request passes through both services."""

    prefill: Annotated[
        str, Meta(max_length=512, description="namespace/name of the service that reads prompts; the traffic's entry.")
    ]
    decode: Annotated[str, Meta(max_length=512, description="namespace/name of the service that writes the output.")]


class Requests(Base):
    """What the plant `requests` needs to know of requests."""

    prompt_tokens: Annotated[TokenLengths, Meta(description="Prompts, where the trace has no single requests.")] = msgspec.field(
        default_factory=lambda: TokenLengths(mean=600.0)
    )
    output_tokens: Annotated[TokenLengths, Meta(description="Outputs, likewise.")] = msgspec.field(default_factory=TokenLengths)
    prompt_weight: Annotated[float, Meta(ge=0, le=1, description="Work of a prompt token, in output tokens.")] = 0.1
    capacity_work: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None,
        Meta(
            description="Work (output tokens) of the request that capacity.requestsPerSecond counts; the trace's mean if left out.",
        ),
    ] = None
    kv_cache_tokens: Annotated[
        Annotated[float, Meta(gt=0, le=1e12)] | None,
        Meta(description="Tokens that a replica's cache holds; a full batch of whole mean requests if left out."),
    ] = None
    two_pools: Annotated[
        list[TwoPools], Meta(max_length=1000, description="Services that share their requests: prefill here, decode there.")
    ] = msgspec.field(default_factory=list)


class Scenario(Base):
    """A replay's setting. Defaults are the standard scenario."""

    plant: Annotated[Literal["fluid", "requests"], Meta(description="How the service is simulated.")] = "fluid"
    start: Annotated[Moment, Meta(description="The moment (RFC 3339) of the trace's start, for schedules and seasons.")] = (
        "2024-01-01T00:00:00Z"
    )
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Seeds the drawn noise, the faults and the policies.")] = 0
    warmup: Annotated[Duration, Meta(description="Not scored, from the trace's start.")] = "0s"
    length: Annotated[Duration | None, Meta(description="Only this much of the trace, from its start.")] = None
    noise: Annotated[bool, Meta(description="Draw arrivals (Poisson) from rates that were smoothed or interpolated.")] = True
    smoothing: Annotated[
        Duration | None, Meta(description="Centred mean of the minute counts over this, for traces of few requests.")
    ] = None
    interval: Annotated[Duration, Meta(description="Between two decisions.")] = "15s"
    loops: Annotated[
        Literal["Own", "Controller"],
        Meta(
            description=(
                "Own: a policy with a loop and samples of its own (kpa: 2s, 1s) runs in them. "
                "Controller: at interval and on metrics, as in a cluster."
            )
        ),
    ] = "Own"
    scale: Annotated[Scale, Meta(description="How the trace is scaled to the service.")] = msgspec.field(default_factory=Scale)
    replicas: Annotated[Replicas, Meta(description="How replicas come and go.")] = msgspec.field(default_factory=Replicas)
    nodes: Annotated[Nodes, Meta(description="How nodes come and go.")] = msgspec.field(default_factory=Nodes)
    metrics: Annotated[Metrics, Meta(description="What the controller sees.")] = msgspec.field(default_factory=Metrics)
    requests: Annotated[Requests, Meta(description="Lengths and pools of the plant requests.")] = msgspec.field(
        default_factory=Requests
    )
    faults: Annotated[list[FaultWindow], Meta(max_length=1000, description="What goes wrong when.")] = msgspec.field(
        default_factory=list
    )
    updates: Annotated[list[Rollout], Meta(max_length=1000, description="Rolling updates of the services.")] = msgspec.field(
        default_factory=list
    )


_WHOLE_SECONDS: Final = (
    "interval",
    "replicas.start",
    "replicas.drain",
    "replicas.swap",
    "replicas.grace",
    "nodes.start",
    "nodes.spare",
    "nodes.check",
    "metrics.period",
    "metrics.window",
    "warmup",
    "length",
)
_NOT_ZERO: Final = ("interval", "nodes.check", "metrics.period", "metrics.window", "length")


def whole_s(text: str) -> int:
    """A duration in whole seconds, as the plant's clock steps. Durations of a valid scenario are whole."""
    return round(duration_s(text))


def start_unix_s(scenario: Scenario) -> float:
    return moment_s(scenario.start)


def load_scenario(source: FilePath | None, overrides: Mapping[str, str] | None = None, use: TraceUse | None = None) -> Scenario:
    """The scenario of a file (None: the standard one), with overrides by dotted path below its root (without ``scenario.``), and over
    them what the trace's own use sets (``-t PATH:smoothing=15m``).

    Raises InvalidSetting with every fault, UsageError for a file or path that doesn't exist, OutsideError for a file that can't be read.
    """
    name = "standard scenario" if source is None else str(source)
    document, faults = _document(name, "" if source is None else _text(source))
    tree: dict[str, Any] = document.tree if isinstance(document.tree, dict) else {}
    if document.tree is not None and not isinstance(document.tree, dict):
        faults.append(_fault(name, 1, "", document.tree, "a mapping is expected"))
    schema = schema_of(Scenario)
    given = {path: (text, f"--set scenario.{path}") for path, text in (overrides or {}).items()}
    if use is not None:
        given |= {path: (text, f"-t {use.path}:{path}") for path, text in use.settings.items()}
    set_paths = {override(tree, path, text, schema, typed): f"{typed}={text}" for path, (text, typed) in given.items()}

    def flaw(path: tuple[str | int, ...], value: Any, message: str) -> None:
        for set_path, setting in set_paths.items():
            if path[: len(set_path)] == set_path:
                faults.append(_fault(setting, 0, dotted(path), value, message))
                return
        faults.append(_fault(name, document.line_of(path), dotted(path), value, message))

    scenario, flaws = scenario_of(tree)
    for found in flaws:
        flaw(found.path, found.value, found.message)
    if faults or scenario is None:
        raise InvalidSetting(faults)
    return scenario


def scenario_of(tree: Mapping[str, Any]) -> tuple[Scenario | None, list[Flaw]]:
    """The scenario of plain data, None where it has flaws."""
    whole, flaws = check(schema_of(Scenario), tree)
    if flaws:
        return None, flaws
    scenario = msgspec.convert(whole, Scenario)
    flaws = [Flaw(path=path, value=value, message=message) for path, value, message in _beyond_schema(scenario, whole)]
    return (None if flaws else scenario), flaws


def _beyond_schema(scenario: Scenario, tree: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], Any, str]]:
    """Flaws that no schema can say: (path, value, message)."""
    flaws: list[tuple[tuple[str | int, ...], Any, str]] = []
    for dotted_path in _WHOLE_SECONDS:
        path = tuple(dotted_path.split("."))
        text: Any = tree
        for step in path:
            text = text.get(step) if isinstance(text, Mapping) else None
        if text is None:
            continue
        seconds = duration_s(text)
        if seconds != int(seconds):
            flaws.append((path, text, "whole seconds are allowed: the plant steps by one second"))
        elif seconds == 0 and dotted_path in _NOT_ZERO:
            flaws.append((path, text, "more than 0s is allowed"))
    for name in ("promptTokens", "outputTokens"):
        lengths = scenario.requests.prompt_tokens if name == "promptTokens" else scenario.requests.output_tokens
        if (lengths.distribution == "Measured") != bool(lengths.values):
            flaws.append(
                (("requests", name, "values"), lengths.values, "values are needed with Measured, and allowed only there")
            )
    end_s = 0.0
    for number, change in enumerate(scenario.replicas.throughput):
        if duration_s(change.at) < end_s:
            flaws.append(
                (("replicas", "throughput", number, "at"), change.at, "must not lie before the end of the change before it")
            )
        end_s = duration_s(change.at) + duration_s(change.over)
    if scenario.replicas.mixed and scenario.plant == "requests":
        flaws.append((("replicas", "mixed"), scenario.replicas.mixed, "is allowed with plant: fluid only"))
    flaws += _of_faults(scenario.faults)
    for number, rollout in enumerate(scenario.updates):
        if rollout.factor != 1.0 and scenario.plant == "requests":
            flaws.append((("updates", number, "factor"), rollout.factor, "is allowed with plant: fluid only"))
    if not flaws and whole_s(scenario.metrics.window) % whole_s(scenario.metrics.period):
        flaws.append(
            (("metrics", "window"), scenario.metrics.window, f"a multiple of period ({scenario.metrics.period}) is allowed")
        )
    return flaws


def _of_faults(faults: Sequence[FaultWindow]) -> Iterator[tuple[tuple[str | int, ...], Any, str]]:
    """Flaws of fields that only some kinds of faults have."""
    for number, fault in enumerate(faults):
        where = ("faults", number)
        notice_s = duration_s(fault.notice)
        if notice_s and fault.kind != "SpotLoss":
            yield (*where, "notice"), fault.notice, f"is allowed with kind SpotLoss only, and this is {fault.kind}"
        elif notice_s != int(notice_s):
            yield (*where, "notice"), fault.notice, "whole seconds are allowed: the plant steps by one second"
        if fault.pool and fault.kind not in ("SpotLoss", "ScarceNodes"):
            yield (*where, "pool"), fault.pool, f"is allowed with kind SpotLoss or ScarceNodes only, and this is {fault.kind}"
        elif fault.pool and fault.service:
            yield (*where, "pool"), fault.pool, "give pool or service, not both: a service stands for its pools"


def _text(path: FilePath) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: no such file") from None
    except UnicodeDecodeError as fault:
        raise InvalidSetting([_fault(str(path), 0, "", "", f"not UTF-8 text (byte {fault.start})")]) from None
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None


def _document(name: str, text: str) -> tuple[Document, list[Fault]]:
    found = list(documents(text)) or [Document()]
    faults = [_fault(name, p.line, dotted(p.path), p.value, p.message) for document in found for p in document.problems]
    if len(found) > 1 and not faults:
        faults.append(_fault(name, found[1].line, "", "", "one document is expected"))
    return found[0], faults


def _fault(file: str, line: int, path: str, value: Any, message: str) -> Fault:
    return Fault(file=file, line=line, object="Scenario", path=path, value=shown(value), message=message)
