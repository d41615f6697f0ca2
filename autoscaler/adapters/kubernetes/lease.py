"""Leader election by a Lease, such that a leader knows by itself, at any instant, that it no longer is one.

The client library's own election is not used: it writes local time as UTC, enforces no deadline on a hung call, and leaves the leading
task running when the API server is unreachable.

Why no two act at the same time. The leader counts from the monotonic instant *before* it sent the last renewal that succeeded, and
stops being leader `renew_deadline_s` after it. Others count from the instant at which they *saw* that renewal, which is later, and wait
`lease_s`, which is longer. The difference is what a write that is already under way may take. A process that was frozen asks its clock
when it wakes up, not its memory. Wall clocks are written for people and never compared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.moments import micro_time_text
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

LEASE_NAME = "inference-autoscaler"
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """lease_s: others wait so long after the last renewal they saw. renew_deadline_s: so long after its last renewal a leader stays one.
    retry_s: pause between renewals, and between looks of the others. With these another leads at most
    retry_s + lease_s ≈ 12 s after a leader's death."""

    lease_s: float = 10.0
    renew_deadline_s: float = 6.0
    retry_s: float = 2.0
    call_timeout_s: float = 2.5

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_deadline_s < self.lease_s:
            raise ValueError("retry_s < renew_deadline_s < lease_s must hold, or two could lead at once")


async def _nothing() -> None:
    return None


class LeaseElection:
    """One candidate. Run `run()` as a task; `is_leader()` at any time.

    identity: unique among all processes that ever compete (host name and a random part). on_started, on_lost: awaited; while on_lost
    runs we neither lead nor compete, so whatever it stops has stopped before we could lead again.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        identity: str,
        clock: Clock,
        rng: np.random.Generator,
        name: str = LEASE_NAME,
        settings: LeaseSettings | None = None,
        on_started: Callable[[], Awaitable[None]] = _nothing,
        on_lost: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.identity = identity
        self.leader = ""
        """Who leads, as last seen; for people."""
        self.started = asyncio.Event()
        """Set while we lead: await it to tick at once on becoming leader."""
        self.last_fault: ApiError | None = None
        self._api = api
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._rng = rng
        self._settings = settings or LeaseSettings()
        self._on_started = on_started
        self._on_lost = on_lost
        self._renewed_at_s: float | None = None  # None: we do not lead
        self._lease: Object | None = None  # as last read or written, with its resourceVersion
        self._seen: tuple[Any, ...] = ()
        self._seen_at_s = clock.monotonic_s()

    def is_leader(self) -> bool:
        """Whether we may act at this very instant."""
        renewed_at_s = self._renewed_at_s
        return renewed_at_s is not None and self._clock.monotonic_s() < renewed_at_s + self._settings.renew_deadline_s

    async def run(self) -> None:
        """Competes and renews until cancelled; then gives the lease back, if it is still ours. Cancel it only after acting has stopped."""
        try:
            while True:
                await self._round()
                await asyncio.sleep(self._pause_s())
        finally:
            await self._release()

    async def _round(self) -> None:
        if self._renewed_at_s is not None and not self.is_leader():
            await self._lose("the lease was not renewed in time")
        try:
            if self._renewed_at_s is not None:
                await self._renew()
            else:
                await self._compete()
            self.last_fault = None
        except ApiError as fault:
            if str(fault) != str(self.last_fault):  # once, not with every try of a long outage
                log.warning("lease %s/%s: %s", self._namespace, self._name, fault)
            self.last_fault = fault

    def _pause_s(self) -> float:
        retry_s = self._settings.retry_s * (0.9 + 0.2 * float(self._rng.random()))
        now_s = self._clock.monotonic_s()
        if self._renewed_at_s is not None:
            # After a failure sooner, but never past the moment at which we must notice that we lost it.
            pause_s = retry_s if self.last_fault is None else retry_s / 2
            return min(pause_s, max(0.0, self._renewed_at_s + self._settings.renew_deadline_s - now_s) + 0.01)
        # A candidate looks again just when the lease that it saw runs out.
        left_s = self._seen_at_s + self._waiting_s() - now_s
        return retry_s if left_s <= 0 else max(0.01, min(retry_s, left_s + 0.01))

    # ------------------------------------------------------------ leading

    async def _renew(self) -> None:
        assert self._renewed_at_s is not None
        try:
            await self._write(self._record(), self._left_s())
        except ApiError as fault:
            if not fault.conflict:
                raise
            # Somebody wrote, perhaps we ourselves in a call whose answer was lost.
            await self._look(self._left_s())
            if self._holder() != self.identity:
                await self._lose(f"{self._holder() or 'somebody'} took the lease")
            elif self.is_leader():
                await self._write(self._record(), self._left_s())

    async def _lose(self, why: str) -> None:
        log.warning("no longer leader: %s", why)
        self._renewed_at_s = None
        self.started.clear()
        await self._on_lost()

    def _left_s(self) -> float:
        """What a call may take so that the next one can still come in time."""
        assert self._renewed_at_s is not None
        left_s = self._renewed_at_s + self._settings.renew_deadline_s - self._clock.monotonic_s()
        return max(0.05, min(self._settings.call_timeout_s, left_s))

    # ------------------------------------------------------------ competing

    async def _compete(self) -> None:
        timeout_s = self._settings.call_timeout_s
        try:
            await self._look(timeout_s)
        except ApiError as fault:
            if not fault.not_found:
                raise
            self._lease = None
        holder = self._holder()
        self.leader = holder
        if self._lease is not None and holder not in ("", self.identity):
            if self._clock.monotonic_s() < self._seen_at_s + self._waiting_s():
                return
            log.info("the lease of %s has run out", holder)
        try:
            await self._write(self._record(), timeout_s)
        except ApiError as fault:
            if fault.conflict:
                return  # another one was faster
            raise
        log.info("leading as %s", self.identity)
        self.started.set()
        await self._on_started()

    async def _look(self, timeout_s: float) -> None:
        path = LEASES.path(self._namespace, self._name)
        self._notice(await self._api.request("GET", path, timeout_s=timeout_s))

    def _notice(self, lease: Object) -> None:
        self._lease = lease
        spec = lease.get("spec") or {}
        # Not the resourceVersion: somebody who labels the lease would keep a dead leader alive.
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("acquireTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen = seen
            self._seen_at_s = self._clock.monotonic_s()

    def _holder(self) -> str:
        return str(((self._lease or {}).get("spec") or {}).get("holderIdentity") or "")

    def _waiting_s(self) -> float:
        """How long the holder was promised; its own word for it, within reason."""
        spec = (self._lease or {}).get("spec") or {}
        promised = spec.get("leaseDurationSeconds")
        return float(promised) if isinstance(promised, int) and 1 <= promised <= 300 else self._settings.lease_s

    # ------------------------------------------------------------ writing

    def _record(self) -> Object:
        spec = (self._lease or {}).get("spec") or {}
        now = micro_time_text(self._clock.now_s())
        ours = spec.get("holderIdentity") == self.identity
        transitions = int(spec.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._settings.lease_s)),
            "acquireTime": spec.get("acquireTime") if ours and spec.get("acquireTime") else now,
            "renewTime": now,
            "leaseTransitions": transitions if ours or self._lease is None else transitions + 1,
        }

    async def _write(self, spec: Object, timeout_s: float) -> None:
        """Writes the record over the one last seen (its resourceVersion goes along) and counts from before the call."""
        before_s = self._clock.monotonic_s()
        meta: Object = {"name": self._name, "namespace": self._namespace}
        body: Object = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": meta, "spec": spec}
        if self._lease is None:
            lease = await self._api.request("POST", LEASES.path(self._namespace), body=body, timeout_s=timeout_s)
        else:
            body["metadata"] = {**self._lease["metadata"]}
            path = LEASES.path(self._namespace, self._name)
            lease = await self._api.request("PUT", path, body=body, timeout_s=timeout_s)
        self._notice(lease)
        self._renewed_at_s = before_s if spec["holderIdentity"] == self.identity else None
        self.leader = str(spec["holderIdentity"])

    async def _release(self) -> None:
        """Lets the next one lead at once instead of after the lease's time. Nothing else depends on it."""
        leading, self._renewed_at_s = self.is_leader(), None
        self.started.clear()
        if not leading or self._lease is None:
            return
        timeout_s = self._settings.call_timeout_s
        try:
            try:
                await self._write(self._released(), timeout_s)
            except ApiError as fault:
                if not fault.conflict:
                    raise
                # A renewal that was cancelled had arrived all the same.
                await self._look(timeout_s)
                if self._holder() == self.identity:
                    await self._write(self._released(), timeout_s)
        except ApiError as fault:
            log.warning("the lease was not given back and runs out by itself: %s", fault)

    def _released(self) -> Object:
        return {**self._record(), "holderIdentity": "", "leaseDurationSeconds": 1}
