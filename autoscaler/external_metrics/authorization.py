"""Who may: the API server's SubjectAccessReview, as for every resource of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.telemetry.families import Family
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.identity import GROUP, GROUP_VERSION, MASTERS, VERSION, Access, MetricAccess, PathAccess, User
from autoscaler.external_metrics.review_cache import ReviewCache, TooManyReviewsError
from autoscaler.external_metrics.reviews import Reviewer, ReviewFailedError, review_families
from autoscaler.ports import Clock

_PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_AGGREGATORS: Final = frozenset({"system:kube-aggregator", "system:aggregator"})
_DISCOVERY: Final = frozenset({"/apis", f"/apis/{GROUP}", f"/apis/{GROUP_VERSION}", "/openapi/v2", "/openapi/v3"})
_OPENAPI: Final = "/openapi/v3/"
LONGEST_NAME: Final = 1024
"""Of a path, or of a namespace and a metric together. Nothing that is there is called longer; and thousands of whatever somebody makes up
are kept in memory for as long as what was found of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a review found. reason: the authorizer's own word for it, often none."""

    allowed: bool
    reason: str


class ReviewedAuthorizer:
    """identity.Authorizer. Verdicts are kept for 10 s; one that allows is renewed before that while it is in use, so that nobody waits."""

    def __init__(self, api: KubeApi, *, clock: Clock, rng: np.random.Generator) -> None:
        self._outcomes: Counter[str] = Counter()
        self._reviewer = Reviewer(api, _PATH, "SubjectAccessReview", rng=rng)
        self._cache: ReviewCache[tuple[User, Access], Verdict] = ReviewCache(
            clock=clock, rng=rng, renewed=lambda verdict: verdict.allowed
        )

    async def authorize(self, user: User, access: Access) -> None:
        if MASTERS in user.groups or _is_aggregator(user, access):
            return
        if (length := _length(access)) > LONGEST_NAME:
            raise RefusedError(
                403,
                f"forbidden: what is asked for has a name of {length} characters, and nothing here has one over {LONGEST_NAME}",
            )
        try:
            verdict = await self._cache.get((user, access), lambda: self._review(user, access))
        except TooManyReviewsError as fault:
            raise RefusedError(429, f"{_cannot(user, access)}: nobody could say that it may: {fault}. Ask again later") from None
        except ReviewFailedError as fault:
            raise RefusedError(403, f"{_cannot(user, access)}: the review of its rights failed: {fault}") from None
        if not verdict.allowed:
            raise RefusedError(403, f"{_cannot(user, access)}{verdict.reason and f': {verdict.reason}'}")

    def families(self) -> list[Family]:
        """For own metrics."""
        return review_families("access", "SubjectAccessReviews", self._outcomes, self._cache.hits)

    async def close(self) -> None:
        """Gives up what is under way."""
        await self._cache.close()

    async def _review(self, user: User, access: Access) -> Verdict:
        try:
            status = await self._reviewer.ask(access_spec(user, access))
        except ReviewFailedError:
            self._outcomes["failed"] += 1
            raise
        allowed = status.get("allowed") is True and status.get("denied") is not True
        self._outcomes["allowed" if allowed else "denied"] += 1
        return Verdict(allowed=allowed, reason=str(status.get("reason") or ""))


def access_spec(user: User, access: Access) -> dict[str, Any]:
    """SubjectAccessReviewSpec (api, authorization/v1/types.go). Without the label selector: with it, no review would serve two requests
    whose selectors differ, and rights that depend on it can't be given with RBAC."""
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra}
    if isinstance(access, MetricAccess):
        spec["resourceAttributes"] = {
            "verb": "list",
            "group": GROUP,
            "version": VERSION,
            "resource": access.metric,
            "namespace": access.namespace,
        }
    else:
        spec["nonResourceAttributes"] = {"path": access.path, "verb": "get"}
    return spec


def _is_aggregator(user: User, access: Access) -> bool:
    """The API server itself, which asks what we serve, and nothing about anybody's metrics. No review: while our discovery does not answer,
    the garbage collector and the deletion of every namespace in the cluster stand still, and so it must not depend on whether reviews
    work, on RBAC's bootstrap roles, or on a webhook. The name counts only as told by the front proxy: with a certificate or a token of
    that name anybody's rights are reviewed."""
    return (
        user.method == "front-proxy"
        and user.name in _AGGREGATORS
        and isinstance(access, PathAccess)
        and (access.path in _DISCOVERY or access.path.startswith(_OPENAPI))
    )


def _length(access: Access) -> int:
    return len(access.path) if isinstance(access, PathAccess) else len(access.namespace) + len(access.metric)


def _cannot(user: User, access: Access) -> str:
    """As Kubernetes' own refusals begin (apiserver, pkg/endpoints/handlers/responsewriters/errors.go)."""
    if isinstance(access, PathAccess):
        return f'forbidden: User "{user.name}" cannot get path "{access.path}"'
    return (
        f'{access.metric}.{GROUP} is forbidden: User "{user.name}" cannot list resource "{access.metric}" in API group "{GROUP}" '
        f'in the namespace "{access.namespace}"'
    )
