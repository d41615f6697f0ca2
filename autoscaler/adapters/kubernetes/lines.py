"""Cuts a watch's byte stream into lines, with a limit on what one line may take in memory.

Not aiohttp's readline: its limit is tied to the read buffer's size (4 MiB at the client library's setting), and an object that is larger
would end every watch from then on.
"""

from __future__ import annotations

from collections.abc import Iterator

LARGEST_LINE_BYTES = 16 * 2**20


class LineTooLongError(Exception):
    """A line passed the limit before it ended."""


class Lines:
    """Feed chunks, take whole lines (without their end; empty ones are left out)."""

    def __init__(self, limit_bytes: int = LARGEST_LINE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in `chunk`. Raises LineTooLongError."""
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            self._add(chunk[begin:end])
            line = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if line:
                yield line
            begin = end + 1
        if begin < len(chunk):
            self._add(chunk[begin:])

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit_bytes:
            raise LineTooLongError(f"a line of the watch is longer than {self._limit_bytes} bytes")
        self._parts.append(part)
