"""The demo's story of its nodes: when each was asked for, when it was ready, and when replicas first needed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoscaler.ports import PoolTold, Tick


@dataclass(slots=True, kw_only=True, eq=False)
class Growth:
    """A pool got a node more. number: which it is (the pool's third node). Times are Unix seconds. ready_s, needed_s: None where it didn't come to
    that before it was given back or the demo ended."""

    pool: str
    number: int
    asked_s: float
    ready_s: float | None = None
    needed_s: float | None = None

    @property
    def ahead_s(self) -> float | None:
        """How long before the replicas needed it that it was asked for; None where they never did."""
        return None if self.needed_s is None else self.needed_s - self.asked_s

    @property
    def waited_s(self) -> float | None:
        """How long replicas waited for it; None where they never needed it, or it never was ready."""
        return None if self.needed_s is None or self.ready_s is None else max(self.ready_s - self.needed_s, 0.0)


class NodeStory:
    """A ports.Reporter. told: what the pools' systems say now. growths: in the order in which they were asked for."""

    def __init__(self, told: Callable[[], Mapping[str, PoolTold]]) -> None:
        self.growths: list[Growth] = []
        self._told = told
        self._planned: dict[str, int] = {}
        self._open: dict[str, list[Growth]] = {}

    async def report(self, tick: Tick) -> None:
        told, taken, at_s = self._told(), tick.plan.taken or {}, float(tick.decisions.at_s)
        for pool in tick.fleet.pools:
            if pool.name not in tick.plan.nodes or pool.name not in told:
                continue  # nobody runs on it
            planned = tick.plan.nodes[pool.name]
            before = self._planned.setdefault(pool.name, planned)
            self._planned[pool.name] = planned
            there = told[pool.name].ready or 0  # what was to go and hasn't gone yet comes back at once, and is no new one
            grown = [Growth(pool=pool.name, number=number, asked_s=at_s) for number in range(max(before, there) + 1, planned + 1)]
            self.growths += grown
            # What is given back comes to no end; of what is taken back before it came there never was a node.
            taken_back = [one for one in self._open.get(pool.name, []) if one.number > planned and one.ready_s is None]
            self.growths = [one for one in self.growths if one not in taken_back] if taken_back else self.growths
            still = [one for one in self._open.get(pool.name, []) if one.number <= planned] + grown
            needed = -(-taken.get(pool.name, 0) // pool.accelerators_per_node)
            for one in still:
                if needed < one.number and one.ready_s is None:
                    one.needed_s = None  # a moment's crowd, as when one leaves and another comes
                elif one.needed_s is None and needed >= one.number:
                    one.needed_s = at_s
                if one.ready_s is None and there >= one.number:
                    one.ready_s = at_s
            self._open[pool.name] = [one for one in still if one.needed_s is None or one.ready_s is None]

    @property
    def ahead(self) -> list[Growth]:
        """Those that were asked for before a replica needed them, and were needed then."""
        return [one for one in self.growths if one.ahead_s]

    @property
    def behind(self) -> list[Growth]:
        """Those that were asked for when replicas needed them already."""
        return [one for one in self.growths if one.ahead_s == 0]
