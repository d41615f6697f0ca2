"""Puts the controller together from its adapters and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.cluster import KubernetesCluster
from autoscaler.adapters.kubernetes.credentials import find
from autoscaler.adapters.kubernetes.lease import LeaseElection
from autoscaler.adapters.kubernetes.pool_reporter import PoolReporter
from autoscaler.adapters.kubernetes.secrets import KubernetesSecrets
from autoscaler.adapters.kubernetes.status_reporter import StatusReporter
from autoscaler.adapters.nodepools.dry_run import DryRun
from autoscaler.adapters.nodepools.pools import BackendPools
from autoscaler.adapters.nodepools.wiring import Backends
from autoscaler.adapters.prometheus.settings import PrometheusSettings
from autoscaler.adapters.prometheus.source import PrometheusSource
from autoscaler.adapters.telemetry.decision_log import DecisionLog
from autoscaler.adapters.telemetry.families import CONTENT_TYPE, Family, Labels
from autoscaler.adapters.telemetry.metrics import Metrics
from autoscaler.adapters.telemetry.records import RecordWriter
from autoscaler.cli.asked_nodes import AskedNodes
from autoscaler.cli.judge import judge_with
from autoscaler.cli.run_options import known_policies
from autoscaler.clock import SystemClock
from autoscaler.controller import Controller
from autoscaler.core.allocation import ChangeBudget
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.feed import Feed
from autoscaler.dashboard.server import host_names, make_app, serve
from autoscaler.dashboard.watching import Watched
from autoscaler.errors import OutsideError
from autoscaler.listen import parse_listen
from autoscaler.ports import Reporter
from autoscaler.publishing import Publisher
from autoscaler.waiting import first_of

log = logging.getLogger(__name__)

TICKS_MISSED = 6
"""Not healthy any more when the last whole tick ended so many intervals ago: the loop is stuck or fails each time, and a restart is safe."""
SYNC_TIMEOUT_S = 120.0
SYNC_WORDS_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What the command line said, in the adapters' terms."""

    kubeconfig: Path | None
    prometheus: PrometheusSettings
    interval_s: float
    namespaces: tuple[str, ...]
    shadow: bool
    listen: str
    records: Path | None
    elect: bool
    own_namespace: str
    identity: str | None
    budget: ChangeBudget
    seed: int


async def run(settings: RunSettings) -> None:
    """Runs until SIGTERM or SIGINT; then ends the tick that is under way, gives the Lease back and closes everything."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        controller = await _assemble(settings, stack, stop)
        if stop.is_set():
            return
        # What is there now stays: without this each full collection walks through ten thousand manifests.
        gc.collect()
        gc.freeze()
        log.info("everything is listed, ticking every %g s", settings.interval_s)
        await controller.run(stop)
        log.info("stopping: no more ticks")


async def _assemble(settings: RunSettings, stack: AsyncExitStack, stop: asyncio.Event) -> Controller:
    clock = SystemClock()
    rng = np.random.default_rng()  # noqa: TID251 - jitter of retries; no decision draws from it
    host, port = parse_listen(settings.listen)
    policies = known_policies()
    credentials = await find(str(settings.kubeconfig) if settings.kubeconfig else None, clock.monotonic_s)
    who = settings.identity or socket.gethostname()
    # In the API server's audit log each replica's requests so are its own.
    api = await stack.enter_async_context(HttpKubeApi(credentials, user_agent=f"inference-autoscaler ({who})"))

    controller: Controller | None = None

    async def tick_at_once() -> None:
        # Taking over takes up to twelve seconds; with a long interval the first act as the leader must not wait for the next tick.
        if controller is not None:
            controller.wake.set()

    election: LeaseElection | None = None
    if settings.elect:
        identity = f"{who}_{uuid.uuid4().hex[:8]}"
        election = LeaseElection(
            api, namespace=settings.own_namespace, identity=identity, clock=clock, rng=rng, on_started=tick_at_once
        )
    may_act = election.is_leader if election is not None else lambda: True

    cluster = KubernetesCluster(
        api,
        clock=clock,
        rng=rng,
        own_namespace=settings.own_namespace,
        may_write=may_act,
        namespaces=settings.namespaces,
        judge=judge_with(policies, settings.prometheus),
        sets_costs=not settings.shadow,
    )
    secrets = KubernetesSecrets(api)
    source = PrometheusSource(settings.prometheus, cluster, clock, secrets)
    stack.push_async_callback(source.close)
    metrics = Metrics(lambda: _counted(api, source))

    backends = await stack.enter_async_context(Backends(api, secrets, clock, settings.own_namespace, cluster.ready_nodes))
    pools = BackendPools(backends.make, clock=clock, rng=rng, may_write=may_act, paused=_paused(cluster, clock))
    stack.push_async_callback(pools.close)
    board = Board(told=pools.told)
    # Who sees some namespaces only knows a part of what a pool needs: it sizes none, and two such would write over each other's words.
    sees_all = not settings.namespaces
    publisher = Publisher(clock, shadow=settings.shadow)
    reporters: list[Reporter] = [
        publisher,  # first: the others write to the API server
        DecisionLog(),
        *((PoolReporter(api, may_act, pools.told, cluster.pool_statuses),) if sees_all else ()),
        StatusReporter(api, cluster, clock, instance=who),
        metrics,
        board,
    ]
    controller = Controller(
        clock=clock,
        metrics=Watched(source),
        cluster=cluster,
        policies=policies,
        reporters=reporters,
        node_pools=AskedNodes(pools, cluster.nodes_requested) if sees_all and not settings.shadow else DryRun(),
        interval_s=settings.interval_s,
        may_act=may_act,
        shadow=settings.shadow,
        seed=settings.seed,
        budget=settings.budget,
    )
    if settings.records is not None:
        writer = _recorder(settings.records, controller, settings.seed)
        reporters.append(writer)
        stack.push_async_callback(writer.close)

    app = make_app(
        board,
        metrics=lambda: (metrics.render(), CONTENT_TYPE),
        healthy=_healthy(controller, clock),
        ready=lambda: "; ".join(cluster.missing()) or ("" if board.tick is not None else "no tick has ended yet"),
        hosts=host_names(host),
        feed=Feed(publisher, who),
    )
    listening = await stack.enter_async_context(serve(app, host, port))
    log.info("listening on %s:%d", host, listening)
    await stack.enter_async_context(cluster)
    await first_of(_synced(cluster), stop.wait())
    if election is not None:
        await stack.enter_async_context(_running(election, (controller.ticked, controller.past.told), stop))
    return controller


def _recorder(folder: Path, controller: Controller, seed: int) -> RecordWriter:
    return RecordWriter(
        folder,
        seed=seed,
        budget=controller.budget,
        shadow=controller.shadow,
        wanted=lambda: controller.engine.wanted,
        state=controller.engine.save,
    )


def _paused(cluster: KubernetesCluster, clock: SystemClock) -> Callable[[], str]:
    """Which direction the pause of the whole cluster stops now; "" where there is none in force."""

    def paused() -> str:
        pause = cluster.paused()
        return pause.direction if pause is not None and pause.in_force(clock.now_s()) else ""

    return paused


def _healthy(controller: Controller, clock: SystemClock) -> Callable[[], str]:
    """Says why the process isn't healthy; "" while it is."""
    began_s = clock.monotonic_s()

    def healthy() -> str:
        last_s = controller.last_tick_s if controller.ticked.is_set() else began_s + SYNC_TIMEOUT_S
        late_s = clock.monotonic_s() - last_s
        return f"the last whole tick ended {late_s:.0f} s ago" if late_s > TICKS_MISSED * controller.interval_s else ""

    return healthy


def _counted(api: HttpKubeApi, source: PrometheusSource) -> list[Family]:
    """What the adapters count of their own requests."""
    requests: dict[Labels, float] = {
        (("verb", verb), ("resource", resource), ("code", str(code))): float(count)
        for (verb, resource, code), count in api.requests.items()
    }
    return [
        Family(
            name="kubernetes_requests_total",
            help="Requests to the API server; code 0: no answer.",
            kind="counter",
            samples=requests,
        ),
        Family(
            name="prometheus_queries",
            help="Queries of the last tick.",
            kind="gauge",
            samples={(): float(source.queries_last_tick)},
        ),
    ]


async def _synced(cluster: KubernetesCluster) -> None:
    """Until everything is listed; says every ten seconds what is missing. Raises OutsideError when that takes too long."""
    for attempt in range(int(SYNC_TIMEOUT_S / SYNC_WORDS_S)):
        try:
            return await cluster.wait_synced(SYNC_WORDS_S)
        except OutsideError as missing:
            log.warning("still starting after %.0f s: %s", (attempt + 1) * SYNC_WORDS_S, missing)
    return await cluster.wait_synced(SYNC_WORDS_S)


class _running:  # noqa: N801 - reads as a verb where it is used
    """The election as long as the context is open; its end gives the Lease back, after the last tick has ended.

    It begins after the events in `first`, once a tick has ended and what can be known of the past is known: who has still to learn must
    not take the Lease from somebody who has learnt.
    """

    def __init__(self, election: LeaseElection, first: Sequence[asyncio.Event], stop: asyncio.Event) -> None:
        self._election = election
        self._first = first
        self._stop = stop
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._compete(), name="lease")
        self._task.add_done_callback(self._ended)

    async def _compete(self) -> None:
        for event in self._first:
            await event.wait()
        await self._election.run()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("the election failed, stopping: %s", task.exception())
            self._stop.set()

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
