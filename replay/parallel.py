"""Independent pieces of work in several processes. What comes out, and in which order, does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from autoscaler.errors import AutoscalerError, OutsideError

Item = TypeVar("Item")
Made = TypeVar("Made")


def usual_jobs() -> int:
    """As many processes as this one may use cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class WorkerError(AutoscalerError):
    """What went wrong in another process, with the words and the exit code that it had there."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Failure:
    """An AutoscalerError as it travels."""

    words: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Guarded(Generic[Item, Made]):
    """Errors with several arguments don't travel between processes; their words and exit codes do."""

    function: Callable[[Item], Made]

    def __call__(self, item: Item) -> Made | Failure:
        try:
            return self.function(item)
        except AutoscalerError as error:
            return Failure(str(error), error.exit_code)


def in_order(
    function: Callable[[Item], Made], items: Sequence[Item], jobs: int, *, done: Callable[[float], None] | None = None
) -> Iterator[Made]:
    """function(item) of every item, in the items' order. jobs: processes; with 1 all happens in this one.

    function, items and results must be picklable where jobs > 1. done: told the share that is finished. Raises what function raised for
    the first item that failed (AutoscalerError: as WorkerError), OutsideError where a process died.
    """
    work: Guarded[Item, Made] = Guarded(function)
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from _told(map(work, items), len(items), done)
        return
    # Spawned, not forked: a copy of a process with threads may hang.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from _told(pool.map(work, items), len(items), done)
        except BrokenProcessPool:
            raise OutsideError("a process ended in the middle of its work (out of memory?); --jobs 1 needs the least") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def unpacked(made: Made | Failure) -> Made:
    """What was made. Raises WorkerError where that failed."""
    if isinstance(made, Failure):
        raise WorkerError(made.words, made.exit_code)
    return made


def _told(made: Iterator[Made | Failure], count: int, done: Callable[[float], None] | None) -> Iterator[Made]:
    for number, one in enumerate(made, 1):
        found = unpacked(one)
        if done is not None:
            done(number / count)
        yield found
