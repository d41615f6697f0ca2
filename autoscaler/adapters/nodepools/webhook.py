"""The backend ``Webhook``: a service of one's own. Both questions are POSTs of JSON to its URL; docs/node-pools.md holds the form."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

import orjson

from autoscaler.adapters.nodepools.backend import PoolState, Sets, Wish
from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.kube_objects import dig, whole
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, problem_of
from autoscaler.errors import OutsideError, RequestFailed
from autoscaler.hidden import Hidden
from autoscaler.ports import SecretReader
from autoscaler.spec import OwnSecretKey
from autoscaler.spec import Webhook as Settings

SCHEMA: Final = 1
_COUNTS: Final = {"target": "target", "ready": "ready", "minNodes": "min_nodes", "maxNodes": "max_nodes"}
_TEXTS: Final = ("owner", "changing")


class Webhook:
    """One pool behind a URL. namespace: the controller's own, where the manifest's Secrets lie."""

    sets: Sets = "Nodes"

    def __init__(self, http: JsonHttp, secrets: SecretReader, namespace: str, pool: str, settings: Settings) -> None:
        self._http = http
        self._secrets = secrets
        self._namespace = namespace
        self._pool = pool
        self._settings = settings
        self._tls: tuple[str, ssl.SSLContext] | None = None

    async def get(self, deadline_s: float) -> PoolState:
        return await self._ask({"operation": "Get"}, deadline_s)

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        # Another split of the same number is no order: nodes would go in one zone and come in another, however many, and whatever is paused.
        if over.target == wish.nodes or over.changing:
            return over
        split: dict[str, Any] = {"zones": dict(wish.zones)} if wish.zones else {}
        if wish.spot is not None:
            split["spot"] = wish.spot
        return await self._ask({"operation": "Set", "nodes": wish.nodes, **split, "reason": wish.reason}, deadline_s)

    async def _ask(self, question: Mapping[str, Any], deadline_s: float) -> PoolState:
        headers, secrets = {"Content-Type": "application/json"}, []
        if self._settings.bearer_token is not None:
            token = Hidden((await self._secret(self._settings.bearer_token, deadline_s))[0].decode("utf-8", "replace").strip())
            headers["Authorization"] = f"Bearer {token.reveal()}"
            secrets.append(token)
        body = orjson.dumps({"schema": SCHEMA, "pool": self._pool, **question})
        try:
            answer = await self._http.request(
                "POST",
                self._settings.url,
                headers=headers,
                body=body,
                secrets=secrets,
                tls=await self._trusted(deadline_s),
                timeout_s=deadline_s,
            )
        except RequestFailed as fault:
            raise problem_of(fault) from None
        return _state(answer.document)

    async def _secret(self, key: OwnSecretKey, deadline_s: float) -> tuple[bytes, str]:
        try:
            return await self._secrets.read_secret(self._namespace, key.name, key.key, timeout_s=deadline_s)
        except RequestFailed as fault:
            raise problem_of(fault) from None
        except OutsideError as fault:
            raise PoolProblem(PoolReason.CredentialsRefused, str(fault)) from None

    async def _trusted(self, deadline_s: float) -> ssl.SSLContext | bool:
        if self._settings.ca is None:
            return True
        pem, version = await self._secret(self._settings.ca, deadline_s)
        if self._tls is None or self._tls[0] != version or not version:
            try:
                context = ssl.create_default_context(cadata=pem.decode("ascii"))
            except (ssl.SSLError, ValueError):
                raise PoolProblem(
                    PoolReason.NotUsable, f"key {self._settings.ca.key} of its Secret is no PEM certificate"
                ) from None
            self._tls = (version, context)
        return self._tls[1]


def _state(told: Mapping[str, Any]) -> PoolState:
    found: dict[str, Any] = {}
    for name, field in _COUNTS.items():
        value = told.get(name)
        if value is not None and (whole(value) is None or not 0 <= value <= 100000):
            raise PoolProblem(PoolReason.UnexpectedAnswer, f"{name} is {str(value)[:32]}; a whole number from 0 is expected")
        found[field] = value
    if found["target"] is None:
        raise PoolProblem(
            PoolReason.UnexpectedAnswer, "the answer tells no target; the number of nodes asked for last is expected"
        )
    for name in _TEXTS:
        found[name] = str(told.get(name) or "")[:200]
    if told.get("problem"):
        words = dig(told, "problem", "reason")
        known = PoolReason(words) if words in list(PoolReason) else PoolReason.Failed
        found |= {"reason": known, "problem": str(dig(told, "problem", "message") or known)[:400]}
    return PoolState(**found)
