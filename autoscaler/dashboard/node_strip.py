"""The pools' nodes one by one and what runs on each, as JSON. Bounded: of a large pool some nodes, and how many more there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from autoscaler.core.allocation.nodes import cost_per_h
from autoscaler.core.model import Fleet, Ints, PoolSpec
from autoscaler.core.seen_nodes import SeenNode, SeenPool
from autoscaler.ports import PoolTold, Tick

MOST_POOLS: Final = 100
"""Listed at a time; of more pools each can be asked for by its name."""
MOST_ANSWERS: Final = 8
"""Kept until the next tick: pages ask the same, and whoever asks for all there is must not fill the memory."""
_COMING: Final = ("asked", "starting")


class NodeStrip:
    """told: what the pools' systems say, by pool. What many ask is answered once a tick."""

    def __init__(self, told: Callable[[], Mapping[str, PoolTold]]) -> None:
        self._told = told
        self._rows: Mapping[str, Ints] = {}
        self._answers: dict[tuple[str | None, int], dict[str, Any]] = {}

    def rearrange(self, fleet: Fleet) -> None:
        """The services are others."""
        pooled: dict[str, list[int]] = {}
        for row, spec in enumerate(fleet.specs):
            for name in [use.name for use in spec.pools] or filter(None, [spec.pool]):
                pooled.setdefault(name, []).append(row)
        self._rows = {name: np.array(rows, dtype=np.int64) for name, rows in pooled.items()}

    def forget(self) -> None:
        """There was another tick."""
        self._answers.clear()

    def asked(self, pool: str) -> int | None:
        """How many nodes the pool's system was last asked for; None where nobody knows."""
        told = self._told().get(pool)
        return None if told is None else told.asked

    def answer(self, tick: Tick, pool: str | None, limit: int) -> dict[str, Any] | None:
        """The pools by name with up to `limit` nodes of all of them together, or one of them; None: there is no such pool."""
        if (known := self._answers.get((pool, limit))) is not None:
            return known
        pools = [one for one in tick.fleet.pools if pool is None or one.name == pool]
        if pool is not None and not pools:
            return None
        shown = pools[:MOST_POOLS]
        seen = [tick.fleet.nodes_of(one.name) for one in shown]
        places = shares([0 if one is None else one.nodes for one in seen], limit)
        told = self._told()
        answer = {
            "tick": tick.number,
            "at_s": float(tick.decisions.at_s),
            "pools": [
                self._pool(tick, one, found, told.get(one.name), most)
                for one, found, most in zip(shown, seen, places, strict=True)
            ],
            "more_pools": len(pools) - len(shown),
        }
        if len(self._answers) < MOST_ANSWERS:
            self._answers[pool, limit] = answer
        return answer

    def _pool(self, tick: Tick, pool: PoolSpec, seen: SeenPool | None, told: PoolTold | None, most: int) -> dict[str, Any]:
        plan, rows = tick.plan, self._rows.get(pool.name)
        planned = plan.nodes.get(pool.name)
        picked = () if seen is None else seen.pick(most)
        return {
            "name": pool.name,
            "planned": planned,
            "asked": None if told is None else told.asked,
            "ready": None if seen is None else seen.counts.get("ready", 0),
            "min": pool.min_nodes,
            "max": pool.most_nodes,
            "accelerators_per_node": pool.accelerators_per_node,
            "resource": pool.resource,
            "words": plan.node_words.get(pool.name, ""),
            "coming_words": "" if seen is None else coming_words(pool, seen, (plan.taken or {}).get(pool.name)),
            "cost_per_h": cost_per_h(pool, planned) if planned is not None and pool.cost_per_hour else None,
            "lead_time_s": None if rows is None else float(tick.fleet.node_lead_time_s[rows].max()),
            "system": None
            if told is None
            else {"ok": told.ok, "reason": told.reason, "message": told.message, "owner": told.owner, "short": told.short},
            "counts": None if seen is None else dict(seen.counts),
            "free": None if seen is None else seen.free,
            "nodes": [_node(node) for node in picked],
            "more": 0 if seen is None else seen.nodes - len(picked),
            "more_counts": {} if seen is None else _left(seen, picked),
        }


def shares(wanted: Sequence[int], most: int) -> list[int]:
    """`most` shared out: nobody gets more than is wanted, and what one leaves goes to those who want more."""
    given = [0] * len(wanted)
    left = most
    for turn, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[place] = min(wanted[place], left // (len(wanted) - turn))
        left -= given[place]
    return given


def coming_words(pool: PoolSpec, seen: SeenPool, taken: int | None) -> str:
    """Whether somebody waits for the nodes that are on their way; "" where none are, or nobody reckons what replicas take."""
    coming = sum(seen.counts.get(state, 0) for state in _COMING)
    if not coming or taken is None:
        return ""
    there = seen.counts.get("ready", 0) * pool.accelerators_per_node
    who = f"{coming} {'node is' if coming == 1 else 'nodes are'} on {'its' if coming == 1 else 'their'} way"
    if taken <= there:
        return f"{who} ahead of need: the replicas of now take {taken} of the {there} {pool.resource} that are ready"
    return f"{who}, and replicas wait for {'it' if coming == 1 else 'them'}: they take {taken} {pool.resource}, {there} are ready"


def _node(node: SeenNode) -> dict[str, Any]:
    return {
        "name": node.name or None,
        "state": node.state,
        "since_s": node.since_s,
        "accelerators": node.accelerators,
        "taken": node.taken,
        "runs": [asdict(runs) for runs in node.runs],
        "others": node.others,
        "why": node.why,
        "replaced": node.replaced,
    }


def _left(seen: SeenPool, picked: Sequence[SeenNode]) -> dict[str, int]:
    left = Counter[str](seen.counts)
    left.subtract(node.state for node in picked)
    return {state: count for state, count in left.items() if count}
