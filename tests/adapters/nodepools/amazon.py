"""A fake of what the EKS backend asks: Security Token Service, Pod Identity agent, node group and updates; it checks every signature."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.adapters.nodepools.cloud_server import CloudServer, Refusal, Seen

GROUP = "/clusters/inference/node-groups/h100"
ROLE = "arn:aws:iam::111122223333:role/inference-autoscaler"


class Amazon(CloudServer):
    """Orders begin an update, which ends with `finish`. ends: when keys that are given out expire, RFC 3339."""

    def __init__(self, desired: int = 2, low: int = 0, high: int = 20) -> None:
        super().__init__()
        self.config = {"minSize": low, "maxSize": high, "desiredSize": desired}
        self.keys = ("ASIAEXAMPLE1", "first/secret+key", "first-session-token")
        self.ends = "2099-01-01T00:00:00Z"
        self.web_identity_token = "projected-web-identity-token"
        self.agent_token = "projected-agent-token"
        self.update = ""
        self.failed: list[dict[str, str]] = []
        self.issues: list[dict[str, str]] = []
        self.tags: dict[str, str] = {}
        self.orders: list[Any] = []

    def finish(self, *errors: dict[str, str]) -> None:
        self.update, self.failed = "", list(errors)

    async def answer(self, seen: Seen) -> web.Response:
        if (seen.method, seen.path) == ("POST", "/"):
            return self._assume_role(seen)
        if (seen.method, seen.path) == ("GET", "/v1/credentials"):
            if seen.headers.get("authorization") != self.agent_token:
                raise Refusal(401, "Unauthorized", "no such token")
            access, secret, session = self.keys
            return web.json_response(
                {"AccessKeyId": access, "SecretAccessKey": secret, "Token": session, "Expiration": self.ends}
            )
        self._check_signature(seen)
        if (seen.method, seen.path) == ("GET", GROUP):
            return web.json_response({"nodegroup": self._group()})
        if match := re.fullmatch(r"/clusters/inference/updates/([^?]+)\?nodegroupName=h100", seen.path):
            status = "InProgress" if match[1] == self.update else "Failed" if self.failed else "Successful"
            return web.json_response({"update": {"id": match[1], "status": status, "errors": self.failed}})
        if (seen.method, seen.path) == ("POST", f"{GROUP}/update-config"):
            return web.json_response({"update": {"id": self._order(seen), "status": "InProgress"}})
        raise Refusal(404, "ResourceNotFoundException", f"No node group found: {seen.path}")

    def refusal(self, status: int, code: str, message: str) -> web.Response:
        return web.json_response({"message": message}, status=status, headers={"x-amzn-ErrorType": f"{code}:http://internal/"})

    def _group(self) -> dict[str, Any]:
        return {
            "nodegroupName": "h100",
            "status": "UPDATING" if self.update else "ACTIVE",
            "scalingConfig": self.config,
            "health": {"issues": self.issues},
            "tags": self.tags,
        }

    def _order(self, seen: Seen) -> str:
        if self.update:
            raise Refusal(409, "ResourceInUseException", "Nodegroup cannot be updated as it is currently not in Active State")
        wanted = {**self.config, **seen.document["scalingConfig"]}
        if not wanted["minSize"] <= wanted["desiredSize"] <= wanted["maxSize"]:
            raise Refusal(400, "InvalidParameterException", f"desired capacity {wanted['desiredSize']} is out of bounds")
        self.orders.append(seen.document)
        self.config, self.update = wanted, f"update-{len(self.orders)}"
        return self.update

    def _assume_role(self, seen: Seen) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        assert (form["Action"], form["Version"], form["RoleArn"]) == ("AssumeRoleWithWebIdentity", "2011-06-15", ROLE)
        if form["WebIdentityToken"] != self.web_identity_token:
            text = f"<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>{form['WebIdentityToken']}</Message></Error></ErrorResponse>"
            return web.Response(status=400, text=text)
        access, secret, session = self.keys
        told = (
            f"<AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\n<SessionToken>{session}</SessionToken>"
            f"<Expiration>{self.ends}</Expiration>"
        )
        return web.Response(
            text=f"<AssumeRoleWithWebIdentityResponse><Credentials>{told}</Credentials></AssumeRoleWithWebIdentityResponse>"
        )

    def _check_signature(self, seen: Seen) -> None:
        """As AWS does, from the request that arrived; shares no code with the product."""
        access, secret, session = self.keys
        shown = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/eu-central-1/eks/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            seen.headers.get("authorization", ""),
        )
        if shown is None:
            raise Refusal(403, "IncompleteSignatureException", "Authorization header is not as expected")
        if (shown[1], seen.headers.get("x-amz-security-token")) != (access, session):
            raise Refusal(403, "ExpiredTokenException", "The security token included in the request is expired")
        assert {"host", "x-amz-date", "x-amz-security-token"} <= set(shown[3].split(";"))
        path, _, query = seen.path.partition("?")
        lines = [seen.method, path, query, *(f"{name}:{seen.headers[name]}" for name in shown[3].split(";")), "", shown[3]]
        request = "\n".join([*lines, hashlib.sha256(seen.body).hexdigest()])
        moment = seen.headers["x-amz-date"]
        text = f"AWS4-HMAC-SHA256\n{moment}\n{shown[2]}/eu-central-1/eks/aws4_request\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = ("AWS4" + secret).encode()
        for part in (shown[2], "eu-central-1", "eks", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != shown[4]:
            raise Refusal(403, "InvalidSignatureException", "The request signature we calculated does not match")
