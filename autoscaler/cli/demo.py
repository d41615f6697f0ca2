"""``autoscaler demo``: the real controller on an embedded plant, with the live page, and a score at the end.

The controller, the policies and the plant are those of ``replay``; only the clock differs: it keeps pace with the machine's, so that people
can watch. Without a page nobody watches, and time jumps from tick to tick.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from autoscaler.cli.output import console, json_option, print_json
from autoscaler.errors import UsageError

if TYPE_CHECKING:
    from autoscaler.cli.demo_session import Session
    from autoscaler.core.model import Floats
    from autoscaler.ports import PoolTold
    from replay.ledger import Ledger
    from replay.scenario import Scenario
    from replay.traces.series import CountSeries
    from replay.world import World

MANIFEST: Final = Path(__file__).with_name("demo.yaml")
START: Final = "2026-01-05T07:00:00Z"
"""A Monday morning: demand is about to rise."""
INTERVAL_S: Final = 15
SHORTEST_S: Final = 60.0
LONGEST_S: Final = 30 * 86_400.0
FASTEST: Final = 3600.0
USUAL_FOR: Final = "10m"
USUAL_FOR_WATCHING: Final = "24h"
INITIAL_REPLICAS: Final = 8
PEAK_REPLICAS: Final = 20.0
NODE_START_S: Final = 240
"""A GPU node takes minutes: the machine, its driver, the device plugin."""


@click.command("demo", epilog="Example: autoscaler demo --for 2h --no-page")
@click.option("-t", "--trace", type=click.Path(path_type=Path), metavar="T", help="A recorded trace for the first service.")
@click.option(
    "-f", "--manifest", type=click.Path(path_type=Path), metavar="FILE", help="Your own manifests instead of the made ones."
)
@click.option("--speed", type=float, default=60.0, show_default=True, help="Simulated seconds per second, while there is a page.")
@click.option(
    "--for",
    "length",
    metavar="DURATION",
    help=f"Simulated time [default: {USUAL_FOR}; {USUAL_FOR_WATCHING} with the page in a terminal].",
)
@click.option("--warmup", default="0s", show_default=True, metavar="DURATION", help="Not scored, from the start.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="For the drawn traffic.")
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDR:PORT", help="Where the page is, on loopback."
)
@click.option("--no-page", is_flag=True, help="No page: as fast as the machine can.")
@json_option
def command(
    trace: Path | None,
    manifest: Path | None,
    speed: float,
    length: str | None,
    warmup: str,
    seed: int,
    listen: str,
    no_page: bool,
    as_json: bool,
) -> None:
    """The real controller scales services that an embedded plant simulates. Watch it, disturb it, and read the score.

    It needs neither a cluster nor a GPU. Ctrl-C ends it with the score so far.
    """
    from autoscaler.dashboard.server import is_loopback
    from autoscaler.listen import parse_listen

    if not 0 < speed <= FASTEST:
        raise UsageError(f"--speed: {speed:g} is not allowed; more than 0, at most {FASTEST:g}")
    watched = not no_page and sys.stdout.isatty()
    length_s = _duration("--for", length or (USUAL_FOR_WATCHING if watched else USUAL_FOR), SHORTEST_S, LONGEST_S)
    warmup_s = _duration("--warmup", warmup, 0.0, LONGEST_S)
    if warmup_s >= length_s:
        raise UsageError(f"--warmup: {warmup} leaves nothing to score of {length_s:g} s")
    host, port = parse_listen(listen)
    if not no_page and not is_loopback(host):
        raise UsageError(
            f"--listen: '{listen}' is not on loopback, and the demo's buttons are for this machine only; 127.0.0.1 or [::1]"
        )
    began_s = time.perf_counter()
    world, ledger, session = make_demo(trace, manifest, int(length_s), int(warmup_s), seed, None if no_page else speed)
    asyncio.run(session.run(None if no_page else (host, port)))

    from autoscaler.cli.demo_summary import print_summary
    from replay.score import fleet_score

    score = fleet_score(world, ledger, trace=session.trace, policy="", wall_s=time.perf_counter() - began_s)
    if as_json:
        print_json(score)
    else:
        print_summary(console(), score, session.allowed_s, _peaks(ledger, world), session.story, stopped=session.stopped_early)


def _duration(flag: str, text: str, low_s: float, high_s: float) -> float:
    from autoscaler.cli.demo_summary import duration
    from autoscaler.spec import duration_s

    try:
        seconds = duration_s(text)
    except ValueError as fault:
        raise UsageError(f"{flag}: {fault}") from None
    if not low_s <= seconds <= high_s or seconds != int(seconds):
        raise UsageError(f"{flag}: '{text}' is not allowed; whole seconds from {duration(low_s)} to {duration(high_s)}")
    return seconds


# ---------------------------------------------------------------- making it


def make_demo(
    trace: Path | None, manifest: Path | None, length_s: int, warmup_s: int, seed: int, speed: float | None
) -> tuple[World, Ledger, Session]:
    """The plant, what is noted of it, and what runs on it. speed None: time jumps."""
    import numpy as np

    from autoscaler.cli.demo_ports import Pausable, WithPast
    from autoscaler.cli.demo_session import Session
    from autoscaler.cli.demo_traffic import drawn, rates_per_s
    from autoscaler.clock import ManualClock, PacedClock
    from autoscaler.controller import Controller
    from autoscaler.dashboard.watching import Watched
    from autoscaler.manifests import load_manifests
    from replay.ledger import Ledger
    from replay.plugins import installed
    from replay.scenario import Nodes, Replicas, Scenario, start_unix_s
    from replay.traces.registry import read_trace
    from replay.world import allowed_waits_s, build_world, node_pools, services

    manifests = load_manifests([manifest or MANIFEST])
    specs, pools = services(manifests), node_pools(manifests)
    scenario = Scenario(
        start=START,
        seed=seed,
        interval=f"{INTERVAL_S}s",
        warmup=f"{warmup_s}s",
        replicas=Replicas(initial=INITIAL_REPLICAS),
        nodes=Nodes(start=f"{NODE_START_S}s", owner="Plan" if pools else "Rule"),
    )
    start_s = start_unix_s(scenario)
    demand = drawn(rates_per_s(start_s + np.arange(length_s, dtype=np.float64), len(specs)), seed)
    name = "made"
    if trace is not None:
        series = read_trace(trace)
        demand[0] = _traced(series, scenario, specs[0].capacity.per_s, length_s)
        name = series.name
    world = build_world(specs, pools, scenario, demand)
    ledger = Ledger(world.plant, -(-length_s // INTERVAL_S), start_s + warmup_s)
    waits = allowed_waits_s(specs)
    session = Session(
        plant=LivePlant(world),
        start_s=start_s,
        interval_s=INTERVAL_S,
        clock=ManualClock(start_s) if speed is None else PacedClock(start_s, speed),
        trace=name,
        allowed_s={spec.key: float(wait) for spec, wait in zip(specs, waits, strict=True)},
    )
    # A trace has no past before its start; made traffic, being a function of time, has.
    metrics = WithPast(world.metrics, range(1 if trace is not None else 0, len(specs)))
    session.controller = Controller(
        clock=session.clock,
        metrics=metrics if speed is None else Watched(metrics),
        cluster=Pausable(world.cluster, session),
        node_pools=world.node_pools,
        policies=installed({policy.name for spec in specs for policy in spec.policies}),
        reporters=[ledger, *session.reporters],
        interval_s=float(INTERVAL_S),
        seed=seed,
        waits_for_past=True,
    )
    return world, ledger, session


def _traced(series: CountSeries, scenario: Scenario, capacity_per_s: float, length_s: int) -> Floats:
    """The first length_s seconds of a trace, scaled so that its highest minutes need PEAK_REPLICAS."""
    import msgspec

    from autoscaler.cli.demo_summary import duration
    from replay.scenario import Scale
    from replay.traces.demand import arrivals

    found = arrivals(series, msgspec.structs.replace(scenario, scale=Scale(replicas=PEAK_REPLICAS)), capacity_per_s)
    if len(found) < length_s:
        raise UsageError(f"--for: {duration(length_s)} is longer than the trace {series.name}, which has {duration(len(found))}")
    return found[:length_s]


def _peaks(ledger: Ledger, world: World) -> dict[str, int]:
    """The most replicas planned, by service."""
    counts = ledger.desired[: ledger.ticks]
    return {spec.key: int(counts[:, row].max(initial=0)) for row, spec in enumerate(world.specs)}


class LivePlant:
    """What a session does to the plant (demo_session.Plant). Times are seconds from the start."""

    def __init__(self, world: World) -> None:
        from replay.world import allowed_waits_s

        self._world = world
        self._plant = world.plant
        self._calm = world.plant.demand.copy()
        self._row = {spec.key: row for row, spec in enumerate(world.specs)}
        self._allowed_s = allowed_waits_s(world.specs)
        self._attained: dict[str, float] = {}
        self._attained_at_s = -1

    @property
    def now_s(self) -> int:
        return int(self._plant.now_s)

    @property
    def end_s(self) -> int:
        return int(self._plant.end_s)

    def advance_to(self, at_s: int) -> None:
        self._plant.advance_to(at_s)

    def surge(self, factor: float, for_s: float, key: str | None) -> None:
        self._plant.surge(factor, int(for_s), None if key is None else self._row[key])

    def fault(self, kind: str, for_s: float, factor: float = 1.0) -> None:
        from replay.plant.faults import Fault

        now_s = self._plant.now_s
        self._plant.add_fault(Fault(kind=kind, from_s=now_s, until_s=now_s + for_s, factor=factor))

    def calm(self) -> None:
        plant = self._plant
        for kind in ("MetricsOutage", "SlowStarts"):
            plant.faults.end(kind, plant.now_s)
        plant.demand[:, plant.now_s :] = self._calm[:, plant.now_s :]

    def attained(self) -> Mapping[str, float]:
        """Shares of requests within the promise so far, by service; "" is all of them."""
        from replay.plant.waits import attained_ratio

        if self._attained_at_s != self._plant.now_s:
            self._attained_at_s = self._plant.now_s
            counts = self._plant.wait_counts()
            ratios = [attained_ratio(some, float(allowed)) for some, allowed in zip(counts, self._allowed_s, strict=True)]
            requests = [float(some.sum()) for some in counts]
            self._attained = dict(zip(self._row, ratios, strict=True))
            if total := sum(requests):
                self._attained[""] = sum(ratio * some for ratio, some in zip(ratios, requests, strict=True)) / total
        return self._attained

    def nodes(self) -> Mapping[str, int]:
        return {pool.name: pool.total for pool in self._plant.life.pools}

    def told(self) -> Mapping[str, PoolTold]:
        """The plant does what it is asked for, if not at once."""
        from autoscaler.ports import PoolTold

        return {
            pool.name: PoolTold(asked=pool.total, ready=pool.ready, owner="", ok=True, reason="Sized", message="")
            for pool in self._plant.life.pools
        }
