"""Every candidate on the recorded days: beside the controller (open loop), and, where demand was recorded, over the plant (closed loop)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from autoscaler import spec
from autoscaler.core.model import PolicyRef, PoolSpec, ScalingSpec
from replay.compare import Comparison, Row
from replay.parallel import in_order
from replay.plugins import policy_text
from replay.regret.recorded import Recorded, read_recorded
from replay.regret.shadow import Wishes, found_wishes, shadow
from replay.regret.tried import WHAT_RAN, setting_of, tried
from replay.report.room import Room
from replay.score import SCHEMA
from replay.verify import cut_words
from replay.world import node_pools, services

LABEL: Final = "recorded"
KNOWN_ENOUGH: Final = 0.5
"""Over the plant a service is tried where its demand was known in so large a share of the ticks; the rest is bridged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """comparison: as of ``replay compare``, each score with ``loop`` and ``regret_replica_hours`` (what ran, less the candidate).
    notes: for people, what was and was not done."""

    comparison: Comparison
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    files: tuple[Path, ...]
    manifests: tuple[spec.Manifest, ...]
    policy: PolicyRef | None
    what_ran: bool
    closed: bool
    scenario: Path | None
    overrides: Mapping[str, str]
    room: Room | None


def regret(
    files: Sequence[Path],
    manifests: Sequence[spec.Manifest],
    policies: Sequence[PolicyRef | None],
    *,
    scenario: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    jobs: int = 1,
    room: Room | None = None,
    progress: Callable[[float], None] | None = None,
) -> Regret:
    """policies: the candidates (None: the manifest's own). scenario, overrides: of the plant, where the records don't say.

    Raises UsageError where the records hold nothing of a service of the manifests, RecordsError, OutsideError.
    """
    recorded = _recorded(tuple(files), tuple(one.key for one in services(manifests)))
    rows = _with_demand(recorded, services(manifests))
    work = [
        _Job(
            files=tuple(files),
            manifests=tuple(manifests),
            policy=policy,
            what_ran=what_ran,
            closed=closed,
            scenario=scenario,
            overrides=dict(overrides or {}),
            room=room,
        )
        for closed in ((True, False) if rows else (False,))
        for policy, what_ran in ((None, True), *((policy, False) for policy in policies))
    ]
    made = [_judged(row, ran) for row, ran in _beside(list(in_order(_work, work, jobs, done=progress)))]
    return Regret(
        comparison=Comparison(rows=made, traces=[LABEL]),
        notes=_notes(recorded, rows, [row.score for row in made], services(manifests)),
    )


@lru_cache(maxsize=1)
def _recorded(files: tuple[Path, ...], keys: tuple[str, ...]) -> Recorded:
    return read_recorded(files, keys)


def _with_demand(recorded: Recorded, specs: Sequence[ScalingSpec]) -> list[int]:
    """The services that can be tried over the plant: their demand was recorded, and what a replica can do is known."""
    able = [one.capacity.per_s > 0 for one in _as_they_were(recorded, specs)]
    return [row for row in range(len(specs)) if able[row] and recorded.known_ratio(row) >= KNOWN_ENOUGH]


def _as_they_were(recorded: Recorded, specs: Sequence[ScalingSpec]) -> list[ScalingSpec]:
    """With the replicas that there were: where their capacity is learnt, the plant has what was, on all pools (nobody knows it of each)."""
    learnt = recorded.learnt_per_s.tolist()
    return [
        replace(
            one,
            capacity=replace(one.capacity, per_s=per_s),
            pools=tuple(replace(use, per_s=None) for use in one.pools),
        )
        if one.capacity.learnt and per_s > 0
        else one
        for one, per_s in zip(specs, learnt, strict=True)
    ]


def _work(job: _Job) -> Row:
    own = services(job.manifests)
    specs, pools = services(job.manifests, job.policy), node_pools(job.manifests)
    recorded = _recorded(job.files, tuple(one.key for one in own))
    name = WHAT_RAN if job.what_ran else policy_text(job.policy) if job.policy is not None else _own(own)
    if job.closed:
        rows, specs = _with_demand(recorded, own), tuple(_as_they_were(recorded, specs))
        return tried(
            recorded,
            rows,
            [specs[row] for row in rows],
            pools,
            setting_of(recorded, job.scenario, job.overrides),
            label=LABEL,
            what_ran=job.what_ran,
            policy=name,
            room=job.room,
        )
    wishes = found_wishes(job.files, recorded.keys) if job.what_ran else shadow(job.files, specs, pools)
    return Row(score=_open_score(name, wishes, specs, pools, recorded), start_s=recorded.start_s)


def _own(specs: Sequence[ScalingSpec]) -> str:
    return ", ".join(sorted({" + ".join(policy_text(ref) for ref in one.policies) for one in specs}))


def _open_score(
    name: str, wishes: Mapping[str, Wishes], specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec], recorded: Recorded
) -> dict[str, Any]:
    """A score as far as decisions alone tell it: what was asked for, for how long."""
    one_each = {one.key: _open(name, [wishes[one.key]], [one], pools, recorded) for one in specs}
    return {**_open(name, list(wishes.values()), specs, pools, recorded), "services": one_each}


def _open(
    name: str, wishes: Sequence[Wishes], specs: Sequence[ScalingSpec], pools: Sequence[PoolSpec], recorded: Recorded
) -> dict[str, Any]:
    hours = [wish.replica_s / 3600 for wish in wishes]
    price = {pool.name: pool.cost_per_hour / pool.accelerators_per_node for pool in pools if pool.cost_per_hour}
    priced = all(one.pool_names and price.keys() >= {*one.pool_names} for one in specs)
    accelerators = [one.accelerators_per_replica * spent for one, spent in zip(specs, hours, strict=True)]
    ticks = max((wish.ticks for wish in wishes), default=0)
    evaluated_s = float(ticks * recorded.interval_s)
    actions = sum(wish.changes for wish in wishes)
    decisions = sum(wish.ticks for wish in wishes)
    return {
        "schema": SCHEMA,
        "trace": LABEL,
        "policy": name,
        "loop": "open",
        "promised_ratio": round(sum(one.objective.promised_ratio for one in specs) / len(specs), 9),
        "attained_ratio": None,
        "requests": None,
        "wait_s": None,
        "replica_hours": round(sum(hours), 6),
        "accelerator_hours": round(sum(accelerators), 6),
        "node_hours": None,
        "node_slot_hours": None,
        "idle_accelerator_hours": None,
        # Of full nodes, of several pools the cheapest's: what these replicas cost at the least.
        "cost": round(
            sum(min(price[name] for name in one.pool_names) * spent for one, spent in zip(specs, accelerators, strict=True)), 6
        )
        if priced
        else None,
        "actions": actions,
        "actions_per_h": round(actions / evaluated_s * 3600, 6) if evaluated_s else 0.0,
        "blind_scale_downs": 0,
        "blind_ratio": round(sum(wish.blind for wish in wishes) / decisions, 9) if decisions else 0.0,
        "missing_signals": sorted({signal for wish in wishes for signal in wish.missing}),
        "evaluated_s": evaluated_s,
        "warmup_s": 0.0,
        "optimum": None,
        "cost_ratio": None,
        "forecast": None,
        "ticks": ticks,
        "wall_s": 0.0,
    }


def _beside(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each row with what ran, in the same loop."""
    ran = {row.score["loop"]: row for row in rows if row.score["policy"] == WHAT_RAN}
    return [(row, ran[row.score["loop"]]) for row in rows]


def _judged(row: Row, ran: Row) -> Row:
    return replace(
        row,
        score={
            **row.score,
            "trace": LABEL,
            "regret_replica_hours": round(ran.score["replica_hours"] - row.score["replica_hours"], 6),
            "regret_cost": None
            if row.score["cost"] is None or ran.score["cost"] is None
            else round(ran.score["cost"] - row.score["cost"], 6),
        },
    )


def _notes(
    recorded: Recorded, rows: Sequence[int], scores: Sequence[Mapping[str, Any]], specs: Sequence[ScalingSpec]
) -> list[str]:
    span_s = recorded.ticks * recorded.interval_s
    span = f"{span_s / 3600:.1f} hours" if span_s >= 3600 else f"{span_s / 60:.1f} minutes"
    notes = [f"Recorded: {span} of {', '.join(recorded.keys)}, a tick every {recorded.interval_s} s."]
    if recorded.missing:
        share = recorded.missing / recorded.ticks
        notes[0] += (
            f" {recorded.missing} ticks ({share:.1%}) were not recorded; over them the demand is bridged by straight lines."
        )
    if recorded.cut:
        notes[0] += f" T{cut_words(recorded.cut)[1:]}."
    without = [one.key for row, one in enumerate(specs) if row not in rows]
    if rows:
        notes.append(
            "Simulated (closed loop): the recorded demand over the plant, with the recorded lead times; what ran is simulated with the "
            "recorded counts, so that both are measured alike."
        )
    if without:
        notes.append(
            f"Not simulated: {', '.join(without)}; the records hold no demand of it for half of the time at least, or the manifest no "
            "capacity.requestsPerSecond (nor was it learnt)."
        )
    words = (
        "Not simulated (open loop): what each would have asked for beside the controller, seeing the recorded signals and replicas. "
        "Whom that would have kept waiting can't be told."
    )
    if any(score["cost"] is not None for score in scores if score["loop"] == "open"):
        words += " Its cost is that of full nodes."
    notes.append(words)
    for score in scores:
        if score["loop"] == "open" and score.get("missing_signals"):
            notes.append(
                f"{score['policy']} needs {', '.join(score['missing_signals'])}, which the records don't hold: open loop it could not tell in "
                f"{score['blind_ratio']:.0%} of its ticks."
            )
    return notes
