"""The page's signals are read beside the policies', and change nothing of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoscaler.core.model import Fleet, Readings
from autoscaler.dashboard.watching import SHOWN, Watched
from tests.dashboard.world import START_S, World, world_specs


class Asked(World):
    """A world that notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(world_specs())
        self.wanted: list[Mapping[str, Sequence[int]]] = []

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        self.wanted.append(wanted)
        return await super().read(fleet, wanted, at_s, deadline_s)


async def test_what_is_shown_is_read_for_all_and_what_is_wanted_as_before() -> None:
    world = Asked()
    watched = Watched(world)
    fleet = await world.observe(START_S)
    for wanted in ({"kv_cache_utilization": [1], "demand": [0]}, {"queue": [2]}):
        await watched.read(fleet, wanted, START_S, 1.0)
    first, second = world.wanted
    assert first["kv_cache_utilization"] == [1]
    assert "kv_cache_utilization" not in second
    for name in (*SHOWN, "queue_wait_s"):
        assert first[name] == second[name] == [0, 1, 2]
