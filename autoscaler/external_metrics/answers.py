"""Answers in Kubernetes' shape: JSON documents, and a Status for everything that went wrong.

None of them has a Retry-After: client-go would then repeat the request up to ten times inside an HPA's worker (client-go,
rest/with_retry.go), while the next sync comes by itself.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

JSON: Final = "application/json"

REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    413: "RequestEntityTooLarge",
    414: "BadRequest",
    429: "TooManyRequests",
    431: "BadRequest",
    500: "InternalError",
    502: "ServiceUnavailable",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""metav1.StatusReason by code (apimachinery, pkg/apis/meta/v1/types.go)."""


class RefusedError(Exception):
    """A request that is answered with a Status. message: for people; what was asked, what is allowed, what to do."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def status_of(code: int, message: str) -> dict[str, Any]:
    """The Status document of a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS.get(code, "InternalError" if code >= 500 else "BadRequest"),
        "code": code,
    }


def json_answer(body: bytes, code: int = 200) -> web.Response:
    """`body`, which is JSON already. Never to be kept by anybody on the way: the next one may be another's."""
    return web.Response(body=body, status=code, headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})


def refusal(code: int, message: str) -> web.Response:
    return json_answer(orjson.dumps(status_of(code, message)), code)
