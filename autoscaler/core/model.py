"""The core's data: what is configured, what is seen, what is wished, what is decided, what is planned.

All are frozen, slotted and keyword-only. Times are Unix seconds UTC (``_at_s``, ``_s``), rates are per second (``_per_s``),
shares are 0…1 (``_ratio``). Arrays carry a leading service axis of length n, in the order of ``Fleet.specs``: one policy
object serves all services that name it, and a service is a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from autoscaler.core.history import History, HistoryRows
from autoscaler.core.node_facts import PoolFacts, StagesOf, StuckReplicas, no_stages
from autoscaler.core.seen_nodes import NodesOf, no_nodes
from autoscaler.core.short import Bounds, Short
from autoscaler.core.value import tick_value

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
States: TypeAlias = npt.NDArray[np.int8]
ParamValue: TypeAlias = float | int | str | bool
Versions: TypeAlias = tuple[tuple[str, float], ...]
"""(version, its share of the ready replicas) of one target, by version; a version is a text that follows from the template its replicas were
made of. Empty where nobody knows; one pair with 1.0 unless it is being updated."""

Mode: TypeAlias = Literal["Shadow", "Recommend", "Active"]
Direction: TypeAlias = Literal["Both", "Up", "Down"]
UNSEEN: Final = ("TargetMissing", "TargetUnreadable", "TargetKindUnknown", "NoScaleSubresource")
"""Reasons in ``Fleet.hands_off_why`` with which a target's count is not known, and stands as 0."""


# ---------------------------------------------------------------- configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """A policy that a service names, with the parameters it gives (the rest are the policy's defaults)."""

    name: str
    params: Mapping[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePolicy:
    """HPA v2's scaling policy: at most `value` pods, or percent of the count at the period's start, within `period_s`."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """HPA v2's rules for one direction. An empty `policies` sets no rate limit."""

    stabilization_s: float
    select: Literal["Max", "Min", "Disabled"]
    policies: tuple[RatePolicy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Other bounds in a window of the calendar: `days` (Monday = 0) from `start_minute` to `end_minute` of the local day in
    `timezone` (an end at or before the start lies on the next day), and only between `from_s` and `until_s` where given."""

    name: str
    timezone: str
    days: frozenset[int]
    start_minute: int
    end_minute: int
    from_s: float | None = None
    until_s: float | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """No changes in `direction` until `until_s` (None: until it is taken away)."""

    direction: Direction
    until_s: float | None
    reason: str = ""

    def in_force(self, at_s: float) -> bool:
        return self.until_s is None or at_s < self.until_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What happens when the signals stay unknown for longer than `after_s`.

    Hold: keep what is. AtLeast: raise to `replicas`, never lower. Exactly: go to `replicas`, also downwards (the only way in
    which a blind service is ever scaled down, and only because its owner wrote so)."""

    after_s: float
    action: Literal["Hold", "AtLeast", "Exactly"]
    replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The promise: `promised_ratio` of the requests see `signal` ≤ `target` (seconds, or a ratio for utilization signals)."""

    signal: str
    target: float
    promised_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one ready replica can do: `per_s` requests/s with a full batch (NaN: not known), `slots` requests at a
    time, `slots_slowdown` = batch size at which a token takes twice as long as alone (time per token ∝ 1 + batch ÷ it).

    learnt: `per_s` is only where learning begins (``core.learnt_capacity``), and never leaves `min_per_s`…`max_per_s` (None: no bound)."""

    per_s: float
    slots: int
    slots_slowdown: float
    learnt: bool = False
    min_per_s: float | None = None
    max_per_s: float | None = None
    itl_s: float = math.nan
    """Inter-token latency in a full batch, until it is measured (NaN: not known)."""
    prefill_s: float = math.nan
    """Time to first token in a full batch without a wait in the queue, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """What this role's replicas ÷ those of role `to` may be; None: no such bound."""

    to: str
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Which part of a service this is, such as its prefill. Objects of one namespace with the same `service` are sized together."""

    service: str
    name: str
    ratios: tuple[Ratio, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the external metrics API serves of a service beside its decision: `signals` by name, and `labels` of all that is served of it.
    max_age_s: an older value is an error, not a number; None: as the controller's interval makes it."""

    signals: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    max_age_s: float | None = None


NOTHING_MORE: Final = Publication()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """A pool that a service's pods may run on, and the requests/s of a ready replica there (None: as its capacity says)."""

    name: str
    per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSpec:
    """One service's configuration, in the core's units. Made from a manifest by ``autoscaler.compiled``."""

    namespace: str
    name: str
    target: str
    """What is scaled, for people and records: ``Deployment/llama``."""
    min_replicas: int
    max_replicas: int
    mode: Mode
    policies: tuple[PolicyRef, ...]
    objective: Objective
    capacity: Capacity
    lead_time_s: float
    """Start value until measured: from the patch to ready where a node is at hand."""
    node_lead_time_s: float
    """Start value until measured: what a new node adds to it."""
    scale_up: ScalingRules
    scale_down: ScalingRules
    fallback: Fallback
    schedules: tuple[Schedule, ...] = ()
    pause: Pause | None = None
    drain_max_at_once: int = 0
    """Replicas that may be draining at the same time; 0 sets no limit."""
    drain_s: float = 0.0
    """How long a removed replica is taken to drain."""
    drain_whole_nodes: bool = False
    """Replicas leave only in numbers that empty a node of `pool`."""
    drain_empties_nodes: bool = False
    """Which replicas leave is chosen so that whole nodes become free; the core hands it on to the cluster unread."""
    replica_multiple: int = 1
    accelerators_per_replica: int = 1
    pool: str | None = None
    pools: tuple[PoolUse, ...] = ()
    """Several pools that its pods may run on, in the place of `pool`; ``pool_names`` has either."""
    priority: int = 0
    stale_after_s: float = 60.0
    idle_after_s: float | None = None
    """Where the lower bound is 0: how long it must be known to be without work before it goes to zero, and then the first work brings it
    back; None: the policies alone decide on that."""
    generation: int = 0
    objectives: tuple[Objective, ...] = ()
    """Further objectives beside `objective`; the most demanding one counts (``core.objectives``)."""
    role: Role | None = None
    """Its part in a service of several, which are sized together (``core.roles``)."""
    sources: object = None
    """Where its signals come from (the manifest's `signals`); the core hands it on to the metric source unread."""
    publication: Publication = NOTHING_MORE
    """Handed on unread likewise."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def pool_names(self) -> tuple[str, ...]:
        """The pools that its pods may run on, however the manifest names them."""
        return tuple([use.name for use in self.pools]) or (() if self.pool is None else (self.pool,))

    @property
    def lowest_min(self) -> int:
        """The lowest lower bound that it can have, at any time."""
        windows = [window.min_replicas for window in self.schedules if window.min_replicas is not None]
        return min([self.min_replicas, *windows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A zone of a pool's nodes; max_nodes None: no bound of its own."""

    name: str
    max_nodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a namespace's planned replicas may take of a pool (accelerators None: no bound), and its weight beside others of one priority."""

    namespace: str
    accelerators: int | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A node pool's configuration."""

    name: str
    min_nodes: int
    max_nodes: int
    accelerators_per_node: int
    cost_per_hour: float = 0.0
    backend: object = None
    """How its size is set (the manifest's `backend`); the core hands it on to the node pools unread."""
    uid: str = ""
    """Of the object, where it is one in a cluster; handed on likewise."""
    node_selector: tuple[tuple[str, str], ...] = ()
    """Labels of its nodes; handed on likewise."""
    resource: str = "nvidia.com/gpu"
    """The extended resource that `accelerators_per_node` counts; a MIG profile or a shared slice is a resource of its own."""
    zones: tuple[Zone, ...] = ()
    spot_ratio: float = 0.0
    """How much of its nodes may be spot, beyond the first `on_demand_nodes`, at `spot_cost_per_hour` each (None: the same price)."""
    on_demand_nodes: int = 0
    spot_cost_per_hour: float | None = None
    quotas: tuple[Quota, ...] = ()
    min_replicas_first: bool = True
    """Whether every service's lower bound comes before what higher priorities want beyond theirs."""
    waiting_cost: float = 0.0
    """What replicas that wait for a node cost, in that node's price for the same time: by it spare nodes are kept (``allocation.cool_down``); 0:
    they go at once."""

    @property
    def spot_price(self) -> float:
        """Of a spot node for an hour."""
        return self.cost_per_hour if self.spot_cost_per_hour is None else self.spot_cost_per_hour

    @property
    def most_nodes(self) -> int:
        """The upper bound that its zones leave."""
        bounds = [zone.max_nodes for zone in self.zones]
        return (
            min(self.max_nodes, sum(bound for bound in bounds if bound is not None))
            if bounds and None not in bounds
            else self.max_nodes
        )


# ---------------------------------------------------------------- what is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntVersion:
    """What was learnt of one version of a target: per_s, weight and seen as in LearntMemory."""

    version: str
    per_s: float
    weight: float
    seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntMemory:
    """A learnt capacity: per_s, the requests that it is worth (weight), and how many of them samples brought (seen); learnt where given_per_s
    (None: nothing) was given, with batches of `slots` and their slowdown as in Capacity.

    version: of the target that it is of, "" where none is known. others: what was learnt of versions before, the last to go last."""

    per_s: float
    weight: float
    seen: float
    given_per_s: float | None
    slots: int
    slots_slowdown: float
    version: str = ""
    others: tuple[LearntVersion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyMemory:
    """What a policy had learnt over long by at_s, as the text that it made of it (``core.policy.Remembers``)."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a service's past decisions leave behind and no query can bring back, and what was learnt of its replicas; kept in the object's
    status.

    recommendations, scale_events: (at_s, replicas or signed change), oldest first, only as far back as the service's windows reach.
    current: (at_s, replicas) as the last tick saw it: what was changed after it is found by comparing; None where no rate limit asks.
    capacity: None where it is given, or nothing was learnt yet. learnt: by policy, what it had learnt over long.
    idle_s: how long it was known to be without work, None where it wasn't or its lower bound is above 0.
    replaced_at_s: when a replica was last replaced by one of another version, None where nothing is held by that any more.
    """

    desired: int | None = None
    blind_since_s: float | None = None
    recommendations: tuple[tuple[float, int], ...] = ()
    scale_events: tuple[tuple[float, int], ...] = ()
    current: tuple[float, int] | None = None
    capacity: LearntMemory | None = None
    idle_s: float | None = None
    replaced_at_s: float | None = None
    learnt: Mapping[str, PolicyMemory] = field(default_factory=dict)


@tick_value
class Fleet:
    """All services at one moment. `revision` changes exactly when `specs` or their order change: whoever compiled something
    from the specs compiles it again then. A fleet never changes once it is handed over: what was worked out from it holds as long as it is
    the same object.

    current (n,): the target's spec.replicas now. ready (n,): serving. starting (n,): on their way to `current`, not ready. draining (n,): leaving.
    lead_time_s, node_lead_time_s (n,): measured where there are samples, else the spec's start value; of several pools the slowest one's.
    surge (n,): replicas that are there beyond `current`, ready or starting: those that an update sets beside the ones it replaces, or a
    smaller count has not yet removed (None: nowhere). They are on nodes, and go by themselves: no coming capacity.
    versions (n,): of each target; None: nobody knows of any. The same tuple as long as nothing in it changes.
    hands_off (n,): True where we must not write (target missing, a foreign writer, a second manifest, …); `hands_off_why[row]` says
    which, in the form "Reason: words".
    memories: by key, what the status remembered of services (only read for services the engine has not met yet).
    paused: a cluster-wide switch; None where it is off.
    pool_nodes: nodes that are there, ready or coming, by pool; None: nobody tells.
    placed: by row, replicas on each pool's nodes, of services that may run on several; None: nobody tells. draining_on: the same of those that
    are leaving, without draining_lost.
    draining_lost: by row, how many of `draining` are on nodes that count for nothing (gone, told to go, silent): those need no node any more.
    staying_lost: by row, replicas that do not leave on each pool's nodes that count for nothing and that nobody but us replaces.
    pool_facts: what is seen of pools' nodes, by name; a pool is left out while its nodes can't be seen. stuck: by row, replicas that find no
    node for longer than nodes take. lead_stages: what lead_time_s is made of. nodes_of: a pool's nodes one by one, for people.
    pool_memories: what the status of pools remembers of a shortage (only read for pools that nobody has met yet). bounds: what is short as
    records tell it; None: the controller finds out.
    """

    revision: int
    specs: tuple[ScalingSpec, ...]
    current: Ints
    ready: Ints
    starting: Ints
    draining: Ints
    lead_time_s: Floats
    node_lead_time_s: Floats
    hands_off: Bools
    hands_off_why: Mapping[int, str] = field(default_factory=dict)
    memories: Mapping[str, Memory] = field(default_factory=dict)
    pools: tuple[PoolSpec, ...] = ()
    paused: Pause | None = None
    surge: Ints | None = None
    versions: tuple[Versions, ...] | None = None
    pool_nodes: Mapping[str, int] | None = None
    placed: Mapping[int, Mapping[str, int]] | None = None
    draining_on: Mapping[int, Mapping[str, int]] | None = None
    draining_lost: Mapping[int, int] = field(default_factory=dict)
    staying_lost: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    pool_facts: Mapping[str, PoolFacts] = field(default_factory=dict)
    stuck: Mapping[int, StuckReplicas] = field(default_factory=dict)
    lead_stages: StagesOf = no_stages
    nodes_of: NodesOf = no_nodes
    pool_memories: Mapping[str, Short] = field(default_factory=dict)
    bounds: Bounds | None = None

    def __len__(self) -> int:
        return len(self.specs)


@tick_value
class SignalColumn:
    """One signal of all services now: values (n,) with NaN = missing, age_s (n,) seconds since it was true, state (n,) SignalState.

    span_s (n,): over how many seconds each value is a mean (of a rate: its window), NaN where it is of a moment or nobody knows; None: so
    everywhere. The same array is handed out as long as nothing in it changes."""

    values: Floats
    age_s: Floats
    state: States
    span_s: Floats | None = None


@tick_value
class Readings:
    """What the metric source read in one tick. A signal that is absent here is unknown for everybody.

    why(signal, row): why a value is unknown, in words ("" where it isn't); asked only when somebody wants to know.
    """

    at_s: float
    signals: Mapping[str, SignalColumn]
    why: Callable[[str, int], str] = lambda _signal, _row: ""


@tick_value
class Signal:
    """A signal as a policy sees it: the latest column and its past.

    values, age_s (n,), state (n,), span_s (n,) or None: as in SignalColumn. history: past values of these rows, one column a tick, newest last,
    NaN where unknown; it reaches back as far as the policy's declared lookback.
    """

    values: Floats
    age_s: Floats
    state: States
    history: History | HistoryRows
    span_s: Floats | None = None


@tick_value
class Observation:
    """What one policy sees of its services at one tick. All arrays are (n,), a row a service that names the policy.

    capacity_per_s, slots, objective_target: of a ready replica within the most demanding objective: requests/s, requests at a time, and how
    many seconds a request may wait in the queue. full_slots: how many at a time it takes if nobody limits it (None: as slots).
    pooled: rows that run on a pool whose nodes the plan sizes, so that a node goes as soon as nothing needs it (None: there are none).

    A policy must treat it as read-only; rows keep their meaning between ticks until ``Policy.rearrange`` says otherwise.
    """

    at_s: float
    interval_s: float
    signals: Mapping[str, Signal]
    current: Ints
    ready: Ints
    starting: Ints
    min_replicas: Ints
    max_replicas: Ints
    capacity_per_s: Floats
    slots: Floats
    slots_slowdown: Floats
    lead_time_s: Floats
    node_lead_time_s: Floats
    objective_target: Floats
    promised_ratio: Floats
    full_slots: Floats | None = None
    pooled: Bools | None = None

    def __len__(self) -> int:
        return len(self.current)


# ---------------------------------------------------------------- what is wished and decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one service's forecast is made of: what demand is now, and by name the factors (1.04: 4 % up) that make what is expected of it,
    in the order in which people should read them."""

    now: float
    factors: Mapping[str, float]


def no_parts(_row: int) -> Parts | None:
    return None


@tick_value
class Forecast:
    """A forecast of demand made at `made_at_s`: quantiles (q,), times_s (h,) or, where services look ahead differently, (n, h), values
    (n, q, h). Each value is what the window of `window_s` that begins at its time needs: effective demand (``core.envelope``).

    A policy that scores its forecast while it runs says so: trusted (n,), False where the forecast has lost its vote and something else
    speaks in its place (None: it isn't scored); missed_ratio (n,), how often demand lately exceeded what it says is exceeded with the
    probability claimed_ratio, NaN where nobody knows yet.
    parts(row): what the median of its first time is made of; None where there is nothing to say. Asked as ``Recommendation.why`` is.
    """

    made_at_s: float
    times_s: Floats
    quantiles: Floats
    values: Floats
    unit: str
    window_s: float = 60.0
    trusted: Bools | None = None
    missed_ratio: Floats | None = None
    claimed_ratio: float = 0.05
    parts: Callable[[int], Parts | None] = no_parts

    def times_of(self, row: int) -> Floats:
        """The times (h,) of one service's forecasts."""
        times: Floats = self.times_s[row] if self.times_s.ndim > 1 else self.times_s
        return times


def no_words(_row: int) -> str:
    return ""


@tick_value
class Recommendation:
    """A policy's wish for each of its rows.

    replicas (n,): the wished count; a fraction is rounded up, NaN says "I can't tell" (never "zero").
    headroom (n,): replicas' worth of room to keep on nodes beyond the replicas, so that the next ones need not wait for a node;
    costs node-hours, never replica-hours.
    why(row): one plain sentence with the numbers behind it; called only for rows somebody asks about, and only until the
    next tick.
    """

    replicas: Floats
    headroom: Floats | None = None
    forecast: Forecast | None = None
    why: Callable[[int], str] = no_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A constraint that changed a count, and why."""

    name: str
    before: int
    after: int
    why: str


@tick_value
class SizedRoles:
    """What sizing the roles of services together said. bottleneck (n,): the row of the role that is most in need of more, −1 where there is
    none (no role, nobody else in the service, nothing wished). unkept (n,): how many bounds of the row's service are not kept. faults: by row,
    what is wrong with its role. words(row): all of that as the row sees it, "" without a role; valid until the next tick."""

    bottleneck: Ints
    unkept: Ints
    faults: Mapping[int, str]
    words: Callable[[int], str]


@tick_value
class Decisions:
    """All decisions of a tick; arrays (n,). recommended: NaN where no policy could tell. blind (n,): no usable signal.
    partial (n,): some signal that the policies need is unknown. capacity_per_s (n,): what one replica was taken to do, NaN where unknown;
    capacity_confidence (n,): 0…1 where that is learnt, NaN where it is given; None: nobody's is learnt. limits(row), reason(row): words,
    made when asked for, valid until the next tick."""

    at_s: float
    recommended: Floats
    desired: Ints
    headroom: Ints
    blind: Bools
    partial: Bools
    capacity_per_s: Floats
    limits: Callable[[int], tuple[Limit, ...]]
    reason: Callable[[int], str]
    capacity_confidence: Floats | None = None
    objective: Callable[[int], str] = no_words
    """The most demanding objective of a row and what it allows, in words; "" where there is nothing to say. As `reason`."""
    warnings: Callable[[int], tuple[str, ...]] = lambda _row: ()
    """What the owner of a row should know of its objectives. As `reason`."""
    forecasts: tuple[tuple[str, Ints, Forecast], ...] = ()
    """(policy, rows (m,) of the fleet, forecast with m rows) of every policy that made one."""
    idle_s: Floats | None = None
    """How long each service is known to be without work, as its status is to remember it (n,); None: none may go to zero."""
    roles: SizedRoles | None = None
    """None: nobody has a role."""


@tick_value
class Plan:
    """What is to be done. replicas (n,): planned counts. act (n,): True where the count may be written (mode Active, nobody else's
    number, not the same already). headroom (n,): replicas' worth of empty room on nodes. nodes: by pool name.

    Where `replicas` is below the fleet's `current`, that many of a service's replicas are to leave; a pool whose nodes are more than `nodes`
    has some to give back once they are empty. Neither names which."""

    at_s: float
    replicas: Ints
    act: Bools
    headroom: Ints
    nodes: Mapping[str, int]
    limits: Mapping[int, Limit] = field(default_factory=dict)
    """Rows that a pool, a quota or the fleet-wide budget cut, with the words for it."""
    node_words: Mapping[str, str] = field(default_factory=dict)
    """Why this many nodes, by pool name."""
    zone_nodes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of pools with zones: nodes by zone."""
    spot_nodes: Mapping[str, int] = field(default_factory=dict)
    """Of pools that may have spot nodes: how many of `nodes` may be."""
    taken: Mapping[str, int] | None = None
    """By pool: accelerators that pods ask for by themselves (planned replicas, those on their way out, an update's), headroom not among them, and
    those of lost nodes that nobody can take; None: nobody reckons it."""
    bounds: Bounds | None = None
    """What was short; None: nothing."""


class Written(IntEnum):
    """What became of a planned write."""

    NOTHING = 0
    """Nothing to write."""
    DONE = 1
    REFUSED = 2
    """Somebody changed the object first, or we no longer lead: decided again at the next tick."""
    FAILED = 3


@tick_value
class Outcome:
    """What the cluster did with a plan: written (n,) of Written; errors by row, in words. leaving: rows that shrink and choose which pods go,
    with which those are and what becomes free, in words."""

    written: npt.NDArray[np.int8]
    errors: Mapping[int, str] = field(default_factory=dict)
    leaving: Mapping[int, str] = field(default_factory=dict)
