"""What can go wrong, in the three ways that a user can tell apart; each maps to an exit code."""

from __future__ import annotations

from dataclasses import dataclass


class AutoscalerError(Exception):
    """Base of all errors raised on purpose; its text is for people: what, which value, what is allowed, what happens now."""

    exit_code = 3


class UsageError(AutoscalerError):
    """Wrong usage: an unknown flag value, a file that isn't there."""

    exit_code = 2


class OutsideError(AutoscalerError):
    """Something outside failed: Prometheus, the API server, a file system."""

    exit_code = 3


class RequestFailed(OutsideError):  # noqa: N818 - says what happened, as its siblings do
    """An HTTP request that was refused, or never answered.

    status: HTTP status; 0 where no answer came (connection refused, deadline passed, answer too large).
    reason: the server's one word (``Conflict``, ``ThrottlingException``), or ours: ``Timeout``, ``Unreachable``, ``TooLarge``, ``Malformed``.
    message: its words. retry_after_s: what the server asked for, None where it did not.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason or status}: {message}" if message else f"{reason or status}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a manifest or scenario: where it is, what is there, what is allowed.

    path: dotted from the object's root (``spec.maxReplicas``). line: 1-based, 0 where not known. object: ``Kind namespace/name``.
    """

    file: str
    line: int
    object: str
    path: str
    value: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        words = ": ".join(filter(None, (where, self.object, self.path, self.message)))
        return words + (f" (is: {self.value})" if self.value else "")


class InvalidManifest(AutoscalerError):  # noqa: N818 - says what is wrong, as its siblings do
    """A manifest that can't be used; carries every fault found."""

    exit_code = 1

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class InvalidSetting(InvalidManifest):
    """Not a manifest that is judged, but something that was given beside it and can't be used: a scenario, a gate, a flag's value."""

    exit_code = 2
