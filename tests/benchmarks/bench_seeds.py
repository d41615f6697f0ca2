"""How far the figures of the promise move with the drawn noise: the same recordings, drawn with other seeds.

llm-large and llm-small are played as they were recorded, nothing is drawn: they are the same with each seed. What is divided by is the
published clairvoyant of the seed 0."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import numpy as np

from tests.benchmarks.bench_promise import PROMISES, RECORDED, geomean, on_recording, promising
from tests.benchmarks.registry import Figure, benchmark

SEEDS: Final = (0, 1, 2, 3, 4)
DRAWN: Final = tuple(name for name in RECORDED if not name.startswith("llm-"))


def drawn(job: tuple[str, int]) -> list[tuple[float, float]]:
    """(attained in per cent, hours ÷ the clairvoyant's) of a recording drawn with a seed, at each of PROMISES."""
    name, seed = job
    scores = on_recording(name, promising("predictive"), seed=seed)
    hours = RECORDED[name].clairvoyant_h
    return [(100 * score["attained_ratio"], score["replica_hours"] / own_h) for score, own_h in zip(scores, hours, strict=True)]


@benchmark("cost_ratio_seed_spread", only_named=True)
def bench_seeds() -> dict[str, Figure]:
    jobs = [(name, seed if name in DRAWN else 0) for name in RECORDED for seed in (SEEDS if name in DRAWN else SEEDS[:1])]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(jobs, pool.map(drawn, jobs), strict=True))
    rows = {
        name: np.array([found[name, seed if name in DRAWN else 0] for seed in SEEDS]) for name in RECORDED
    }  # (seed, promise, 2)
    detail: dict[str, object] = {}
    geomeans = {}
    for number, promised in enumerate(PROMISES):
        by_seed = [geomean([float(one[seed, number, 1]) for one in rows.values()]) for seed in range(len(SEEDS))]
        geomeans[promised] = by_seed
        detail[f"{promised:.1%}"] = {
            "geomean_by_seed": by_seed,
            **{
                name: {
                    "cost_ratio": [float(one[:, number, 1].min()), float(one[:, number, 1].max())],
                    "attained_pp": [float(one[:, number, 0].min()), float(one[:, number, 0].max())],
                }
                for name, one in rows.items()
                if name in DRAWN
            },
        }
    value = max(geomeans[0.995]) - min(geomeans[0.995])
    return {"cost_ratio_seed_spread": Figure(value=value, unit="×", detail=detail)}
