"""What the lifecycle tells those whose replicas have something of their own."""

from __future__ import annotations

from typing import Protocol


class Servers(Protocol):
    """Who serves on the replicas, where replicas have something of their own: requests to finish before they go."""

    def join(self, row: int, replicas: int, at_s: int) -> None:
        """So many more are ready."""

    def leave(self, row: int, replicas: int, at_s: int) -> None:
        """So many ready ones take no more requests. Each is reported to ``Lifecycle.gone`` once it has finished."""

    def lose(self, row: int, ready: int, leaving: int, at_s: int) -> None:
        """So many are gone at once, with what they were doing."""
