"""What the cluster adapter is told of orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoscaler.cli.asked_nodes import AskedNodes
from autoscaler.core.model import Plan, PoolSpec
from autoscaler.ports import PoolTold
from tests.adapters.nodepools.test_pools import plan


class Pools:
    """A NodePools that is asked for a number of one pool, and for none of another."""

    async def act(self, pools: Sequence[PoolSpec], plan: Plan, deadline_s: float) -> Mapping[str, str]:
        return {"b": "busy"}

    def told(self) -> Mapping[str, PoolTold]:
        return {
            name: PoolTold(asked=asked, ready=None, owner="", ok=True, reason="Scaling", message="")
            for name, asked in (("a", 3), ("b", None))
        }


async def test_what_is_no_longer_asked_for_is_told_too() -> None:
    told: list[Mapping[str, int | None]] = []
    pools = AskedNodes(Pools(), told.append)
    assert await pools.act([], plan(a=3, b=0), 1.0) == {"b": "busy"}
    assert told == [{"a": 3, "b": None}]
