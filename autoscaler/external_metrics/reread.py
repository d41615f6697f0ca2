"""A small file that somebody else replaces while we run: a mounted Secret, a projected token."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

LOOK_EVERY_S: Final = 1.0


class RereadFile:
    """Its content, read again when it has changed; looked at once a second at most, for requests ask in between.

    After a failed reading the last good content goes on being given: it may still be good, and the other side decides.
    """

    def __init__(self, path: str, monotonic_s: Callable[[], float]) -> None:
        self._path = path
        self._monotonic_s = monotonic_s
        self._looked_at_s = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._content: bytes | None = None

    def content(self) -> bytes:
        """What is in it. Raises OSError where it could never be read."""
        if self._monotonic_s() - self._looked_at_s >= LOOK_EVERY_S:
            try:
                self._look()
            except OSError:
                if self._content is None:
                    raise  # and look again with the next request
            self._looked_at_s = self._monotonic_s()
        assert self._content is not None
        return self._content

    def _look(self) -> None:
        status = os.stat(self._path)  # follows the links that a mounted Secret consists of
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            with open(self._path, "rb") as file:
                self._content = file.read()
            self._seen = seen
