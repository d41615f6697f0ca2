"""A directory of rotated record files, bounded in number and in bytes. Blocking: for a thread of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_PATTERN: Final = "records-*.jsonl"


class RecordFiles:
    """Appends to the newest of ``DIR/records-<time>.jsonl``. The oldest go when there are more than `max_files`, and before all together
    would be larger than `max_bytes`: a volume that is too full takes the whole pod with it.

    Every method may raise an OSError. What could not be written whole is taken back, so that no file ends within a line.
    """

    def __init__(self, directory: Path, *, max_files: int, max_bytes: int) -> None:
        self._directory = directory
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._path: Path | None = None
        self._fd = -1
        self._size = 0

    def start(self, at_s: float) -> None:
        """Begins a new file, or goes on with the one that is named after the same moment."""
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        stamp = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._directory / f"records-{stamp}.jsonl"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._path, self._size = path, os.fstat(self._fd).st_size
        for old in sorted(self._directory.glob(_PATTERN))[: -self._max_files]:
            old.unlink(missing_ok=True)

    def append(self, lines: Sequence[bytes], at_s: float) -> None:
        """Writes whole lines, cut anywhere into pieces. at_s: names the file where none is open."""
        if self._path is None:
            self.start(at_s)
        self._make_room(sum(map(len, lines)))
        try:
            for piece in lines:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError:
            self._take_back()
            raise
        self._size += sum(map(len, lines))

    def close(self) -> None:
        if self._path is not None:
            self._path = None
            os.close(self._fd)

    def _make_room(self, more: int) -> None:
        sizes = {path: path.stat().st_size for path in sorted(self._directory.glob(_PATTERN))}
        total = sum(sizes.values()) + more
        for path, size in sizes.items():
            if total <= self._max_bytes:
                return
            if path != self._path:
                path.unlink(missing_ok=True)
                total -= size
        if total > self._max_bytes:
            raise OSError(errno.EFBIG, f"the newest file alone would make it more than {self._max_bytes} bytes")

    def _take_back(self) -> None:
        assert self._path is not None
        os.ftruncate(self._fd, self._size)
        if not self._size:
            # A disk that is full for long would else push out all older records with empty files.
            self._path.unlink(missing_ok=True)
            self.close()
