"""TickRecords of a replay, in one file that ``replay verify`` can run again from its first line."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from autoscaler.controller import Controller
from autoscaler.errors import OutsideError
from autoscaler.ports import Tick
from autoscaler.record import encode, fleet_record, tick_record


class RecordFile:
    """A Reporter that writes every tick; does nothing without a path. `offsets`: where each tick's line begins."""

    def __init__(self, path: Path | None, *, seed: int) -> None:
        self._path = path
        self._seed = seed
        self._file: BinaryIO | None = None
        self._controller: Controller | None = None
        self._revision = -1
        self._end = 0
        self.offsets: list[int] = []

    @property
    def wanted(self) -> bool:
        return self._path is not None

    def of(self, controller: Controller) -> None:
        """Whose ticks they are."""
        self._controller = controller

    def __enter__(self) -> RecordFile:
        if self._path is not None:
            try:
                self._file = self._path.open("wb", buffering=1 << 20)
            except OSError as fault:
                raise OutsideError(f"{self._path}: {fault.strerror}") from None
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    async def report(self, tick: Tick) -> None:
        assert self._file is not None
        assert self._controller is not None
        if tick.fleet.revision != self._revision:
            first = self._revision == -1
            self._revision = tick.fleet.revision
            self._write(
                encode(
                    fleet_record(
                        tick.fleet,
                        at_s=tick.decisions.at_s,
                        interval_s=tick.interval_s,
                        seed=self._seed,
                        wanted=self._controller.engine.wanted,
                        budget=self._controller.budget,
                        shadow=self._controller.shadow,
                        start="cold" if first else "continues",
                    )
                )
            )
        self.offsets.append(self._end)
        self._write(encode(tick_record(tick)))

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        self._file.write(line)
        self._end += len(line)
