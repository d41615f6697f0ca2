"""A small made world for the page: services with demand, a queue and replicas that take their time, under the real controller.

Rough on purpose (the plant of ``replay`` is the exact one): it only has to show every kind of thing that the page can show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Fleet, Outcome, Plan, PolicyRef, PoolSpec, Readings, ScalingSpec, SignalColumn
from autoscaler.core.seen_nodes import Runs, SeenNode, SeenPool, picked
from autoscaler.core.signals import SignalState
from autoscaler.dashboard.board import Board
from autoscaler.ports import Backfill
from tests.ticks import HPA_DOWN, HPA_UP, a_spec

START_S = 1_760_000_400.0
STEP_S = 15.0


def world_specs() -> tuple[ScalingSpec, ...]:
    common: dict[str, Any] = {"scale_up": HPA_UP, "scale_down": HPA_DOWN, "pool": "h100"}
    return (
        a_spec("chat-70b", "assistants", policies=(PolicyRef(name="reactive"),), max_replicas=40, **common),
        a_spec("nightly-summaries", "batch", policies=(PolicyRef(name="target"),), max_replicas=12, **common),
        a_spec("embeddings", "search", policies=(PolicyRef(name="reactive"),), min_replicas=2, max_replicas=6, **common),
    )


class World:
    """Cluster and metric source in one, over time that the controller's clock tells."""

    def __init__(self, specs: Sequence[ScalingSpec], seed: int = 1) -> None:
        self.specs = tuple(specs)
        n = len(specs)
        self.rng = np.random.default_rng(seed)
        self.desired = np.full(n, 4, dtype=np.int64)
        self.ready = np.full(n, 4, dtype=np.int64)
        self.due: list[list[float]] = [[] for _ in specs]
        self.queue = np.zeros(n)
        self.demand = np.zeros(n)
        self.outage_until_s = 0.0
        self.surge = 1.0
        self.revision = 1
        self.at_s = START_S
        self.paused: Any = None
        self.pools: tuple[PoolSpec, ...] = (PoolSpec(name="h100", min_nodes=1, max_nodes=12, accelerators_per_node=8),)
        self.nodes: Mapping[str, Sequence[SeenNode]] = {}
        """By pool, the nodes that can be seen; of a pool that is left out none can."""
        self.sizes = np.array([16.0, 6.0, 4.0] * (n // 3 + 1))[:n]

    async def observe(self, at_s: float) -> Fleet:
        self._advance(at_s)
        n = len(self.specs)
        starting = np.array([len(due) for due in self.due], dtype=np.int64)
        return Fleet(
            revision=self.revision,
            specs=self.specs,
            current=self.desired.copy(),
            ready=self.ready.copy(),
            starting=starting,
            draining=np.zeros(n, dtype=np.int64),
            lead_time_s=np.full(n, 120.0),
            node_lead_time_s=np.full(n, 180.0),
            hands_off=np.zeros(n, dtype=np.bool_),
            pools=self.pools,
            paused=self.paused,
            nodes_of=self._nodes_of,
        )

    def _nodes_of(self, pool: str) -> SeenPool | None:
        return seen_pool(self.nodes[pool]) if pool in self.nodes else None

    def _advance(self, at_s: float) -> None:
        for row, due in enumerate(self.due):
            arrived = [time_s for time_s in due if time_s <= at_s]
            self.ready[row] += len(arrived)
            self.due[row] = [time_s for time_s in due if time_s > at_s]
        minutes = (at_s - START_S) / 60
        shapes = np.array(
            [
                1 + 0.6 * np.sin(minutes / 25) + minutes / 400,
                1.4 if (minutes // 30) % 2 else 0.3,
                0.8 + (2.5 if minutes % 40 < 4 else 0.0),
            ]
            * (len(self.specs) // 3 + 1)
        )[: len(self.specs)]
        self.demand = np.maximum(self.sizes * shapes * self.surge * (1 + 0.08 * self.rng.standard_normal(len(self.specs))), 0)
        served = self.ready * 1.6
        self.queue = np.maximum(self.queue + (self.demand - served) * max(at_s - self.at_s, 0), 0)
        self.at_s = at_s

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        for row in np.flatnonzero(plan.act):
            wanted = int(plan.replicas[row])
            while self.ready[row] + len(self.due[row]) < wanted:
                self.due[row].append(self.at_s + 120.0)
            while self.ready[row] + len(self.due[row]) > wanted:
                if self.due[row]:
                    self.due[row].pop()
                else:
                    self.ready[row] -= 1
            self.desired[row] = wanted
        return Outcome(written=plan.act.astype(np.int8))

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        n = len(self.specs)
        use = np.clip(self.demand / np.maximum(self.ready * 1.6, 0.1), 0, 1)
        values = {
            "demand": self.demand,
            "queue": self.queue,
            "running": use * self.ready * 24,
            "concurrency": use * self.ready * 24 + self.queue,
            "utilization": use,
            "gpu_utilization": 0.2 + 0.78 * use,
            "queue_wait_s": self.queue / np.maximum(self.ready * 1.6, 0.1),
        }
        out = at_s < self.outage_until_s
        columns = {}
        for name, column in values.items():
            state = np.full(n, SignalState.UNKNOWN if out else SignalState.KNOWN, dtype=np.int8)
            if name == "queue_wait_s" and not out:
                state[column == 0] = SignalState.KNOWN
            columns[name] = SignalColumn(
                values=np.full(n, np.nan) if out else column.copy(), age_s=np.full(n, 95.0 if out else 15.0), state=state
            )
        return Readings(at_s=at_s, signals=columns, why=lambda _name, _row: "Prometheus does not answer" if out else "")

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return Backfill()


class Running:
    """The controller over a world, reporting to a board; ``tick()`` makes one step."""

    def __init__(self, board: Board, specs: Sequence[ScalingSpec] | None = None) -> None:
        self.board = board
        self.world = World(world_specs() if specs is None else specs)
        self.clock = ManualClock(START_S)
        policies = {
            point.name: point.load() for point in _installed() if point.name in ("predictive", "reactive", "target", "fixed")
        }
        self.controller = Controller(
            clock=self.clock, metrics=self.world, cluster=self.world, policies=policies, reporters=[board], interval_s=STEP_S
        )

    async def tick(self, count: int = 1) -> None:
        for _ in range(count):
            await self.controller.tick()
            self.clock.advance_to(self.clock.now_s() + STEP_S)


def seen_pool(nodes: Sequence[SeenNode]) -> SeenPool:
    """A pool with exactly these nodes."""
    states = [node.state for node in nodes]
    return SeenPool(
        counts=Counter(states),
        free=sum(node.accelerators - node.taken for node in nodes if node.state == "ready"),
        pick=lambda most: tuple(nodes[place] for place in picked(states, most)),
    )


def nodes_in_every_state() -> tuple[SeenNode, ...]:
    """One of each kind, with long names as clouds give them and everything that can run on a node."""
    chat, night, search = "assistants/chat-70b", "batch/nightly-summaries", "search/embeddings"
    host = "ip-10-0-{}-17.eu-central-1.compute.internal"
    return (
        SeenNode(
            name=host.format(11),
            state="ready",
            since_s=START_S - 7200,
            accelerators=8,
            runs=(
                Runs(service=chat, ready=4, accelerators=4),
                Runs(service=night, ready=1, starting=1, accelerators=2),
                Runs(service=search, draining=1, accelerators=1),
            ),
        ),
        SeenNode(
            name=host.format(12),
            state="ready",
            since_s=START_S - 600,
            accelerators=8,
            runs=(Runs(service=chat, ready=2, accelerators=2),),
            others=3,
        ),
        SeenNode(
            name="gke-prod-h100-spot-1f2e3d4c-x7k2",
            state="noticed",
            accelerators=8,
            runs=(Runs(service=chat, ready=8, accelerators=8),),
            why="cloud.google.com/impending-node-termination",
        ),
        SeenNode(name="h100-4", state="silent", since_s=START_S - 1500),
        SeenNode(name="h100-5", state="unready", accelerators=8, runs=(Runs(service=search, ready=1, accelerators=1),)),
        SeenNode(name="h100-6", state="cordoned", accelerators=8),
        SeenNode(name="h100-7", state="leaving", accelerators=8, runs=(Runs(service=search, draining=2, accelerators=2),)),
        SeenNode(name="h100-8", state="starting", since_s=START_S + 30),
        SeenNode(name="", state="asked", since_s=START_S + 90),
    )


def many_nodes(count: int) -> tuple[SeenNode, ...]:
    """Mostly full ones, and every hundredth told to go."""
    runs = (
        Runs(service="assistants/chat-70b", ready=5, accelerators=5),
        Runs(service="search/embeddings", ready=2, accelerators=2),
    )
    return tuple(
        SeenNode(
            name=f"h100-{number:05d}",
            state="noticed" if number % 100 == 99 else "ready",
            accelerators=8,
            runs=runs if number % 3 else runs[:1],
            why="aws-node-termination-handler/spot-itn" if number % 100 == 99 else "",
        )
        for number in range(count)
    )


def _installed() -> Any:
    return entry_points(group="inference_autoscaler.policies")


def many_specs(count: int) -> tuple[ScalingSpec, ...]:
    kinds = world_specs()
    return tuple(replace(kinds[row % 3], name=f"model-{row:05d}", namespace=f"team-{row % 7}") for row in range(count))
