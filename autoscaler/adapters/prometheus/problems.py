"""What can go wrong with a query, as types: the source turns each into words for the signals it touches.

Texts name the server, what happened and what is allowed; never a header, a token or a body, since they end in logs and statuses.
"""

from __future__ import annotations

from autoscaler.errors import OutsideError


class QueryFailed(OutsideError):  # noqa: N818 (what happened, not what kind of thing it is)
    """A query without a usable answer. Nothing is tried again: the next tick is the retry."""


class QueryTimeout(QueryFailed):
    """No complete answer within the deadline (waiting for a free connection included)."""


class Unreachable(QueryFailed):
    """No connection, or it broke: name, port, TLS, a server that went away in the middle of its answer."""


class HttpStatus(QueryFailed):
    """An answer with a status other than 200 that does not speak Prometheus' JSON. Redirects end here too: following one could hand
    credentials to somebody else."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class PrometheusRefused(QueryFailed):
    """Prometheus' own error. error_type: its word for it (``bad_data``, ``execution``, ``timeout``, ``canceled``, ``internal``, ``unavailable``)."""

    def __init__(self, text: str, error_type: str, status: int) -> None:
        super().__init__(text)
        self.error_type = error_type
        self.status = status


class Unparsable(QueryFailed):
    """Status 200, but not the JSON of a query: cut off, another program, a value that is no number."""


class AnswerTooLarge(QueryFailed):
    """More bytes than allowed; reading stopped there."""


class CredentialsUnusable(QueryFailed):
    """A file or Secret is missing or does not hold what it should. Never says what it holds."""
