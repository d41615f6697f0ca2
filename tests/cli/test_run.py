"""`autoscaler run` as a process, over a fake API server: what it does before it is ready, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fakes.kube_api import FakeKubeApi, Request
from tests.realparts.ports import LOOPBACK, free_port


@asynccontextmanager
async def running(fake: FakeKubeApi, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The controller as a process that talks to the fake; nobody answers as its Prometheus."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": fake.url}}],
                "users": [{"name": "fake", "user": {"token": "t"}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "current-context": "fake",
            }
        )
    )
    command = [
        *(
            sys.executable,
            "-m",
            "autoscaler",
            "run",
            f"--kubeconfig={kubeconfig}",
            f"--prometheus=http://{LOOPBACK}:{free_port()}",
        ),
        *("--interval=1s", f"--listen={LOOPBACK}:{free_port()}", "--own-namespace=system"),
    ]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def first(fake: FakeKubeApi, wanted: Callable[[Request], bool], timeout_s: float = 30.0) -> int:
    """The place of the first request that is as wanted, once it has come."""
    async with asyncio.timeout(timeout_s):
        while True:
            for place, request in enumerate(fake.requests):
                if wanted(request):
                    return place
            await asyncio.sleep(0.02)


async def test_who_can_not_act_yet_does_not_take_the_lease(tmp_path: Path) -> None:
    async with FakeKubeApi(bookmark_s=0.2) as fake:
        fake.fail("GET", "/pods", times=3, status=500)
        async with running(fake, tmp_path) as process:
            place = await first(fake, lambda request: "leases" in request.path)
            lists = [request for request in fake.requests[:place] if request.path.endswith("/pods") and not request.is_watch]
            assert len(lists) > 3, "pods are listed first"
            await first(fake, lambda request: "leases" in request.path and request.method == "POST")
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        (lease,) = fake.store.table("leases").items.values()
        assert lease["spec"]["holderIdentity"] == "", "given back at the end"


async def test_it_can_be_told_to_stop_while_it_is_still_starting(tmp_path: Path) -> None:
    async with FakeKubeApi(bookmark_s=0.2) as fake:
        fake.fail("GET", "/pods", times=1e9, status=500)
        async with running(fake, tmp_path) as process:
            await first(fake, lambda request: request.path.endswith("/pods"))
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "there is no ~/.kube/config"),
        ({"KUBECONFIG": "ghost.yaml"}, "the kubeconfig that KUBECONFIG names is not there (ghost.yaml)"),
    ],
)
async def test_without_a_cluster_it_says_what_is_missing_and_what_to_do(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    apart = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autoscaler", "run"),
        env={**apart, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **environment},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    said = err.decode()
    assert (process.returncode, out) == (3, b""), said
    assert words in said
    assert "Give --kubeconfig FILE" in said
    assert "Traceback" not in said
