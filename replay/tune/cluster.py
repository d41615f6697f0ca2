"""Batches on a Dask cluster. A worker that dies loses nothing but time: its batches are played again elsewhere, with the same scores."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final

from autoscaler.errors import AutoscalerError, OutsideError, UsageError
from replay.parallel import Failure, unpacked
from replay.tune.batch import Batch, Setting, scores_of
from replay.tune.workers import Scores

_ANSWERS_WITHIN_S: Final = 20


class Cluster:
    """The workers of the scheduler at `address` (``tcp://HOST:PORT``).

    Raises UsageError where the extra `distributed` is missing, OutsideError where no scheduler answers.
    """

    def __init__(self, setting: Setting, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise UsageError(
                "--scheduler needs Dask, the extra `distributed`: make venv EXTRAS=distributed in a clone, "
                "else pip install 'inference-autoscaler[distributed]'"
            ) from None
        try:
            self._client: Any = distributed.Client(address, timeout=_ANSWERS_WITHIN_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as fault:
            raise OutsideError(f"--scheduler {address}: no Dask scheduler answers: {fault}") from None
        self.wait_for(1)
        # Made by a task, not scattered: then the scheduler can have it made again when the worker that holds it dies.
        self._setting: Any = self._client.submit(pickle.loads, pickle.dumps(setting), pure=False)

    def wait_for(self, workers: int) -> None:
        """Until so many workers are there. Raises OutsideError where they don't come."""
        try:
            self._client.wait_for_workers(workers, timeout=_ANSWERS_WITHIN_S)
        except TimeoutError:
            self._client.close()
            raise OutsideError(f"the Dask scheduler has no {workers} workers within {_ANSWERS_WITHIN_S} s") from None

    def play(self, work: Sequence[Batch]) -> Iterator[Scores]:
        futures = [self._client.submit(_scores, self._setting, batch, pure=False) for batch in work]
        try:
            for future in futures:
                try:
                    made: Scores | Failure = future.result()
                except Exception as fault:  # whatever Dask or a worker raises: it is all from outside
                    raise OutsideError(
                        f"the Dask cluster failed: {type(fault).__name__}: {fault}; its workers need this very version of "
                        "inference-autoscaler and the same plug-ins"
                    ) from None
                yield unpacked(made)
        finally:
            self._client.cancel(futures)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()


def _scores(setting: Setting, batch: Batch) -> Scores | Failure:
    """Runs on a worker."""
    try:
        return scores_of(setting, batch)
    except AutoscalerError as error:
        return Failure(str(error), error.exit_code)
