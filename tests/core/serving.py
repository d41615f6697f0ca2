"""Services that serve as the batch model says, to learn a capacity from: a step of time at once, with what a scrape would show of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscaler.core.capacity import batch_at
from autoscaler.core.capacity_estimate import Estimates
from autoscaler.core.capacity_samples import Look, Sampler
from autoscaler.core.model import Floats

STEP_S = 15.0
SLOTS, SLOWDOWN = 32.0, 64.0


class Serving:
    """n alike services with `ready` replicas each that truly do `capacity_per_s`, and what is learnt of them from `given_per_s` on.

    shown: signals that can be seen. chance: requests come one by one (Poisson). slots, slowdown: the true ones.
    """

    def __init__(
        self,
        capacity_per_s: float,
        given_per_s: float = 1.6,
        *,
        ready: float = 4.0,
        n: int = 1,
        bounds: tuple[float, float] = (0.0, np.inf),
        shown: tuple[str, ...] = ("demand", "throughput", "running", "queue"),
        chance: bool = True,
        slots: float = SLOTS,
        slowdown: float = SLOWDOWN,
    ) -> None:
        self.capacity_per_s, self.ready, self.shown, self.chance = capacity_per_s, ready, shown, chance
        self.slots, self.slowdown = slots, slowdown
        self.rng = np.random.default_rng(7)
        self.at_s, self.n = 0.0, n
        self.queue: Floats = np.zeros(n)
        self.draining = 0.0
        self.mixed = False
        self.sampler = Sampler(n)
        self.estimates = Estimates(np.full(n, given_per_s), np.full(n, bounds[0]), np.full(n, bounds[1]))

    @property
    def learnt(self) -> float:
        return float(self.estimates.mean[0])

    @property
    def error(self) -> float:
        """Relative, of the first service."""
        return self.learnt / self.capacity_per_s - 1.0

    @property
    def confidence(self) -> float:
        return float(self.estimates.confidence()[0])

    def step(self, demand_per_s: float, **seen: Any) -> None:
        """15 s with that demand; seen: fields of the Look that are seen otherwise."""
        self.at_s += STEP_S
        expected = np.full(self.n, demand_per_s * STEP_S)
        came = self.rng.poisson(expected).astype(np.float64) if self.chance else expected
        most = self.capacity_per_s * self.ready * STEP_S
        done = np.minimum(self.queue + came, most)
        self.queue = self.queue + came - done
        used = done / most if most > 0.0 else np.zeros(self.n)
        running = batch_at(used, self.slots, self.slowdown) * self.ready
        signals = {"demand": came / STEP_S, "throughput": done / STEP_S, "running": running, "queue": self.queue.copy()}
        values = {name: value if name in self.shown else np.full(self.n, np.nan) for name, value in signals.items()}
        fields: dict[str, Any] = {
            "throughput_per_s": values["throughput"],
            "demand_per_s": values["demand"],
            "running": values["running"],
            "queue": values["queue"],
            "age_s": np.full(self.n, STEP_S),
            "span_s": np.full(self.n, STEP_S),
            "ready": np.full(self.n, self.ready),
            "draining": np.full(self.n, self.draining),
            "slots": np.full(self.n, SLOTS),
            "slowdown": np.full(self.n, SLOWDOWN),
            "mixed": np.full(self.n, self.mixed),
        }
        with np.errstate(invalid="ignore"):
            self.estimates.learn(self.sampler.take(self.at_s, STEP_S, Look(**{**fields, **seen})))

    def run(self, hours: float, demand_per_s: float) -> None:
        for _ in range(int(hours * 3600 / STEP_S)):
            self.step(demand_per_s)
