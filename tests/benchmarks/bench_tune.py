"""How many candidates `replay tune` tries in a second: on a week, by generation, beside one replay after another, and with processes."""

from __future__ import annotations

import time
from typing import Final

from autoscaler.core.model import PolicyRef
from autoscaler.manifests import load_manifests
from replay.plugins import installed
from replay.scenario import load_scenario
from replay.tune.batch import Setting, Traffic, batches, scores_of
from replay.tune.parts import parts_of
from replay.tune.sampler import Sampler
from replay.tune.search import BATCH, Player, search
from replay.tune.space import Space, space_of
from replay.tune.workers import Here, Processes, Workers
from replay.world import services
from tests.benchmarks.bench_replay import STANDARD, week
from tests.benchmarks.registry import Figure, benchmark, one_core

DAYS: Final = 7
SEEDS: Final = 0
NEEDED: Final = 0.99625


def prepared() -> tuple[Setting, Space]:
    (spec,) = services(load_manifests([STANDARD / "manifest.yaml"]))
    scenario = load_scenario(STANDARD / "scenario.yaml")
    setting = Setting(spec=spec, pools=(), traffic=(Traffic("week", week(DAYS), scenario, spec.capacity.per_s),))
    return setting, space_of(spec, installed(["reactive"]), {})


def searched_s(setting: Setting, space: Space, workers: Workers, trials: int, generation: int) -> tuple[float, float]:
    """(seconds, CPU seconds of this process) of a search."""
    parts = [parts_of("week", 0, len(setting.traffic[0].demand), 1 / 3)]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    with workers:
        player = Player(service=setting.spec.key, workers=workers, study=None, parts=parts)
        search(player, space, trials=trials, seed=SEEDS, needed_ratio=NEEDED, generation=generation)
    return time.perf_counter() - began_s, time.process_time() - cpu_s


def batch_cpu_s(setting: Setting, space: Space, size: int) -> float:
    """CPU seconds of so many candidates in one replay of the training part."""
    sampler = Sampler(space, seed=SEEDS, needed_ratio=NEEDED)
    candidates: list[tuple[PolicyRef, ...]] = [space.policies(values) for _, values in sampler.ask(size)]
    part = parts_of("week", 0, len(setting.traffic[0].demand), 1 / 3).training
    (batch,) = batches(0, part, candidates, size)
    began_s = time.process_time()
    scores_of(setting, batch)
    return time.process_time() - began_s


@benchmark("tune_trials_per_s")
def bench_tune() -> dict[str, Figure]:
    setting, space = prepared()
    with one_core():
        batch_cpu_s(setting, space, 1)  # what is compiled is compiled
        by_batch = {str(size): batch_cpu_s(setting, space, size) for size in (1, BATCH, 2 * BATCH, 8 * BATCH)}
        _, cpu_16 = searched_s(setting, space, Here(setting), 16, 16)
        _, cpu_32 = searched_s(setting, space, Here(setting), 32, 16)
    by_jobs = {str(jobs): searched_s(setting, space, Processes(setting, jobs), 16, 16)[0] for jobs in (1, 2)}
    detail = {
        "trials_per_s_by_trials": {"16": 16 / cpu_16, "32": 32 / cpu_32},
        "batch_cpu_s_by_candidates": by_batch,
        "one_by_one_trials_per_s": 1 / by_batch["1"],
        "batch_of_8_ratio": by_batch[str(BATCH)] / by_batch["1"],
        "16_trials_s_by_jobs": by_jobs,
    }
    return {"tune_trials_per_s": Figure(value=32 / cpu_32, unit="trials/CPU s", goal="> 3 × one by one", detail=detail)}
