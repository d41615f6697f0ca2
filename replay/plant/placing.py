"""Which replica is on which node of the plant, for people to look at: the plant itself counts slots and places nothing.

Made when somebody looks, from the counts: whoever is there stays where it is, who comes goes to the fullest node that has room, who goes is taken
from the emptiest, and so are nodes that go. A replica that no node has room for, or that is larger than one, lies on several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from autoscaler.core.model import ScalingSpec
from autoscaler.core.seen_nodes import NodeState, Runs, SeenNode, SeenPool, picked
from replay.plant.losses import Kinds
from replay.plant.nodes import Pool

READY, STARTING, DRAINING = range(3)
_NAMES: Final = ("ready", "starting", "draining")
_BECOMES: Final = ((READY, DRAINING), (STARTING, READY), (STARTING, DRAINING))


@dataclass(slots=True, eq=False)
class _Node:
    number: int
    taken: int = 0


@dataclass(slots=True, eq=False)
class _Replica:
    row: int
    parts: list[tuple[_Node, int]] = field(default_factory=list)
    """Slots by node."""

    def leave(self) -> None:
        for node, slots in self.parts:
            node.taken -= slots
        self.parts.clear()

    @property
    def company(self) -> tuple[int, int]:
        """The fuller its node the larger, of equals the older."""
        node = self.parts[0][0] if self.parts else None
        return (0, 0) if node is None else (node.taken, -node.number)


class Placing:
    """One pool. rows: the services that run on it. kinds(row): its replicas on nodes, by kind. start_s: Unix time of the plant's second 0."""

    def __init__(
        self, pool: Pool, specs: Sequence[ScalingSpec], rows: Sequence[int], kinds: Callable[[int], Kinds], start_s: float
    ) -> None:
        self._pool = pool
        self._specs = specs
        self._rows = rows
        self._kinds = kinds
        self._start_s = start_s
        self._nodes: list[_Node] = []
        self._named = 0
        self._replicas: dict[int, tuple[list[_Replica], list[_Replica], list[_Replica]]] = {row: ([], [], []) for row in rows}

    def seen(self) -> SeenPool:
        self._follow()
        pool = self._pool
        counts: dict[NodeState, int] = {"ready": pool.ready - pool.noticed, "noticed": pool.noticed, "asked": pool.coming}
        return SeenPool(counts={state: count for state, count in counts.items() if count}, free=pool.free, pick=self._pick)

    # ------------------------------------------------------------ following the counts

    def _follow(self) -> None:
        for row in self._rows:
            self._take_away(row)
        while len(self._nodes) > self._pool.ready:
            gone = min(self._nodes, key=_goes_first)
            self._nodes.remove(gone)
            for replica in self._everyone():
                if any(node is gone for node, _ in replica.parts):
                    replica.leave()
        while len(self._nodes) < self._pool.ready:
            self._named += 1
            self._nodes.append(_Node(self._named))
        for row in self._rows:
            self._add(row)

    def _take_away(self, row: int) -> None:
        """What became of those that are there; who is too many goes."""
        mine, wanted = self._replicas[row], self._kinds(row)
        for before, after in _BECOMES:
            moving = min(len(mine[before]) - wanted[before], wanted[after] - len(mine[after]))
            if moving > 0:
                mine[before].sort(key=lambda replica: replica.company)
                mine[after].extend(mine[before][:moving])
                del mine[before][:moving]
        for kind in (READY, STARTING, DRAINING):
            surplus = len(mine[kind]) - wanted[kind]
            if surplus > 0:
                mine[kind].sort(key=lambda replica: replica.company)
                for replica in mine[kind][:surplus]:
                    replica.leave()
                del mine[kind][:surplus]

    def _add(self, row: int) -> None:
        mine, wanted, each = self._replicas[row], self._kinds(row), self._specs[row].accelerators_per_replica
        for kind in (READY, STARTING, DRAINING):
            mine[kind].extend(_Replica(row) for _ in range(wanted[kind] - len(mine[kind])))
        if each:
            for replica in chain(*mine):
                if not replica.parts:
                    self._place(replica, each)

    def _place(self, replica: _Replica, slots: int) -> None:
        per_node = self._pool.slots
        fits = [node for node in self._nodes if per_node - node.taken >= slots]
        if fits:
            node = max(fits, key=lambda node: (node.taken, -node.number))
            node.taken += slots
            replica.parts.append((node, slots))
            return
        for node in sorted(self._nodes, key=lambda node: (node.taken, node.number)):
            part = min(slots, per_node - node.taken)
            if part > 0:
                node.taken += part
                slots -= part
                replica.parts.append((node, part))

    def _everyone(self) -> list[_Replica]:
        return [replica for mine in self._replicas.values() for replica in chain(*mine)]

    # ------------------------------------------------------------ telling

    def _pick(self, most: int) -> tuple[SeenNode, ...]:
        asked_s = [request.asked_s for request in self._pool.requests for _ in range(request.count)][:most]
        told = {node.number for node in sorted(self._nodes, key=_goes_first)[: self._pool.noticed]}
        ready: list[NodeState] = ["noticed" if node.number in told else "ready" for node in self._nodes]
        asked: list[NodeState] = ["asked"] * len(asked_s)
        runs = self._runs()
        found = []
        for place in picked([*ready, *asked], most):
            if place >= len(ready):
                found.append(SeenNode(name="", state="asked", since_s=self._start_s + asked_s[place - len(ready)]))
                continue
            node = self._nodes[place]
            found.append(
                SeenNode(
                    name=f"{self._pool.name}-{node.number}",
                    state=ready[place],
                    accelerators=self._pool.slots,
                    runs=runs.get(node.number, ()),
                )
            )
        return tuple(found)

    def _runs(self) -> dict[int, tuple[Runs, ...]]:
        """By number of the node; of each service that has a part of a replica there."""
        found: dict[int, list[Runs]] = {}
        for row in sorted(self._rows, key=lambda row: self._specs[row].key):
            here: dict[int, Counter[str]] = {}
            for name, replicas in zip(_NAMES, self._replicas[row], strict=True):
                for replica in replicas:
                    for node, slots in replica.parts:
                        here.setdefault(node.number, Counter()).update({name: 1, "accelerators": slots})
            for number, of in here.items():
                found.setdefault(number, []).append(Runs(service=self._specs[row].key, **of))
        return {number: tuple(runs) for number, runs in found.items()}


def _goes_first(node: _Node) -> tuple[int, int]:
    """The emptiest, of equals the youngest."""
    return node.taken, -node.number
