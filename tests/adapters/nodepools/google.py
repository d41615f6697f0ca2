"""A fake of what the GKE backend asks: metadata server, node pool, operations, instance groups, on one port."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from tests.adapters.nodepools.cloud_server import CloudServer, Refusal, Seen

POOL = "/v1/projects/example-project/locations/europe-west4/clusters/inference/nodePools/h100"


class Google(CloudServer):
    """zones: size asked for by zone. Orders begin an operation, which ends with `finish`."""

    def __init__(self, zones: dict[str, int], autoscaling: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.zones = zones
        self.autoscaling = autoscaling or {}
        self.token = "ya29.first-secret"
        self.lives_s = 3600
        self.operation = ""
        self.error: dict[str, Any] | None = None
        self.short: dict[str, str] = {}
        """Zone -> error code: instances there are being created and can't."""
        self.orders: list[Any] = []

    def finish(self, error: dict[str, Any] | None = None) -> None:
        self.operation, self.error = "", error

    async def answer(self, seen: Seen) -> web.Response:
        if seen.path == "/computeMetadata/v1/instance/service-accounts/default/token":
            assert seen.headers["metadata-flavor"] == "Google"
            granted = {"access_token": self.token, "expires_in": self.lives_s, "token_type": "Bearer"}
            return web.json_response(granted, headers={"Metadata-Flavor": "Google"})
        if seen.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if (seen.method, seen.path) == ("GET", POOL):
            return web.json_response(self._pool())
        if seen.method == "GET" and seen.path.startswith("/v1/projects/example-project/locations/europe-west4/operations/"):
            name = seen.path.rpartition("/")[2]
            told: dict[str, Any] = {"name": name, "status": "RUNNING" if name == self.operation else "DONE"}
            return web.json_response(told | ({"error": self.error} if self.error and name != self.operation else {}))
        if match := re.fullmatch(r"/compute/v1/projects/example-project/zones/([^/]+)/instanceGroupManagers/gke-h100", seen.path):
            creating = 1 if match[1] in self.short else 0
            return web.json_response({"targetSize": self.zones[match[1]], "currentActions": {"creating": creating, "none": 0}})
        if match := re.fullmatch(r"/compute/v1/.*/zones/([^/]+)/instanceGroupManagers/gke-h100/listErrors\?(.*)", seen.path):
            assert match[2] == "maxResults=1&orderBy=creationTimestamp%20desc"
            return web.json_response(
                {"items": [{"error": {"code": self.short[match[1]], "message": "no machines in this zone"}}]}
            )
        if (seen.method, seen.path) in (("POST", f"{POOL}:setSize"), ("POST", f"{POOL}:setAutoscaling")):
            return web.json_response(self._order(seen))
        raise Refusal(404, "NOT_FOUND", f"Not found: {seen.path}")

    def refusal(self, status: int, code: str, message: str) -> web.Response:
        return web.json_response({"error": {"code": status, "status": code, "message": message}}, status=status)

    def _pool(self) -> dict[str, Any]:
        base = "https://www.googleapis.com/compute/v1/projects/example-project/zones"
        return {
            "name": "h100",
            "initialNodeCount": 1,
            "status": "RECONCILING" if self.operation else "RUNNING",
            "locations": list(self.zones),
            "instanceGroupUrls": [f"{base}/{zone}/instanceGroupManagers/gke-h100" for zone in self.zones],
            "autoscaling": self.autoscaling,
        }

    def _order(self, seen: Seen) -> dict[str, Any]:
        if self.operation:
            raise Refusal(400, "FAILED_PRECONDITION", "Cluster is running incompatible operation operation-1.")
        self.orders.append(seen.document)
        if "autoscaling" in seen.document:
            self.autoscaling = seen.document["autoscaling"]
        else:
            self.zones = dict.fromkeys(self.zones, seen.document["nodeCount"])
        self.operation = f"operation-{len(self.orders)}"
        return {"name": self.operation, "status": "RUNNING"}
