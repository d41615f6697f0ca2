"""Asking the API server who somebody is, and what they may: one review each, with a deadline, and never too many at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.telemetry.families import Family
from autoscaler.backoff import Backoff

log = logging.getLogger(__name__)

DEADLINE_S: Final = 10.0
"""As Kubernetes' own servers have it (apiserver, pkg/server/options/authorization.go), tries in between included."""
_TRY_S: Final = 4.0
AT_ONCE: Final = 12
"""For each kind: both together stay below what one session sends at once, so that a flood of tokens leaves room for who asks with rights."""


class ReviewFailedError(Exception):
    """Nobody can tell now; the text says why, for people, without what was asked."""


class Reviewer:
    """Posts reviews of one kind. Whoever's review breaks on the way (a connection that the API server closed, its restart) is asked again
    within the deadline, as client-go does: a request waits for the answer, and no later tick would make up for it."""

    def __init__(self, api: KubeApi, path: str, kind: str, *, rng: np.random.Generator) -> None:
        self._api = api
        self._path = path
        self._head = {"apiVersion": "/".join(path.split("/")[2:4]), "kind": kind}
        self._rng = rng
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._last_fault = ""

    async def ask(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The review's status. Raises ReviewFailedError."""
        backoff = Backoff(self._rng, 0.1, 2.0)
        fault = ""
        try:
            async with asyncio.timeout(DEADLINE_S), self._slots:
                while True:
                    try:
                        answer = await self._api.request("POST", self._path, body={**self._head, "spec": spec}, timeout_s=_TRY_S)
                        self._last_fault = ""
                        status = answer.get("status")
                        return status if isinstance(status, dict) else {}
                    except ApiError as refused:
                        # Not the error's own text: it may quote what was sent.
                        fault = _words(refused)
                        self._note(fault)
                        if not (refused.status == 0 or refused.throttled or refused.status >= 500):
                            raise ReviewFailedError(fault) from None
                        await asyncio.sleep(backoff.next_s(refused.retry_after_s))
        except TimeoutError:
            raise ReviewFailedError(fault or f"the API server did not answer within {DEADLINE_S:g} s") from None

    def _note(self, fault: str) -> None:
        if fault != self._last_fault:  # once, not with every try of a long outage
            log.warning("%s: %s", self._head["kind"], fault)
        self._last_fault = fault


def review_families(kind: str, what: str, outcomes: Mapping[str, int], hits: int) -> list[Family]:
    """What was counted of one kind of reviews, for own metrics."""
    return [
        Family(
            name=f"external_metrics_{kind}_reviews_total",
            help=f"{what} by what they found.",
            kind="counter",
            samples={(("outcome", outcome),): float(count) for outcome, count in outcomes.items()},
        ),
        Family(
            name=f"external_metrics_{kind}_reviews_spared_total",
            help=f"Requests that were answered with what an earlier one of the {what} had found.",
            kind="counter",
            samples={(): float(hits)},
        ),
    ]


def _words(fault: ApiError) -> str:
    if fault.forbidden:
        return "this server may not create reviews; it needs the ClusterRole system:auth-delegator"
    if fault.unauthorized:
        return "the API server did not accept this server's own credential"
    if fault.status == 0:
        return f"the API server gave no answer that can be used ({fault.reason})"
    return f"the API server answered with {fault.status} {fault.reason}".strip()
