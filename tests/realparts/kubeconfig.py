"""Kubeconfig files: who acts, on which API server."""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

from tests.realparts.certificates import KeyPair


def write_kubeconfig(
    path: pathlib.Path,
    *,
    server: str,
    authority: pathlib.Path,
    certificate: KeyPair | None = None,
    token: str | None = None,
    namespace: str = "default",
) -> pathlib.Path:
    """A kubeconfig that acts with a client certificate or a bearer token. All in one file: it can be moved and handed on."""
    user: dict[str, Any] = {}
    if certificate:
        user["client-certificate-data"] = _encoded(certificate.certificate)
        user["client-key-data"] = _encoded(certificate.key)
    if token:
        user["token"] = token
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": _encoded(authority)}}],
        "users": [{"name": path.stem, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": path.stem, "namespace": namespace}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2))  # JSON is YAML
    return path


def _encoded(path: pathlib.Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
