"""Who plays the batches: this process, several ones of this machine, or (``replay.tune.cluster``) a Dask cluster. The scores are the same."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias

from autoscaler.errors import OutsideError
from replay.parallel import Failure, Guarded, unpacked
from replay.tune.batch import Batch, Setting, scores_of

Scores: TypeAlias = list[dict[str, Any]]


class Workers(Protocol):
    def play(self, work: Sequence[Batch]) -> Iterator[Scores]:
        """The scores of each batch, in the batches' order. Raises AutoscalerError."""
        ...

    def __enter__(self) -> Workers: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Here:
    """Plays them one after another."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def play(self, work: Sequence[Batch]) -> Iterator[Scores]:
        return (scores_of(self._setting, batch) for batch in work)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


_shared: Final[list[Setting]] = []
"""In a process of the pool: what it was given at its start."""


def _begin(setting: Setting) -> None:
    # Ctrl-C reaches the whole group of processes; only the first one has something to say then.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _shared[:] = [setting]


def _play(batch: Batch) -> Scores:
    return scores_of(_shared[0], batch)


class Processes:
    """jobs processes of this machine, kept from batch to batch."""

    def __init__(self, setting: Setting, jobs: int) -> None:
        # Spawned, not forked: a copy of a process with threads may hang.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(setting,))

    def play(self, work: Sequence[Batch]) -> Iterator[Scores]:
        guarded: Guarded[Batch, Scores] = Guarded(_play)
        try:
            futures = [self._pool.submit(guarded, batch) for batch in work]
            for future in futures:
                made: Scores | Failure = future.result()
                yield unpacked(made)
        except BrokenProcessPool:
            raise OutsideError("a process ended in the middle of its work (out of memory?); --jobs 1 needs the least") from None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
