"""One key of a Secret, read when asked for; nothing of it is kept or logged here."""

from __future__ import annotations

import base64
import binascii

from autoscaler.adapters.kubernetes.api import KubeApi
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.errors import OutsideError

SECRETS = Resource(group="", version="v1", plural="secrets", kind="Secret")


class KubernetesSecrets:
    """The SecretReader port. Needs only `get` on secrets, and only on those that manifests name."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def read_secret(self, namespace: str, name: str, key: str, *, timeout_s: float) -> tuple[bytes, str]:
        secret = await self._api.request("GET", SECRETS.path(namespace, name), timeout_s=timeout_s)
        try:
            value = base64.b64decode((secret.get("data") or {})[key], validate=True)
        except KeyError:
            raise OutsideError(f"Secret {namespace}/{name} has no key '{key}'") from None
        except binascii.Error:
            raise OutsideError(f"key '{key}' of Secret {namespace}/{name} is not base64") from None
        return value, str((secret.get("metadata") or {}).get("resourceVersion") or "")
