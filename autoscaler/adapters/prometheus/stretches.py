"""A long past is asked for in stretches of time; one that the server can't answer at once is halved and asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from autoscaler.adapters.prometheus.problems import AnswerTooLarge, HttpStatus, PrometheusRefused, QueryFailed, QueryTimeout

Stretch: TypeAlias = tuple[int, int]
"""First and last step."""

LEAST_STEPS: Final = 60
"""Stretches are not halved to less: five hours of the far past."""
MOST_FAILURES: Final = 3
"""After so many that failed for good the rest is left: a server that can't answer is not asked a hundred times."""
TOO_MUCH_STATUS: Final = 413
UNPROCESSABLE_STATUS: Final = 422
SERVER_FAULT_STATUS: Final = 500


async def each_stretch(stretches: Iterable[Stretch], read: Callable[[Stretch], Awaitable[None]]) -> str:
    """Calls `read` for one after the other, which may raise a QueryFailed. The first fault that was for good, in words; empty: all came."""
    waiting = list(stretches)[::-1]
    why, failures = "", 0
    while waiting and failures < MOST_FAILURES:
        first, last = waiting.pop()
        steps = last - first + 1
        try:
            await read((first, last))
        except QueryFailed as fault:
            if _shorter_may_do(fault) and steps >= 2 * LEAST_STEPS:
                middle = first + steps // 2
                waiting += [(first, middle - 1), (middle, last)]
            else:
                why, failures = why or str(fault), failures + 1
    return why


def _shorter_may_do(fault: QueryFailed) -> bool:
    if isinstance(fault, HttpStatus):  # of a proxy before Prometheus
        return fault.status in (TOO_MUCH_STATUS, UNPROCESSABLE_STATUS) or fault.status >= SERVER_FAULT_STATUS
    return isinstance(fault, (AnswerTooLarge, PrometheusRefused, QueryTimeout))
