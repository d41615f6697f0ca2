"""What the API server answered when it did not do what we asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from autoscaler.errors import RequestFailed

_LONGEST_TEXT = 500


class ApiError(RequestFailed):
    """A refused or failed request; reason is Kubernetes' one word, or ours. details: the Status object's."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, reason, message, retry_after_s=retry_after_s)
        self.details: Mapping[str, Any] = details or {}

    @property
    def unreachable(self) -> bool:
        """No answer at all: nothing is known of what the server did."""
        return self.status == 0 and self.reason in ("Timeout", "Unreachable")

    @property
    def too_large(self) -> bool:
        return self.status == 0 and self.reason == "TooLarge"

    @property
    def unauthorized(self) -> bool:
        return self.status == 401

    @property
    def forbidden(self) -> bool:
        return self.status == 403

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Somebody wrote first (409); also AlreadyExists, which only creating can give."""
        return self.status == 409

    @property
    def gone(self) -> bool:
        """The resourceVersion is too old (410): list again."""
        return self.status == 410 or self.reason == "Expired"

    @property
    def invalid(self) -> bool:
        return self.status == 422

    @property
    def throttled(self) -> bool:
        return self.status == 429

    @property
    def version_too_large(self) -> bool:
        """The server has never heard of our resourceVersion: it was restored from a backup, say."""
        causes = self.details.get("causes") or ()
        return any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes)


def error_of_answer(status: int, body: bytes, retry_after: str | None) -> ApiError:
    """The error of an answer with a status ≥ 400, which is a Status object, or any text where a proxy answered."""
    document: Any = None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status":
        return error_of_status(document, status, retry_after)
    text = body[:_LONGEST_TEXT].decode("utf-8", "replace").strip()
    return ApiError(status, "", text, retry_after_s=_seconds(retry_after))


def error_of_status(document: Mapping[str, Any], status: int = 0, retry_after: str | None = None) -> ApiError:
    """The error that a Status object tells of."""
    details = document.get("details") or {}
    after_s = _seconds(retry_after)
    if after_s is None and details.get("retryAfterSeconds"):
        after_s = float(details["retryAfterSeconds"])
    return ApiError(
        int(document.get("code") or status),
        str(document.get("reason") or ""),
        str(document.get("message") or "")[:_LONGEST_TEXT],
        details=details,
        retry_after_s=after_s,
    )


def _seconds(retry_after: str | None) -> float | None:
    # The other form, a date, is not used by API servers.
    return float(retry_after) if retry_after and retry_after.isdigit() else None
