"""An operation of a cloud that goes on after its order: looked at once a tick, never waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Operation:
    """The last order of this process. name: as the cloud calls it, None where there is none under way. failed: why the last one failed.

    What is under way is also seen from the pool itself, so losing this in a restart loses an error's words and no more.
    """

    name: str | None = None
    failed: str = ""

    def ended(self, failed: str = "") -> None:
        self.name = None
        self.failed = failed

    def began(self, name: str | None) -> None:
        self.name = name
        self.failed = ""
