"""A service without a past beside KPA: the first hour and the first day of each shared recording, nothing learnt before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from msgspec.structs import replace as with_settings

from replay.plugins import installed
from replay.rhythm import in_their_rhythm
from replay.scenario import load_scenario
from replay.traces.registry import read_any
from replay.traces.requests import RequestLog, counted
from replay.traces.series import CountSeries
from tests.benchmarks.bench_promise import RECORDED
from tests.benchmarks.bench_replay import STANDARD, one, replayed
from tests.benchmarks.registry import Figure, benchmark
from tests.conftest import ROOT

TOKEN_TRACES: Final = ("azure-llm-2023-conv.csv.gz", "mooncake-conversation.jsonl.gz")
"""An hour each; played as counts, like the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The first `length` of a recording, scaled as the whole of it is."""

    file: str
    length: str
    smoothing: str | None = None

    @property
    def name(self) -> str:
        return f"{self.file.split('.')[0]} {self.length}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """How a policy began on a case."""

    attained_ratio: float
    replica_hours: float


def cases() -> Iterator[Case]:
    for name, recorded in RECORDED.items():
        for length in ("1h", "24h"):
            yield Case(file=f"{name}.csv.gz", length=length, smoothing=recorded.smoothing)
    for file in TOKEN_TRACES:
        yield Case(file=file, length="1h")


def begun(job: tuple[Case, str, Literal["Own", "Controller"]]) -> Begun:
    """A policy on a case. KPA's own loop sees every second and decides every other one; in the controller's it sees what ours sees."""
    case, policy, loops = job
    folder = Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces"))
    standard = with_settings(load_scenario(STANDARD / "scenario.yaml"), length=case.length, smoothing=case.smoothing, loops=loops)
    scenario = in_their_rhythm(standard, list(installed({policy}).values()))
    trace = read_any(folder / case.file)
    series = trace if isinstance(trace, CountSeries) else counted(cast(RequestLog, trace))
    score = replayed((one(policy),), scenario, series, False)
    return Begun(attained_ratio=score["attained_ratio"], replica_hours=score["replica_hours"])


def worse(ours: Begun, theirs: Begun, promised_ratio: float) -> bool:
    """Whether ours is dearer, or attains less than both theirs and the promise."""
    return ours.replica_hours > theirs.replica_hours or ours.attained_ratio < min(theirs.attained_ratio, promised_ratio)


@benchmark("new_service_worse_than_kpa")
def bench_young_service() -> dict[str, Figure]:
    promised_ratio = one("predictive").objective.promised_ratio
    tried = list(cases())
    rivals: list[tuple[str, Literal["Own", "Controller"]]] = [("predictive", "Own"), ("kpa", "Own"), ("kpa", "Controller")]
    jobs = [(case, policy, loops) for case in tried for policy, loops in rivals]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(begun, jobs))
    detail: dict[str, Any] = {}
    count = in_our_loop = 0
    for case, ours, kpa, slow_kpa in zip(tried, found[::3], found[1::3], found[2::3], strict=True):
        is_worse = worse(ours, kpa, promised_ratio)
        count += is_worse
        in_our_loop += worse(ours, slow_kpa, promised_ratio)
        detail[case.name] = {
            "worse": is_worse,
            "attained_pp": round(100 * ours.attained_ratio, 3),
            "kpa_attained_pp": round(100 * kpa.attained_ratio, 3),
            "hours_ratio": round(ours.replica_hours / kpa.replica_hours, 4),
            "attained_pp_of_kpa_in_our_loop": round(100 * slow_kpa.attained_ratio, 3),
        }
    detail["worse_than_kpa_in_our_loop"] = in_our_loop
    return {"new_service_worse_than_kpa": Figure(value=float(count), unit=f"of {len(tried)}", goal="0", detail=detail)}
