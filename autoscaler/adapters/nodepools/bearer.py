"""Requests to clouds that take a bearer token: Google's and Azure's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from autoscaler.adapters.nodepools.azure_token import AzureToken
from autoscaler.adapters.nodepools.google_token import GoogleToken
from autoscaler.adapters.nodepools.json_http import Answer, JsonHttp
from autoscaler.adapters.nodepools.reasons import PoolReason, problem_of
from autoscaler.errors import RequestFailed


class Bearer:
    """A session with the token that is shown in it."""

    def __init__(self, http: JsonHttp, token: AzureToken | GoogleToken) -> None:
        self._http = http
        self._token = token

    async def call(
        self, method: str, url: str, deadline_s: float, body: Any = None, further: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; body: what is sent as JSON, None nothing. further: headers. Raises PoolProblem."""
        token = await self._token.get(deadline_s)
        headers = {"Authorization": f"Bearer {token.reveal()}", **(further or {})}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = orjson.dumps(body)
        try:
            return await self._http.request(method, url, headers=headers, body=data, secrets=(token,), timeout_s=deadline_s)
        except RequestFailed as fault:
            problem = problem_of(fault)
            if problem.reason == PoolReason.CredentialsRefused:
                self._token.refused()
            raise problem from None
