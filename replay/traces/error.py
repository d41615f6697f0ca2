"""What is wrong with a trace's content."""

from __future__ import annotations

from pathlib import Path

from autoscaler.errors import AutoscalerError


class TraceError(AutoscalerError):
    """A trace that can't be used: file, line, value, what is allowed."""

    exit_code = 1

    def __init__(self, path: Path | str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.line = line
