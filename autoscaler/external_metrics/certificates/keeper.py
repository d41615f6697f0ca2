"""Keeps our certificates alive: in one Secret and one caBundle, by every replica alike and without a leader.

Each looks when something changed (watches of both by name) or is due, decides by ``rotation.next_step``, and takes one step: a write that
the API server refuses where anybody wrote since. Who is refused reads again. So it doesn't matter who takes a step, nor whether whoever
took the one before is still alive.

The APIService is always read before the Secret. What is written into the caBundle then comes from a Secret that is newer than the caBundle
that it is written over: a replica that was frozen between the two is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from cryptography import x509

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.informer import Informer, InformerSettings
from autoscaler.adapters.kubernetes.secrets import SECRETS
from autoscaler.adapters.telemetry.families import Family
from autoscaler.backoff import Backoff
from autoscaler.errors import OutsideError
from autoscaler.external_metrics.certificates import clients as api_service
from autoscaler.external_metrics.certificates.authority import Pair
from autoscaler.external_metrics.certificates.clients import Clients, read_clients, tell_clients
from autoscaler.external_metrics.certificates.figures import Figures
from autoscaler.external_metrics.certificates.pace import Pace
from autoscaler.external_metrics.certificates.plan import Asked, Plan
from autoscaler.external_metrics.certificates.report import Report
from autoscaler.external_metrics.certificates.rotation import Seen, next_step
from autoscaler.external_metrics.certificates.secret import CertificateSecret, Read
from autoscaler.external_metrics.certificates.server_time import ServerTime
from autoscaler.external_metrics.certificates.serving import pair_to_serve, usable
from autoscaler.external_metrics.certificates.steps import Announce, Begin, Next, Renew, Restore, Tell, Wait
from autoscaler.external_metrics.certificates.stored import Step, Stored
from autoscaler.external_metrics.certificates.writing import after
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

SECRET_NAME = "inference-autoscaler-external-metrics"
_STEPS = ("None", *(step.value for step in Step))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """resync_s: looks at least so often. time_s: how long a look at the API server's clock is good for. clock_tolerance_s: differences from
    it that don't matter. writes_at_once, write_every_s: so many steps in a row, then one in so many seconds."""

    call_timeout_s: float = 10.0
    resync_s: float = 60.0
    time_s: float = 3600.0
    clock_tolerance_s: float = 60.0
    backoff_first_s: float = 0.2
    backoff_max_s: float = 30.0
    writes_at_once: int = 20
    write_every_s: float = 15.0
    informers: InformerSettings = field(default_factory=InformerSettings)


DEFAULTS = KeeperSettings()


class CertificateKeeper:
    """One replica. `run()` as a task; `use` is given each certificate that is to be served from then on, with its key, PEM. It may raise
    OutsideError where it can't; then what is in hand goes on being served.

    ready: set when `use` was called for the first time; before that there is nothing to do TLS with, so wait for it before listening: a
    process that starts while the API server is away has nothing, and tries until it is back. While it is away later, what is in hand goes
    on being served, also past its end. client_pair: for upstream adapters, which are to trust what the Secret's ``ca.crt`` holds, and to read
    it again when it changes.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        service: str,
        use: Callable[[bytes, bytes], None],
        plan: Plan,
        clock: Clock,
        rng: np.random.Generator,
        secret: str = SECRET_NAME,
        settings: KeeperSettings = DEFAULTS,
    ) -> None:
        self.ready = asyncio.Event()
        self.client_pair: Pair | None = None
        self.serving_pair: Pair | None = None
        """What `use` was last given."""
        self.figures = Figures()
        self._api = api
        self._namespace = namespace
        self._service = service
        self._secret = CertificateSecret(api, namespace, secret, settings.call_timeout_s)
        self._secret_name = secret
        self._use = use
        self._plan = plan
        self._clock = clock
        self._rng = rng
        self._settings = settings
        self._time = ServerTime(api, clock, tolerance_s=settings.clock_tolerance_s, timeout_s=settings.call_timeout_s)
        self._time_at_s = float("-inf")
        self._pace = Pace(clock.monotonic_s, at_once=settings.writes_at_once, every_s=settings.write_every_s)
        self._backoff = Backoff(rng, settings.backoff_first_s, settings.backoff_max_s)
        self._wake = asyncio.Event()
        self._remembered: Stored | None = None
        self._authority: x509.Certificate | None = None
        self._told: tuple[object, float] | None = None  # what clients know, and since when by the monotonic clock
        self._report = Report(self.figures, plan.lifetimes)

    def families(self) -> Iterable[Family]:
        """Own metrics."""
        return self.figures.families(
            serving=self.serving_pair,
            client=self.client_pair,
            ca=self._authority,
            steps=_STEPS,
            now_s=self._time.now_s(),
            ahead_s=self._time.ahead_s,
        )

    async def run(self) -> None:
        """Never returns; cancel it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer(SECRETS, self._namespace, self._secret_name).run(), name="informer secret")
            group.create_task(self._informer(api_service.API_SERVICES, None, api_service.NAME).run(), name="informer apiservice")
            group.create_task(self._keep(), name="certificates")

    def _informer(self, resource: Resource, namespace: str | None, name: str) -> Informer[str]:
        # Only to be told of changes: what is acted on is read anew each time.
        def version(item: Object) -> str:
            return str(item["metadata"].get("resourceVersion"))

        return Informer(
            self._api,
            resource,
            transform=version,
            on_change=lambda *_: self._wake.set(),
            monotonic_s=self._clock.monotonic_s,
            rng=self._rng,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            settings=self._settings.informers,
        )

    # ------------------------------------------------------------ the loop

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait_s = await self._round()
                self._backoff.progress()
            except ApiError as fault:
                wait_s = self._backoff.next_s(fault.retry_after_s)
                self._failed("conflict" if fault.conflict else "api", str(fault), self._backoff.failures)
            except OutsideError as fault:
                wait_s = self._backoff.next_s()
                self._failed("unusable", str(fault), self._backoff.failures)
            except Exception as fault:
                # A fault of ours, or a certificate that nobody foresaw: never die of it, since then nothing would be renewed any more.
                log.exception("certificates: a step failed; trying again")
                wait_s = self._backoff.next_s()
                self._failed("unforeseen", f"{type(fault).__name__}: {fault}", self._backoff.failures)
            try:
                async with asyncio.timeout(min(wait_s, self._settings.resync_s)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> float:
        """Looks, and takes one step at most. Returns for how many seconds there is nothing to do."""
        clients = await self._clients()
        read = await self._secret.read()
        known = clients if isinstance(clients, Clients) else None
        self._take(usable(read.stored, known, self._time.now_s()), known)
        if isinstance(clients, ApiError):
            raise clients
        if self._clock.monotonic_s() - self._time_at_s > self._settings.time_s:
            await self._look_at_time()
        step = self._next(read, clients)
        if not isinstance(step, Wait):
            # What is made is made by the time of those who verify it; and often that time says that nothing is due.
            await self._look_at_time()
            step = self._next(read, clients)
        stored = usable(read.stored, clients, self._time.now_s())
        if stored is not None and stored.is_whole and not isinstance(step, Restore):
            self._remembered = stored
        if isinstance(step, Wait):
            self._report.well(
                read.asked_wrongly or step.why, self.serving_pair, self._time.now_s(), contested=not self._pace.is_rested()
            )
            return max(step.for_s, 0.05)
        if wait_s := self._pace.wait_s():
            self._failed("contested", f"what is written is undone again and again ({step.why}); trying once in a while")
            return wait_s
        await self._do(step, read, clients, stored)
        return 0.0

    async def _look_at_time(self) -> None:
        await self._time.look()
        self._time_at_s = self._clock.monotonic_s()

    async def _clients(self) -> Clients | ApiError:
        """Without the APIService there is no next step; but what the Secret holds can be served all the same."""
        try:
            return await read_clients(self._api, self._namespace, self._service, self._settings.call_timeout_s)
        except ApiError as fault:
            return fault

    def _next(self, read: Read, clients: Clients) -> Next:
        now_s = self._time.now_s()
        stored = usable(read.stored, clients, now_s)
        seen = Seen(
            stored=read.stored,
            remembered=self._remembered,
            clients=clients,
            told_s=self._told_s(stored, clients),
            now_s=now_s,
            asked=read.asked,
        )
        return next_step(seen, self._plan)

    def _told_s(self, stored: Stored | None, clients: Clients) -> float:
        """Of ``Seen``."""
        now_s = self._clock.monotonic_s()
        if stored is None or not clients.knows(stored.bundle):
            self._told = None
            return 0.0
        what = (stored.step, stored.bundle)
        if self._told is None or self._told[0] != what:
            self._told = what, now_s
        return now_s - self._told[1]

    async def _do(self, step: Next, read: Read, clients: Clients, stored: Stored | None) -> None:
        assert not isinstance(step, Wait)
        name = type(step).__name__
        if isinstance(step, Tell):
            assert stored is not None
            await tell_clients(self._api, clients, stored.bundle, self._settings.call_timeout_s)
        else:
            new = after(step, stored or Stored(current=None), self._plan, self._time.now_s())
            answered = isinstance(step, Begin | Announce) or (isinstance(step, Renew) and read.asked is Asked.LEAVES)
            await self._secret.write(read, new, answered=answered)
        self.figures.writes[name] += 1
        log.info("certificates: %s: %s", name.lower(), step.why or "it is due")

    # ------------------------------------------------------------ what is in use

    def _take(self, stored: Stored | None, clients: Clients | None) -> None:
        """Swaps in what is to be served now; the rest is for whoever asks."""
        if stored is None or stored.is_empty:
            self.figures.step = "None"
            return
        self.figures.step = stored.step.value
        shown = stored.current or stored.coming
        assert shown is not None
        self._authority = shown.ca
        self.client_pair = shown.client or self.client_pair
        pair = pair_to_serve(stored, self.serving_pair, clients, self._time.now_s())
        if pair is None or pair == self.serving_pair:
            return
        self._use(pair.certificate_pem, pair.key_pem)
        self.serving_pair = pair
        self.ready.set()
        log.info("certificates: serving %r", pair)

    def _failed(self, reason: str, words: str, failures: int = 1) -> None:
        self._report.failed(reason, words, self.serving_pair, self._time.now_s(), failures)
