"""The score of a replay: what it cost, what it promised, what it kept. One JSON object; docs/replay.md explains the fields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats
from replay.cuts import together
from replay.foresight import Foresight
from replay.ledger import Ledger
from replay.lost import lost_as_json
from replay.plant.plant import QUANTILES, Plant, Verdict
from replay.world import World

SCHEMA: Final = 1
_HOUR_S: Final = 3600.0


def fleet_score(
    world: World, ledger: Ledger, foresight: Foresight | None = None, *, trace: str, policy: str, wall_s: float
) -> dict[str, Any]:
    """The score of all services together, each service's own under ``services``.

    Together: requests and hours are sums, waits and attainment are over all requests, each judged by its own service's promise, and the
    promise is the mean weighted with requests.
    """
    plant = world.plant
    verdicts = plant.verdicts()
    replica_h, pool_h, used_h = plant.replica_s() / _HOUR_S, plant.node_s() / _HOUR_S, plant.used_slot_s() / _HOUR_S
    slot_h = pool_h * [pool.slots for pool in plant.life.pools]
    paid = plant.paid()
    lost = plant.lost()
    evaluated_s = float(max(plant.now_s - plant.settings.warmup_s, 0))
    common = {
        "evaluated_s": evaluated_s,
        "warmup_s": float(plant.settings.warmup_s),
        "optimum": None,
        "cost_ratio": None,
        "node_bound_ratio": None,
        "ticks": ledger.ticks,
        "wall_s": round(wall_s, 3),
    }
    each = [spec.accelerators_per_replica for spec in world.specs]
    weights = np.array(each) * replica_h
    shares = _shares(plant, each)
    idle_h = slot_h - used_h
    priced = np.array([pool.price_per_h is not None for pool in plant.life.pools], dtype=np.bool_)
    rows = []
    for row, spec in enumerate(world.specs):
        own, share = np.array(plant.life.pools_of[row]), shares[row]
        rows.append(
            _score(
                trace=trace,
                policy=policy or _policies(world, row),
                promised=spec.objective.promised_ratio,
                attained=verdicts[row].attained_ratio,
                verdict=verdicts[row],
                replica_h=float(replica_h[row]),
                accelerator_h=float(weights[row]),
                node_h=float(pool_h[own] @ share),
                node_slot_h=float(slot_h[own] @ share),
                idle_h=float(idle_h[own] @ share),
                cost=float(paid[own] @ share) if priced[own].any() else None,
                pools=_by_pool(plant, own.tolist(), share, pool_h, paid),
                actions=int(ledger.actions[row]),
                blind=int(ledger.blind_scale_downs[row]),
                node_losses=lost_as_json(lost, own.tolist(), [row]),
                cuts={name: cut.as_json() for name, cut in ledger.cuts.by_row[row].items()},
                forecast=None if foresight is None else foresight.score(row, spec.objective.target),
                common=common,
            )
        )
    named = {spec.key: score for spec, score in zip(world.specs, rows, strict=True)}
    if len(rows) == 1:
        return {**rows[0], "services": named}
    requests = np.array([row["requests"] for row in rows])
    total = requests.sum()
    mean = requests / total if total > 0 else np.full(len(rows), 1 / len(rows))
    costs = [row["cost"] for row in rows if row["cost"] is not None]
    return {
        **_score(
            trace=trace,
            policy=policy or ", ".join(sorted({row["policy"] for row in rows})),
            promised=float(mean @ [row["promised_ratio"] for row in rows]),
            attained=float(mean @ [row["attained_ratio"] for row in rows]),
            verdict=reduce(lambda one, other: one.plus(other), verdicts),
            replica_h=float(replica_h.sum()),
            accelerator_h=float(weights.sum()),
            node_h=float(pool_h.sum()),
            node_slot_h=float(slot_h.sum()),
            idle_h=float(idle_h.sum()),
            cost=sum(costs) if costs else None,
            pools=_by_pool(plant, range(len(pool_h)), np.ones(len(pool_h)), pool_h, paid) if plant.life.where else {},
            actions=int(ledger.actions.sum()),
            blind=int(ledger.blind_scale_downs.sum()),
            node_losses=lost_as_json(lost, list(range(len(plant.life.pools))), list(range(len(rows)))),
            cuts=together({key: one["cuts"] for key, one in named.items()}),
            forecast=None,  # each service's own stands with it: forecasts of different demands have no mean
            common=common,
        ),
        "services": named,
    }


def _score(
    *,
    trace: str,
    policy: str,
    promised: float,
    attained: float,
    verdict: Verdict,
    replica_h: float,
    accelerator_h: float,
    node_h: float,
    node_slot_h: float,
    idle_h: float,
    cost: float | None,
    pools: dict[str, Any],
    actions: int,
    blind: int,
    node_losses: dict[str, Any],
    cuts: dict[str, Any],
    forecast: dict[str, Any] | None,
    common: dict[str, Any],
) -> dict[str, Any]:
    evaluated_h = common["evaluated_s"] / _HOUR_S
    return {
        "schema": SCHEMA,
        "trace": trace,
        "policy": policy,
        "promised_ratio": round(promised, 9),
        "attained_ratio": round(attained, 9),
        "requests": round(verdict.requests, 3),
        "wait_s": {name: verdict.wait_quantile_s(q) for name, q in QUANTILES},
        **verdict.further(),
        "replica_hours": round(replica_h, 6),
        "accelerator_hours": round(accelerator_h, 6),
        "node_hours": round(node_h, 6),
        "node_slot_hours": round(node_slot_h, 6),
        "idle_accelerator_hours": round(idle_h, 6),
        "cost": None if cost is None else round(cost, 6),
        "pools": pools,
        "actions": actions,
        "actions_per_h": round(actions / evaluated_h, 6) if evaluated_h else 0.0,
        "blind_scale_downs": blind,
        "node_losses": node_losses,
        "cuts": cuts,
        "forecast": forecast,
        **common,
    }


def _shares(plant: Plant, each: Sequence[int]) -> list[Floats]:
    """By service, of each of its pools the share that is its own: a pool is shared out among those who may run on it by the accelerators that their
    replicas held there."""
    used_s = [np.array(by_pool, dtype=np.float64) * slots for by_pool, slots in zip(plant.replica_s_by_pool(), each, strict=True)]
    whole: Floats = np.zeros(len(plant.life.pools))
    for own, used in zip(plant.life.pools_of, used_s, strict=True):
        whole[list(own)] += used
    equally = np.array([1.0 / max(len(rows), 1) for rows in plant.life.orders.rows])
    return [
        np.divide(used, whole[list(own)], out=equally[list(own)], where=whole[list(own)] > 0)
        for own, used in zip(plant.life.pools_of, used_s, strict=True)
    ]


def _by_pool(plant: Plant, numbers: Sequence[int], share: Floats, pool_h: Floats, paid: Floats) -> dict[str, Any]:
    """What pools cost, or a share of each of them; nothing of one alone, which the score itself speaks of."""
    if len(numbers) < 2:
        return {}
    pools = [plant.life.pools[number] for number in numbers]
    return {
        pool.name: {
            "node_hours": round(float(pool_h[number] * part), 6),
            "node_slot_hours": round(float(pool_h[number] * part * pool.slots), 6),
            "cost": None if pool.price_per_h is None else round(float(paid[number] * part), 6),
        }
        for number, pool, part in zip(numbers, pools, share.tolist(), strict=True)
    }


def _policies(world: World, row: int) -> str:
    from replay.plugins import policy_text

    return " + ".join(policy_text(ref) for ref in world.specs[row].policies)
