"""Google's access tokens, from the metadata server: of the node's service account, or of the pod's by Workload Identity Federation for GKE.

Source: cloud.google.com/compute/docs/access/authenticate-workloads ("Access tokens"), cloud.google.com/kubernetes-engine/docs/concepts/
workload-identity ("GKE metadata server").
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.adapters.nodepools.token import Granted, Renewed, no_credential
from autoscaler.errors import RequestFailed
from autoscaler.hidden import Hidden
from autoscaler.ports import Clock


class GoogleToken:
    """A bearer token for the clouds' APIs."""

    def __init__(self, http: JsonHttp, clock: Clock, environment: Mapping[str, str] = os.environ) -> None:
        # The variable is the client libraries' own.
        host = environment.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        self._http = http
        self._token = Renewed(self._fetch, clock)
        self.refused = self._token.refused

    async def get(self, deadline_s: float) -> Hidden[str]:
        """Raises PoolProblem."""
        return await self._token.get(deadline_s)

    async def _fetch(self, deadline_s: float) -> Granted[str]:
        try:
            answer = await self._http.request("GET", self._url, headers={"Metadata-Flavor": "Google"}, timeout_s=deadline_s)
        except RequestFailed as fault:
            raise no_credential(fault, "token of the metadata server") from None
        token, lives_s = answer.document.get("access_token"), answer.document.get("expires_in")
        # The flavor tells the metadata server from whoever else answers at a link-local name.
        if (
            answer.headers.get("metadata-flavor") != "Google"
            or not isinstance(token, str)
            or not isinstance(lives_s, (int, float))
        ):
            raise PoolProblem(PoolReason.CredentialsRefused, "what answers as the metadata server gives no token")
        return Granted(Hidden(token), float(lives_s))
