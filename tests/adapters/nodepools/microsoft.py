"""A fake of what the AKS backend asks: Entra, the agent pool, its operations, on one port."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.adapters.nodepools.cloud_server import CloudServer, Refusal, Seen

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
POOL = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/inference/agentPools/h100"
    "?api-version=2025-10-01"
)
OPERATIONS = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ContainerService/locations/westeurope/operations/"


class Microsoft(CloudServer):
    """Orders begin an operation, which ends with `finish`."""

    def __init__(self, count: int = 2, autoscaling: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.properties: dict[str, Any] = {
            "count": count,
            "vmSize": "Standard_ND96isr_H100_v5",
            "enableAutoScaling": autoscaling is not None,
            "orchestratorVersion": "1.36.2",
            "nodeTaints": ["nvidia.com/gpu=present:NoSchedule"],
        }
        if autoscaling is not None:
            self.properties |= {"minCount": autoscaling[0], "maxCount": autoscaling[1]}
        self.etag = 1
        self.token = "eyJ.first-secret"
        self.lives_s = 3600
        self.assertion = "projected-federated-token"
        self.operation = ""
        self.error: dict[str, str] | None = None
        self.elsewhere = ""
        """Where the next operation is said to be followed, "" here."""
        self.orders: list[Any] = []

    def finish(self, error: dict[str, str] | None = None) -> None:
        self.operation, self.error = "", error
        self.etag += 1

    async def answer(self, seen: Seen) -> web.Response:
        if seen.path == "/tenant-id/oauth2/v2.0/token":
            return self._token(seen)
        if seen.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "InvalidAuthenticationToken", "The access token is expired.")
        if (seen.method, seen.path) == ("GET", POOL):
            return web.json_response(self._pool())
        if (seen.method, seen.path) == ("PUT", POOL):
            return self._order(seen)
        if seen.path.startswith(OPERATIONS):
            running = seen.path.removeprefix(OPERATIONS) == self.operation
            status = "InProgress" if running else "Failed" if self.error else "Succeeded"
            return web.json_response({"status": status} | ({"error": self.error} if self.error and not running else {}))
        raise Refusal(404, "ResourceNotFound", f"The Resource '{seen.path}' was not found.")

    def refusal(self, status: int, code: str, message: str) -> web.Response:
        return web.json_response({"error": {"code": code, "message": message}}, status=status)

    def _pool(self) -> dict[str, Any]:
        state = "Scaling" if self.operation else "Failed" if self.error else "Succeeded"
        return {"name": "h100", "properties": {**self.properties, "provisioningState": state, "eTag": f"v{self.etag}"}}

    def _order(self, seen: Seen) -> web.Response:
        if self.operation:
            raise Refusal(409, "OperationNotAllowed", "Another operation is in progress.")
        if seen.headers.get("if-match") != f"v{self.etag}":
            raise Refusal(412, "PreconditionFailed", "The eTag does not match.")
        wanted = seen.document["properties"]
        assert "provisioningState" not in wanted, "it is told only"
        self.orders.append(seen.document)
        self.properties, self.operation, self.error = wanted, f"op-{len(self.orders)}", None
        self.etag += 1
        follow = self.elsewhere or f"{self.url}{OPERATIONS}{self.operation}"
        return web.json_response(self._pool(), headers={"Azure-AsyncOperation": follow})

    def _token(self, seen: Seen) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert (form["grant_type"], form["client_id"]) == ("client_credentials", "client-id")
        assert form["scope"] == f"{self.url}/.default"
        if form["client_assertion"] != self.assertion:
            told = {
                "error": "invalid_client",
                "error_description": f"AADSTS700024: assertion {form['client_assertion']} is not valid",
            }
            return web.json_response(told, status=401)
        return web.json_response({"access_token": self.token, "expires_in": self.lives_s, "token_type": "Bearer"})
