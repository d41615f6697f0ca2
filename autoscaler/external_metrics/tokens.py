"""Whose a bearer token is: the API server's TokenReview."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import Any, Final

import numpy as np

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.telemetry.families import Family
from autoscaler.external_metrics.identity import User
from autoscaler.external_metrics.review_cache import ReviewCache
from autoscaler.external_metrics.reviews import Reviewer, ReviewFailedError, review_families
from autoscaler.ports import Clock

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"


class TokenReviews:
    """No audience is named, so the API server takes tokens that are meant for itself."""

    def __init__(self, api: KubeApi, *, clock: Clock, rng: np.random.Generator) -> None:
        self._outcomes: Counter[str] = Counter()
        self._reviewer = Reviewer(api, _PATH, "TokenReview", rng=rng)
        self._cache: ReviewCache[bytes, User | None] = ReviewCache(clock=clock, rng=rng)
        self._secret = os.urandom(32)

    async def user_of(self, token: str) -> User | None:
        """Whose it is, or was up to 10 s ago; None where nobody's. Raises ReviewFailedError."""
        # Keyed, so that who reads our memory can't try a list of guesses on it.
        key = hashlib.blake2b(token.encode(), key=self._secret, digest_size=32).digest()
        return await self._cache.get(key, lambda: self._review(token))

    def families(self) -> list[Family]:
        """For own metrics."""
        return review_families("token", "TokenReviews", self._outcomes, self._cache.hits)

    async def close(self) -> None:
        """Gives up what is under way."""
        await self._cache.close()

    async def _review(self, token: str) -> User | None:
        try:
            status = await self._reviewer.ask({"token": token})
            user = user_of_status(status)
        except ReviewFailedError:
            self._outcomes["failed"] += 1
            raise
        self._outcomes["refused" if user is None else "accepted"] += 1
        return user


def user_of_status(status: dict[str, Any]) -> User | None:
    """TokenReviewStatus (api, authentication/v1/types.go) as a User."""
    if status.get("authenticated") is not True:
        return None
    user = status.get("user") or {}
    name = user.get("username")
    if not isinstance(name, str) or not name:
        return None
    extra = user.get("extra") or {}
    return User(
        name=name,
        groups=tuple(user.get("groups") or ()),
        uid=user.get("uid") or "",
        extra=tuple((key.lower(), tuple(extra[key] or ())) for key in sorted(extra)),
        method="token",
    )
