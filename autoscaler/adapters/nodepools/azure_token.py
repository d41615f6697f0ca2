"""Entra's access tokens by workload identity: the pod's service account token is exchanged for one of the management API.

The variables are set by the workload identity webhook. Source: learn.microsoft.com/azure/aks/workload-identity-overview and
learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow ("Third case: with a federated credential").
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.adapters.nodepools.token import Granted, Renewed, no_credential, read_token_file
from autoscaler.errors import RequestFailed
from autoscaler.hidden import Hidden
from autoscaler.ports import Clock

WANTED: Final = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")
AUTHORITY: Final = "https://login.microsoftonline.com/"


class AzureToken:
    """A bearer token for `resource`, such as https://management.azure.com."""

    def __init__(self, http: JsonHttp, clock: Clock, resource: str, environment: Mapping[str, str] = os.environ) -> None:
        self._http = http
        self._resource = resource
        self._environment = environment
        self._token = Renewed(self._fetch, clock)
        self.refused = self._token.refused

    async def get(self, deadline_s: float) -> Hidden[str]:
        """Raises PoolProblem."""
        return await self._token.get(deadline_s)

    async def _fetch(self, deadline_s: float) -> Granted[str]:
        missing = [name for name in WANTED if not self._environment.get(name)]
        if missing:
            raise PoolProblem(
                PoolReason.CredentialsRefused, f"workload identity is not set up for this pod: {', '.join(missing)} is not set"
            )
        client, tenant, file = (self._environment[name] for name in WANTED)
        assertion = await read_token_file(file, "Entra workload identity")
        form = {
            "client_id": client,
            "scope": f"{self._resource}/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion.reveal(),
            "grant_type": "client_credentials",
        }
        authority = self._environment.get("AZURE_AUTHORITY_HOST", AUTHORITY).rstrip("/")
        try:
            answer = await self._http.request(
                "POST",
                f"{authority}/{tenant}/oauth2/v2.0/token",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                secrets=(assertion,),
                timeout_s=deadline_s,
            )
        except RequestFailed as fault:
            raise no_credential(fault, "token of Entra") from None
        token, lives_s = answer.document.get("access_token"), answer.document.get("expires_in")
        if not isinstance(token, str) or not isinstance(lives_s, (int, float)):
            raise PoolProblem(PoolReason.CredentialsRefused, "Entra's answer holds no token")
        return Granted(Hidden(token), float(lives_s))
