"""AWS' temporary keys for a pod: by IAM roles for service accounts (web identity), or from the EKS Pod Identity agent.

The variables are set by EKS. Source: docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html,
docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html, docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from autoscaler.adapters.nodepools.token import Granted, Renewed, no_credential, read_token_file
from autoscaler.errors import RequestFailed
from autoscaler.hidden import Hidden
from autoscaler.ports import Clock

AGENTS: Final = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "127.0.0.1", "::1", "localhost")
"""Where a token may be shown over plain HTTP (the SDKs' own list)."""


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Temporary keys. session: the token that goes with them; "" for keys without one."""

    access_key: str
    secret_key: Hidden[str]
    session: Hidden[str]


def sts_url(region: str) -> str:
    """The regional endpoint of the Security Token Service."""
    return f"https://sts.{region}.{dns_suffix(region)}/"


def dns_suffix(region: str) -> str:
    """Of AWS' partitions: China has its own."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


class AwsIdentity:
    """Who this pod is to AWS. sts: where the role is assumed."""

    def __init__(self, http: JsonHttp, clock: Clock, sts: str, environment: Mapping[str, str] = os.environ) -> None:
        self._http = http
        self._clock = clock
        self._sts = sts
        self._environment = environment
        self._keys = Renewed(self._fetch, clock)
        self.refused = self._keys.refused

    async def get(self, deadline_s: float) -> Hidden[AwsKeys]:
        """Raises PoolProblem."""
        return await self._keys.get(deadline_s)

    async def _fetch(self, deadline_s: float) -> Granted[AwsKeys]:
        try:
            if self._environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and self._environment.get("AWS_ROLE_ARN"):
                return await self._web_identity(deadline_s)
            if self._environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
                return await self._pod_identity(deadline_s)
        except RequestFailed as fault:
            raise no_credential(fault, "keys of AWS") from None
        raise PoolProblem(
            PoolReason.CredentialsRefused,
            "this pod has no identity at AWS: neither AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (IAM roles for service accounts) nor "
            "AWS_CONTAINER_CREDENTIALS_FULL_URI (EKS Pod Identity) is set",
        )

    async def _web_identity(self, deadline_s: float) -> Granted[AwsKeys]:
        token = await read_token_file(self._environment["AWS_WEB_IDENTITY_TOKEN_FILE"], "AWS web identity")
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._environment["AWS_ROLE_ARN"],
            "RoleSessionName": self._environment.get("AWS_ROLE_SESSION_NAME", "inference-autoscaler"),
            "WebIdentityToken": token.reveal(),
        }
        answer = await self._http.request(
            "POST",
            self._sts,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
            secrets=(token,),
            plain=True,
            timeout_s=deadline_s,
        )
        # Four elements of a flat list, of AWS' own over TLS: no XML parser is needed for them.
        found = re.findall(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>\s*([^<\s]+)\s*</", answer.text)
        return self._granted({("Token" if name == "SessionToken" else name): value for name, value in found})

    async def _pod_identity(self, deadline_s: float) -> Granted[AwsKeys]:
        url = self._environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        parts = urlsplit(url)
        if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in AGENTS):
            raise PoolProblem(
                PoolReason.CredentialsRefused, f"no token is shown to {parts.scheme}://{parts.hostname}: no agent's address"
            )
        headers, secrets = {}, []
        if file := self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = await read_token_file(file, "EKS Pod Identity")
            headers["Authorization"] = token.reveal()
            secrets.append(token)
        answer = await self._http.request("GET", url, headers=headers, secrets=secrets, timeout_s=deadline_s)
        return self._granted(answer.document)

    def _granted(self, told: Mapping[str, Any]) -> Granted[AwsKeys]:
        names = ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
        missing = [name for name in names if not isinstance(told.get(name), str)]
        try:
            if missing:
                raise ValueError
            ends_s = datetime.fromisoformat(told["Expiration"].replace("Z", "+00:00")).timestamp()
        except ValueError:
            raise PoolProblem(
                PoolReason.CredentialsRefused, f"the answer holds no keys ({', '.join(missing) or 'Expiration'})"
            ) from None
        keys = AwsKeys(told["AccessKeyId"], Hidden(told["SecretAccessKey"]), Hidden(told["Token"]))
        return Granted(Hidden(keys), max(0.0, ends_s - self._clock.now_s()))
