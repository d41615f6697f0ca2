"""What the policies said while requests waited, so that the report can quote them at the worst moments. Bounded in memory: of every
ten minutes with a queue, the words at its beginning and at its longest queue."""

from __future__ import annotations

from dataclasses import dataclass

from autoscaler.ports import Tick
from replay.world import World

SPAN_S = 600
"""The report looks for the worst ten minutes."""


@dataclass(frozen=True, slots=True)
class Said:
    """tick: its number from 0. words: the policy's reason, and the limits that changed its count."""

    tick: int
    words: str


@dataclass(slots=True)
class _Block:
    first: Said
    peak: Said
    queue: float


class WorstWords:
    """A Reporter over a world's plant. Words cost time to make, so they are made only while a queue begins or grows."""

    def __init__(self, world: World) -> None:
        self._plant = world.plant
        self._ticks_a_block = max(SPAN_S // world.plant.settings.tick_s, 1)
        self._blocks: list[dict[int, _Block]] = [{} for _ in world.specs]

    async def report(self, tick: Tick) -> None:
        number = tick.number - 1
        for row, queue in enumerate(self._plant.queues()):
            if queue <= 0:
                continue
            blocks = self._blocks[row]
            block = blocks.get(number // self._ticks_a_block)
            if block is None:
                said = Said(number, words_of(tick, row))
                blocks[number // self._ticks_a_block] = _Block(said, said, queue)
            elif queue > block.queue:
                block.peak, block.queue = Said(number, words_of(tick, row)), queue

    def between(self, row: int, first: int, last: int) -> list[Said]:
        """What was said from tick `first` to `last` (exclusive), or, where that is nothing, in the ten minutes around."""
        blocks = self._blocks[row]
        near = [blocks[n] for n in range(first // self._ticks_a_block, (last - 1) // self._ticks_a_block + 1) if n in blocks]
        found = sorted({said for block in near for said in (block.first, block.peak)}, key=lambda said: said.tick)
        found = [said for said in found if first <= said.tick < last] or found
        # The same words again say nothing new.
        return [said for number, said in enumerate(found) if number == 0 or said.words != found[number - 1].words]


def words_of(tick: Tick, row: int) -> str:
    """The policy's reason for a service's count, and every limit that changed it."""
    limits = "".join(f"; {limit.name}: {limit.why}" for limit in tick.limits(row))
    return tick.decisions.reason(row) + limits
