"""The doors of the controller: what it needs from the world, and nothing more.

Each port has a real implementation (``autoscaler.adapters``), one that replays (``replay``), and fakes in the tests that pass the
same contract tests. Adapters do not retry: the next tick is the retry. Every call has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from autoscaler.core.model import Decisions, Fleet, Limit, Memory, Outcome, Plan, PoolSpec, Readings
from autoscaler.core.value import tick_value


class Clock(Protocol):
    """Time, so that a replay can jump."""

    def now_s(self) -> float:
        """Unix seconds UTC. May step when somebody sets the machine's clock; never used for deadlines."""

    def monotonic_s(self) -> float:
        """Seconds that never step back; for deadlines and durations."""

    async def sleep_until(self, at_s: float) -> None:
        """Returns when now_s() ≥ at_s; at once where that is past."""


class ReadyPods(Protocol):
    """Which pods count for which service, for sources that see pods. Owned by the cluster adapter, handed to the metric source."""

    @property
    def revision(self) -> int:
        """Changes when any answer below may have changed."""

    def rows_by_pod(self) -> Mapping[tuple[str, str], int]:
        """(namespace, pod) → row of the fleet, only for pods that are ready and not being deleted."""

    def sharing_rows(self) -> Mapping[int, Sequence[int]]:
        """Row → further rows that scale the same target, so that its pods count for them as well (a Shadow beside an Active one). Nearly
        always empty."""


class SecretReader(Protocol):
    """Reads one key of a Secret; the version changes when the content does."""

    async def read_secret(self, namespace: str, name: str, key: str, *, timeout_s: float) -> tuple[bytes, str]:
        """(value, version). Raises ``autoscaler.errors.OutsideError`` where it is missing or refused."""


@tick_value
class Backfill:
    """What a metric source knows of the past.

    readings: one for each moment that was asked for, unknown where there was nothing; empty where there is no past at all.
    failed: rows whose past could not be read, or only a part of it, with the fault in words: worth another try, which having no past isn't.
    """

    readings: Sequence[Readings] = ()
    failed: Mapping[int, str] = field(default_factory=dict)


class MetricSource(Protocol):
    """Where signals come from."""

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        """The latest values of `wanted` (signal → rows that need it) at `at_s`. Returns within `deadline_s` seconds whatever happens: what
        did not arrive is unknown. Never raises for a fault outside."""

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        """Past readings of `wanted` at `times_s` (rising, evenly spaced). Bounded in time; never raises for a fault outside."""


class Cluster(Protocol):
    """The services, and the hand that scales them."""

    async def observe(self, at_s: float) -> Fleet:
        """What is there now, from memory (informers); fast, and never raises for a fault outside."""

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        """Writes the planned counts where `plan.act`. Idempotent. Each write carries the version it was decided on, so that a late one is
        refused. Returns within `deadline_s` seconds."""


@tick_value
class PoolTold:
    """What is known of one node pool, for its status. asked: nodes that the system was last asked for; ready: nodes that are ready; None
    where nobody knows. owner: who else owns the count, "" nobody. ok: whether all is as it should be, with the one word and the words why.
    short: that the system has no capacity or quota for what it was asked, in its words; "" where it does not say so."""

    asked: int | None
    ready: int | None
    owner: str
    ok: bool
    reason: str
    message: str
    short: str = ""


class NodePools(Protocol):
    """The hand that sizes node pools."""

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        """Sets the planned node counts; errors by pool, in words."""

    def told(self) -> Mapping[str, PoolTold]:
        """What is known of each pool since the last `act`, by name; a pool that has not answered yet is left out."""


class KubernetesRequests(Protocol):
    """The API server, for adapters beside the one that holds the session."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout_s: float,
    ) -> dict[str, Any]:
        """One request; the answer's JSON object. Raises ``autoscaler.errors.RequestFailed``, also when `timeout_s` has passed."""


@tick_value
class Tick:
    """Everything about one tick, handed to the reporters. Arrays are in the order of fleet.specs; words are made when asked for and
    valid until the next tick. leading: whether this process may act. timings_s: seconds spent by step (observe, read, decide, act)."""

    number: int
    fleet: Fleet
    readings: Readings
    decisions: Decisions
    plan: Plan
    outcome: Outcome
    leading: bool
    interval_s: float
    timings_s: Mapping[str, float] = field(default_factory=dict)
    memory: Callable[[int], Memory]
    """What a row's status should remember for a restart."""
    unlearnt: Mapping[int, str] = field(default_factory=dict)
    """Rows whose past the policies want to know and don't yet, with the reason in words."""
    unrecorded: bool = False
    """Whether something came into what the engine knows since the last tick that no record tells (a past was learnt, the clock was set)."""
    problems: tuple[str, ...] = ()
    """What went wrong in this tick outside the decisions (a reporter that failed, a policy that was refused), in words."""

    def limits(self, row: int) -> tuple[Limit, ...]:
        """Every limit that changed a row's count, in order: its own, then what the plan of all services took."""
        shared = self.plan.limits.get(row)
        own = tuple(self.decisions.limits(row))
        return own if shared is None else (*own, shared)


class Reporter(Protocol):
    """Told of every tick after acting: status, metrics, records, page. A fault in one is counted and logged, never felt by decisions."""

    async def report(self, tick: Tick) -> None: ...
