"""How a benchmark names itself, and the one core it runs on."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. detail: growth, rivals, spread, whatever explains it. goal: what the project aims at, in words."""

    value: float
    unit: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    goal: str = ""


Run: TypeAlias = Callable[[], Mapping[str, Figure]]
BENCHMARKS: dict[str, Run] = {}
"""By figure name; several names may share one function."""


ONLY_NAMED: set[str] = set()
"""Figures that take many minutes and move seldom: made where they are asked for by name."""


def benchmark(*names: str, only_named: bool = False) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        for name in names:
            BENCHMARKS[name] = run
        if only_named:
            ONLY_NAMED.update(names)
        return run

    return register


@contextmanager
def one_core() -> Iterator[None]:
    """Pins this process (and what it starts inside) to its last core; helpers started before go on elsewhere."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def other_cores() -> set[int]:
    """The cores for clients and servers beside the program under test."""
    cores = os.sched_getaffinity(0)
    return cores - {max(cores)} or cores


def cpu_times_s(run: Callable[[], object], repeats: int = 5, warmup: int = 1) -> list[float]:
    """CPU seconds of this process for `repeats` runs: what work without waiting takes on an idle core, on a machine that isn't idle."""
    for _ in range(warmup):
        run()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return found


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}
