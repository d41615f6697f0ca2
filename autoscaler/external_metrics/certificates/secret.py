"""The Secret at the API server: read as a whole, and written only over what was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.secrets import SECRETS
from autoscaler.external_metrics.certificates.plan import Asked
from autoscaler.external_metrics.certificates.stored import KEYS, Stored, data_of, stored_in

ROTATE: Final = "inference-autoscaler.io/rotate"
"""Annotation by which an administrator asks for new certificates: ``now`` (authority and all), ``leaf`` (only what it signed). Taken off by
the write that begins it."""

_LABELS: Final = {"app.kubernetes.io/part-of": "inference-autoscaler"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """stored: None where there is no Secret. asked_wrongly: an annotation that nobody understands, in words."""

    stored: Stored | None
    asked: Asked = Asked.NOTHING
    asked_wrongly: str = ""
    item: Object | None = field(default=None, repr=False)


class CertificateSecret:
    """One Secret, by its name."""

    def __init__(self, api: KubeApi, namespace: str, name: str, timeout_s: float) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._timeout_s = timeout_s

    async def read(self) -> Read:
        """Raises ApiError, but not where there is none."""
        try:
            item = await self._api.request("GET", SECRETS.path(self._namespace, self._name), timeout_s=self._timeout_s)
        except ApiError as fault:
            if not fault.not_found:
                raise
            return Read(stored=None)
        word = str(((item.get("metadata") or {}).get("annotations") or {}).get(ROTATE, ""))
        try:
            asked, wrongly = Asked(word.strip().lower()), ""
        except ValueError:
            asked, wrongly = Asked.NOTHING, f"annotation {ROTATE} is '{word}'; allowed: now, leaf. Nothing is done"
        return Read(stored=stored_in(item.get("data") or {}), asked=asked, asked_wrongly=wrongly, item=item)

    async def write(self, over: Read, stored: Stored, *, answered: bool) -> None:
        """Raises ApiError; a conflict where somebody wrote since `over` was read: then nothing was changed. answered: the annotation that
        asked for it is taken off."""
        if over.item is None:
            meta: Object = {"name": self._name, "namespace": self._namespace, "labels": dict(_LABELS)}
            body: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data_of(stored)}
            await self._api.request("POST", SECRETS.path(self._namespace), body=body, timeout_s=self._timeout_s)
            return
        meta = dict(over.item["metadata"])
        if answered:
            meta["annotations"] = {key: value for key, value in (meta.get("annotations") or {}).items() if key != ROTATE}
        others = {key: value for key, value in (over.item.get("data") or {}).items() if key not in KEYS}
        body = {**over.item, "metadata": meta, "data": {**others, **data_of(stored)}}
        await self._api.request("PUT", SECRETS.path(self._namespace, self._name), body=body, timeout_s=self._timeout_s)
