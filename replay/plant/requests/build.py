"""From manifests and scenario to a request-level plant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.core.capacity import effective_slots
from autoscaler.core.model import Floats, ScalingSpec
from autoscaler.errors import UsageError
from replay.plant.faults import Faults
from replay.plant.nodes import Pool
from replay.plant.plant import PlantSettings
from replay.plant.requests.lengths import mean_of
from replay.plant.requests.plant import RequestsPlant, ServiceModel
from replay.plant.requests.sources import Drawn, Logged, Source
from replay.scenario import Scenario, whole_s
from replay.traces.requests import RequestLog

_REQUESTS_STREAM = 2
"""Of the scenario's seed: what is drawn here is independent of noise and faults."""


@dataclass(frozen=True, slots=True)
class MeanRequest:
    """Tokens of the mean request."""

    prompt: float
    output: float


def requests_plant(
    specs: Sequence[ScalingSpec],
    demand: Floats,
    settings: PlantSettings,
    faults: Faults,
    pools: Sequence[Pool],
    pools_of: Sequence[Sequence[int]],
    scenario: Scenario,
    log: RequestLog | None = None,
    *,
    fast: bool = True,
) -> RequestsPlant:
    """log: the single requests of `demand`, where the trace has them. Raises UsageError where the scenario doesn't fit the manifests."""
    row_of = {spec.key: row for row, spec in enumerate(specs)}
    decodes = _decodes(scenario, row_of)
    mean = _mean_request(scenario, log)
    models = []
    for row, spec in enumerate(specs):
        reads, writes = row not in decodes.values(), row not in decodes
        weight = scenario.requests.prompt_weight if reads else 0.0
        work = weight * mean.prompt + (mean.output if writes else 0.0)
        if scenario.requests.capacity_work is not None and reads and writes:
            work = scenario.requests.capacity_work
        if not work > 0:
            raise UsageError(
                f"{spec.key}: its requests are no work: scenario.requests gives them neither prompt nor output tokens"
            )
        cache = scenario.requests.kv_cache_tokens or spec.capacity.slots * max(
            mean.prompt + (mean.output if writes else 0.0), 1.0
        )
        models.append(
            ServiceModel(
                token_s=token_times_s(spec, work),
                source=_source(scenario, demand[row], log, row) if reads else None,
                prompt_weight=weight,
                writes=writes,
                cache_tokens=cache,
            )
        )
    grace = scenario.replicas.grace
    return RequestsPlant(
        specs,
        demand,
        settings,
        faults,
        pools,
        pools_of,
        models,
        decodes,
        grace_s=None if grace is None else whole_s(grace),
        fast=fast,
    )


def token_times_s(spec: ScalingSpec, work: float) -> Floats:
    """Seconds that a token takes each request of a batch, (K + 1,): t0 × (1 + b ÷ D), such that a full batch finishes the manifest's
    capacity in requests of `work` token-equivalents."""
    capacity = spec.capacity
    slots, slowdown = float(capacity.slots), capacity.slots_slowdown
    alone_s = float(effective_slots(slots, slowdown)) / (capacity.per_s * work)
    times: Floats = alone_s * (1.0 + np.arange(capacity.slots + 1) / slowdown)
    return times


def _source(scenario: Scenario, demand: Floats, log: RequestLog | None, row: int) -> Source:
    rng = np.random.Generator(np.random.PCG64([scenario.seed, _REQUESTS_STREAM, row]))
    if log is not None:
        return Logged(log, rng)
    return Drawn(scenario.requests, demand, even=not scenario.noise, rng=rng)


def _mean_request(scenario: Scenario, log: RequestLog | None) -> MeanRequest:
    if log is not None and len(log):
        return MeanRequest(float(log.prompt_tokens.mean()), float(log.output_tokens.mean()))
    return MeanRequest(mean_of(scenario.requests.prompt_tokens), mean_of(scenario.requests.output_tokens))


def _decodes(scenario: Scenario, row_of: Mapping[str, int]) -> dict[int, int]:
    """Rows of decode services by those of their prefill services."""
    found: dict[int, int] = {}
    named: set[str] = set()
    for number, pair in enumerate(scenario.requests.two_pools):
        for key in (pair.prefill, pair.decode):
            if key not in row_of:
                raise UsageError(f"scenario.requests.twoPools: service '{key}' is not there; there are {', '.join(row_of)}")
            if key in named:
                raise UsageError(f"scenario.requests.twoPools[{number}]: '{key}' has a place in one pair only")
            named.add(key)
        found[row_of[pair.prefill]] = row_of[pair.decode]
    return found
