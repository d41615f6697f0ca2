"""Puts our CRDs into the real API server and waits until it serves them."""

from __future__ import annotations

import asyncio

from tests.conftest import ROOT
from tests.realparts.api import ApiError
from tests.realparts.control_plane import ControlPlane

CRDS = ROOT / "deploy" / "crds"
PLURALS = ("inferenceautoscalers", "acceleratorpools")
GROUP_PATH = "/apis/inference-autoscaler.io/v1alpha1"


async def install_crds(control_plane: ControlPlane) -> None:
    """Idempotent. Returns when both kinds can be listed: for a moment after taking a definition the server answers 404, then 429."""
    for plural in PLURALS:
        await control_plane.apply((CRDS / f"{plural}.yaml").read_text(encoding="utf-8"))
    async with asyncio.timeout(30):
        for plural in PLURALS:
            while True:
                try:
                    await control_plane.api.get(f"{GROUP_PATH}/{plural}")
                    break
                except ApiError as error:
                    if error.status not in (404, 429, 503):
                        raise
                    await asyncio.sleep(0.1)
