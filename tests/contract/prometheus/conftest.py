"""One server fixture, two servers: the fake, and the real Prometheus where its program is."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import pytest_asyncio

from tests.fakes.prometheus import FakePrometheus
from tests.realparts.prometheus_server import PrometheusServer

_numbers = itertools.count(1)


class Writable(Protocol):
    url: str

    async def write(self, series: Any) -> None: ...


@dataclass
class Server:
    """A Prometheus to be judged, a namespace of the test's own in it, and the moment at which it is asked."""

    prometheus: Writable
    namespace: str
    now_s: float

    @property
    def url(self) -> str:
        return self.prometheus.url

    async def write(self, *written: Any) -> None:
        await self.prometheus.write([one for series in written for one in series])

    def where(self, pod: str = "a", **labels: Any) -> dict[str, Any]:
        return {"pod": pod, "namespace": self.namespace, "at_s": self.now_s - 2, **labels}


def _server(prometheus: Writable) -> Server:
    return Server(prometheus, f"contract-{os.getpid()}-{next(_numbers)}", float(int(time.time())))


@pytest_asyncio.fixture(loop_scope="session")
async def fake_server() -> AsyncIterator[Server]:
    async with FakePrometheus() as fake:
        yield _server(fake)


@pytest_asyncio.fixture(loop_scope="session")
async def real_server(prometheus: PrometheusServer) -> Server:
    return _server(prometheus)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.realparts)])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found
