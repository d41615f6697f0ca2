"""Many scale writes within one deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.pod_index import TargetKey
from autoscaler.adapters.kubernetes.scale import CALL_TIMEOUT_S, ScaleClient, ScaleResult, ScaleState
from autoscaler.core.model import Written

log = logging.getLogger(__name__)

AT_ONCE = 16
Wish: TypeAlias = tuple[int, Resource, TargetKey, int, ScaleState]
"""(row, resource, target, wished count, what it was decided on)."""


async def write_all(
    scales: ScaleClient, wishes: Sequence[Wish], deadline_s: float, monotonic_s: Callable[[], float]
) -> AsyncIterator[tuple[int, ScaleResult]]:
    """(row, result) of every wish, as they are done; whatever is not done after `deadline_s` seconds has failed."""
    end_s = monotonic_s() + deadline_s
    waiting = iter(wishes)
    done: asyncio.Queue[tuple[int, ScaleResult]] = asyncio.Queue()

    async def work() -> None:
        for row, resource, (_, namespace, name), replicas, decided_on in waiting:
            timeout_s = min(CALL_TIMEOUT_S, end_s - monotonic_s())
            if timeout_s <= 0:
                result = ScaleResult(
                    written=Written.FAILED, why=f"not reached within {deadline_s:g} s; decided again at the next tick"
                )
            else:
                try:
                    async with asyncio.timeout(end_s - monotonic_s()):
                        result = await scales.write(
                            resource, namespace, name, replicas=replicas, decided_on=decided_on, timeout_s=timeout_s
                        )
                except TimeoutError:
                    result = ScaleResult(written=Written.FAILED, why=f"no answer within {deadline_s:g} s")
                except Exception as fault:  # a fault of ours with one target must not cost the others their writes
                    log.exception("scaling %s/%s failed", namespace, name)
                    result = ScaleResult(written=Written.FAILED, why=f"internal fault: {fault}")
            done.put_nowait((row, result))

    workers = [asyncio.create_task(work()) for _ in range(min(AT_ONCE, len(wishes)))]
    try:
        for _ in wishes:
            yield await done.get()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
