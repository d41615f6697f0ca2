"""Who asks, in the order of Kubernetes' own aggregated servers: front proxy, client certificate, bearer token, nobody.

(apiserver, pkg/authentication/authenticatorfactory/delegating.go.) One that can't say who it is leaves the question to the next. A
request's own X-Remote-* headers count behind the certificate of a front proxy and nowhere else; nothing but this module and
``front_proxy`` reads them, and who hands a request on must write them anew from the User.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from aiohttp import web

from autoscaler.adapters.telemetry.families import Family, Labels
from autoscaler.external_metrics import front_proxy
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.front_proxy import AmbiguousError
from autoscaler.external_metrics.identity import AUTHENTICATED, User
from autoscaler.external_metrics.peer import Peer, PeerCertificates, within
from autoscaler.external_metrics.review_cache import TooManyReviewsError
from autoscaler.external_metrics.reviews import ReviewFailedError
from autoscaler.external_metrics.tokens import TokenReviews
from autoscaler.external_metrics.trust import Trust
from autoscaler.ports import Clock

ANONYMOUS: Final = "system:anonymous"
UNAUTHENTICATED: Final = "system:unauthenticated"

_HOW: Final = (
    "Ask through the API server (kubectl get --raw /apis/external.metrics.k8s.io/v1beta1), or directly with a certificate of the cluster's "
    "client CA, or with the header 'Authorization: Bearer TOKEN', a token for the API server of this cluster"
)
_TOKEN: Final = re.compile("[!-~]+")


class RequestAuthenticator:
    """identity.Authenticator. trust: the present one, asked for with each request; another object where it has changed."""

    def __init__(self, *, trust: Callable[[], Trust], tokens: TokenReviews, clock: Clock) -> None:
        self._trust = trust
        self._tokens = tokens
        self._clock = clock
        self._peers = PeerCertificates()
        self._outcomes: Counter[tuple[str, str]] = Counter()

    async def authenticate(self, request: web.Request) -> User:
        trust = self._trust()
        peer = self._peers.of(request.transport, trust)
        user: User | None = None
        if peer is not None:
            now_s = self._clock.now_s()
            if within(peer.front_proxy, now_s):
                user = self._proxied(request, trust)
            if user is None and peer.name and within(peer.client, now_s):
                user = User(name=peer.name, groups=peer.organizations, method="certificate")
        if user is None:
            user = await self._of_token(request, peer)
        if user.name == ANONYMOUS or UNAUTHENTICATED in user.groups:
            raise self._refused(user.method or "none", f"{user.name} is nobody in particular, whom nothing is told here")
        self._outcomes[user.method or "none", "accepted"] += 1
        return user if AUTHENTICATED in user.groups else replace(user, groups=(*user.groups, AUTHENTICATED))

    def families(self) -> list[Family]:
        """For own metrics."""
        outcomes: dict[Labels, float] = {
            (("method", method), ("outcome", outcome)): float(count) for (method, outcome), count in self._outcomes.items()
        }
        return [
            Family(
                name="external_metrics_authentications_total",
                help="Requests by how they said who asks, and whether that was believed; method none: they did not say.",
                kind="counter",
                samples=outcomes,
            ),
            *self._tokens.families(),
        ]

    async def close(self) -> None:
        """Gives up what is under way."""
        await self._tokens.close()

    def _proxied(self, request: web.Request, trust: Trust) -> User | None:
        assert trust.front_proxies is not None
        try:
            return front_proxy.user_of(request.headers, trust.front_proxies)
        except AmbiguousError as fault:
            raise self._refused(
                "front-proxy", f"the front proxy's headers say who asks in more than one way, or in none: {fault}"
            ) from None

    async def _of_token(self, request: web.Request, peer: Peer | None) -> User:
        token = self._token(request, peer)
        try:
            user = await self._tokens.user_of(token)
        except TooManyReviewsError as fault:
            self._outcomes["token", "failed"] += 1
            raise RefusedError(429, f"The token was not reviewed: {fault}. Ask again later") from None
        except ReviewFailedError as fault:
            self._outcomes["token", "failed"] += 1
            raise RefusedError(401, f"Unauthorized: the token could not be reviewed: {fault}. Ask again later") from None
        if user is None:
            raise self._refused("token", "the bearer token was not accepted")
        return user

    def _token(self, request: web.Request, peer: Peer | None) -> str:
        """The bearer token. Raises RefusedError where there is none."""
        given = request.headers.getall("Authorization", ())
        if not given:
            raise self._refused("none" if peer is None else "certificate", self._why_not(request, peer))
        if len(given) > 1:
            raise self._refused("token", "several Authorization headers were given, and one can be heeded")
        kind, _, token = given[0].strip().partition(" ")
        if kind.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise self._refused("token", "the Authorization header is not 'Bearer TOKEN'")
        return token

    def _why_not(self, request: web.Request, peer: Peer | None) -> str:
        """Why somebody without a token is nobody."""
        hint = ""
        if any(name.lower().startswith("x-remote-") for name in request.headers) and not (peer and peer.front_proxy):
            hint = "; X-Remote-* headers are heeded behind a front proxy's certificate only"
        if peer is None:
            return "the request does not say who asks: no certificate of a trusted CA, no token" + hint
        now_s = self._clock.now_s()
        if within(peer.front_proxy, now_s):
            return "the front proxy did not say for whom it asks"
        if peer.front_proxy or peer.client:
            return f"the client certificate of {peer.name!r} is not valid now, by the time that it was issued for" + hint
        if peer.of_front_proxies:
            return (
                f"the client certificate is of the request-header CA, but {peer.name!r} is no name that may speak for others"
                + hint
            )
        return "the client certificate is of no CA that is trusted now" + hint

    def _refused(self, method: str, why: str) -> RefusedError:
        self._outcomes[method, "refused"] += 1
        return RefusedError(401, f"Unauthorized: {why}. {_HOW}")
