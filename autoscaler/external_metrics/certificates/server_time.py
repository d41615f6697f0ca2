"""What time it is for those who verify our certificates: the API server's clock, not ours.

A process whose own clock was set wrongly would make certificates that are not valid yet, or replace good ones without end.
"""

from __future__ import annotations

import logging
from typing import Final

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.moments import seconds_or_none
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

REVIEWS: Final = Resource(
    group="authentication.k8s.io", version="v1", plural="selfsubjectreviews", kind="SelfSubjectReview", namespaced=False
)
"""Whoever is authenticated may ask who they are (ClusterRole system:basic-user); the answer's creationTimestamp is the server's now."""


class ServerTime:
    """tolerance_s: smaller differences are of no account; backdating covers them."""

    def __init__(self, api: KubeApi, clock: Clock, *, tolerance_s: float, timeout_s: float) -> None:
        self.ahead_s = 0.0
        """By how much the API server's clock is ahead of ours; 0 within the tolerance."""
        self._api = api
        self._clock = clock
        self._tolerance_s = tolerance_s
        self._timeout_s = timeout_s
        self._offset_s = clock.now_s() - clock.monotonic_s()

    def now_s(self) -> float:
        """By the last look, and by the clock that never steps since then: our own may be set meanwhile."""
        return self._clock.monotonic_s() + self._offset_s

    async def look(self) -> None:
        """Asks. Raises ApiError; a server too old to be asked (before Kubernetes 1.28) is taken to agree with us."""
        body = {"apiVersion": REVIEWS.api_version, "kind": REVIEWS.kind}
        sent_s = self._clock.monotonic_s()
        try:
            answer = await self._api.request("POST", REVIEWS.path(), body=body, timeout_s=self._timeout_s)
            told_s = seconds_or_none((answer.get("metadata") or {}).get("creationTimestamp"))
        except ApiError as fault:
            if not (fault.not_found or fault.forbidden):
                raise
            told_s = None
        own_s, got_s = self._clock.now_s(), self._clock.monotonic_s()
        ahead_s = 0.0
        if told_s is not None:
            # It is told in whole seconds, of some moment since we asked.
            least_s, most_s = told_s - own_s, told_s + 1.0 - own_s + (got_s - sent_s)
            ahead_s = least_s if least_s > self._tolerance_s else most_s if most_s < -self._tolerance_s else 0.0
        if ahead_s and not self.ahead_s:
            log.warning("the API server's clock is ahead of this machine's by %.0f s: certificates are made by its time", ahead_s)
        self.ahead_s = ahead_s
        self._offset_s = own_s - got_s + ahead_s
