"""Puts the server together from its parts and runs it until it is told to stop.

Ready is who can shake hands and tell who asks; not who has values: what is not ready is taken out of the Service, and an API that is not
there stops the deletion of every namespace in the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import find
from autoscaler.adapters.telemetry.families import Family
from autoscaler.clock import SystemClock
from autoscaler.external_metrics.authentication import RequestAuthenticator
from autoscaler.external_metrics.authorization import ReviewedAuthorizer
from autoscaler.external_metrics.catalogue import metric_of
from autoscaler.external_metrics.certificates import (
    CertificateFiles,
    CertificateKeeper,
    Lifetimes,
    Plan,
    service_names,
)
from autoscaler.external_metrics.federation import Federation, load_federation, overlaps
from autoscaler.external_metrics.following import Following
from autoscaler.external_metrics.server import App, serve
from autoscaler.external_metrics.store import Store
from autoscaler.external_metrics.tls import ServingTls
from autoscaler.external_metrics.tokens import TokenReviews
from autoscaler.external_metrics.trust import TrustWatch
from autoscaler.external_metrics.upstream_tls import ClientCertificate
from autoscaler.external_metrics.upstreams import Upstreams
from autoscaler.waiting import first_of

log = logging.getLogger(__name__)

FIRST_DATA_S: Final = 5.0
"""So long a new process waits for the first values before it is ready without: in a rolling update nobody is asked who can't answer yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What the command line said.

    certificate: files (certificate, key) that somebody else keeps; None: our own in the Secret of the Service's name. upstreams: a
    configuration file. drain_s: how long it says that it is not ready before it stops. settle_s, overlap_s: as in ``certificates.Plan``.
    """

    kubeconfig: Path | None
    host: str
    port: int
    share_port: bool
    controllers: tuple[str, ...]
    own_namespace: str
    service: str
    identity: str | None
    certificate: tuple[Path, Path] | None
    client_certificate: tuple[Path, Path] | None
    upstreams: Path | None
    drain_s: float
    settle_s: float
    overlap_s: float


async def run(settings: ServerSettings) -> None:
    """Runs until SIGTERM or SIGINT, then drains. Raises UsageError, OutsideError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    federation = Federation(upstreams=[]) if settings.upstreams is None else load_federation(settings.upstreams)
    for overlap in overlaps(federation):
        log.warning("%s", overlap)
    clock = SystemClock()
    rng = np.random.default_rng()  # noqa: TID251 - jitter of retries; nothing that is answered draws from it
    who = settings.identity or socket.gethostname()
    async with AsyncExitStack() as stack:
        credentials = await find(str(settings.kubeconfig) if settings.kubeconfig else None, clock.monotonic_s)
        api = await stack.enter_async_context(
            HttpKubeApi(credentials, user_agent=f"inference-autoscaler-external-metrics ({who})")
        )
        tls, store = ServingTls(), Store(clock)
        trust = TrustWatch(api, admit=tls.trust, clock=clock, rng=rng)
        certificates = _certificates(settings, api, tls, clock, rng)
        following = Following(settings.controllers, store, clock, rng)
        authenticator = RequestAuthenticator(
            trust=lambda: trust.current, tokens=TokenReviews(api, clock=clock, rng=rng), clock=clock
        )
        stack.push_async_callback(authenticator.close)
        authorizer = ReviewedAuthorizer(api, clock=clock, rng=rng)
        stack.push_async_callback(authorizer.close)

        upstreams = await stack.enter_async_context(
            Upstreams(
                federation,
                clock=clock,
                rng=rng,
                client_certificate=_client_certificate(settings, certificates),
                is_own=lambda metric: metric_of(metric) is not None,
            )
        )
        began_s = clock.monotonic_s()

        def why_not_ready() -> str:
            if why := trust.why_not():
                return why
            if not store.has_data() and clock.monotonic_s() - began_s < FIRST_DATA_S:
                return f"no controller has told anything yet: {following.why_not()}"
            return ""

        def families() -> Iterable[Family]:
            yield from authenticator.families()
            yield from authorizer.families()
            yield from certificates.families()
            yield from upstreams.families()
            yield from _told(store, following)

        app = App(store, authenticator, authorizer, clock=clock, upstreams=upstreams, ready=why_not_ready, metrics=families)
        for name, task in (("trust", trust.run()), ("certificates", certificates.run()), ("controllers", following.run())):
            await stack.enter_async_context(_kept(name, task, stop))
        await first_of(certificates.ready.wait(), stop.wait())
        if stop.is_set():
            return
        serving = await stack.enter_async_context(
            serve(app, settings.host, settings.port, tls.context, reuse_port=settings.share_port, drain_s=settings.drain_s)
        )
        log.info("listening on %s:%d", settings.host or "*", serving.port)
        gc.collect()
        gc.freeze()
        await _say_when_ready(who, why_not_ready, stop)
        await stop.wait()
        log.info("stopping: no longer ready, and still answering for %g s", settings.drain_s)


def _certificates(
    settings: ServerSettings, api: HttpKubeApi, tls: ServingTls, clock: SystemClock, rng: np.random.Generator
) -> CertificateKeeper | CertificateFiles:
    if settings.certificate is not None:
        certificate, key = settings.certificate
        return CertificateFiles(certificate, key, use=tls.use, clock=clock, client_files=settings.client_certificate)
    return CertificateKeeper(
        api,
        namespace=settings.own_namespace,
        service=settings.service,
        secret=settings.service,
        use=tls.use,
        plan=Plan(
            names=service_names(settings.service, settings.own_namespace),
            lifetimes=Lifetimes(),
            settle_s=settings.settle_s,
            overlap_s=settings.overlap_s,
        ),
        clock=clock,
        rng=rng,
    )


def _client_certificate(settings: ServerSettings, certificates: CertificateKeeper | CertificateFiles) -> ClientCertificate | None:
    """Towards upstreams; None where there never is one."""
    if settings.certificate is not None and settings.client_certificate is None:
        return None

    def pair() -> tuple[bytes, bytes] | None:
        found = certificates.client_pair
        return None if found is None else (found.certificate_pem, found.key_pem)

    return pair


def _told(store: Store, following: Following) -> Iterable[Family]:
    yield Family(
        name="external_metrics_controllers",
        help="Controllers that are followed now.",
        kind="gauge",
        samples={(): float(following.connected)},
    )
    yield Family(
        name="external_metrics_oldest_value_age_seconds",
        help="By metric, the age of the oldest value that is known.",
        kind="gauge",
        samples={(("metric", metric),): age_s for metric, age_s in store.oldest_s().items()},
    )


async def _say_when_ready(who: str, why_not: Callable[[], str], stop: asyncio.Event) -> None:
    """Says in the log what is waited for, and when it is over."""
    said = ""
    while (why := why_not()) and not stop.is_set():
        if why != said:
            log.info("not ready yet: %s", why)
            said = why
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await stop.wait()
    if not stop.is_set():
        log.info("%s is ready", who)


@contextlib.asynccontextmanager
async def _kept(name: str, work: Coroutine[Any, Any, None], stop: asyncio.Event) -> AsyncIterator[None]:
    """`work`, which never ends by itself, as long as the context is open; a fault of ours in it stops the process, and its restart mends
    it."""
    task = asyncio.create_task(work, name=name)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled():
            log.critical("%s ended by a fault of ours; stopping", name, exc_info=done.exception())
            stop.set()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
