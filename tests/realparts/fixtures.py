"""pytest fixtures of the test bed: `pytest_plugins = ["tests.realparts.fixtures"]`.

The control plane and Prometheus start when the first test asks for them, once per session.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

from tests.realparts.control_plane import ControlPlane
from tests.realparts.karpenter import Karpenter
from tests.realparts.processes import Process, crashes, revive
from tests.realparts.prometheus_server import PrometheusServer

_numbers = itertools.count(1)
_processes = pytest.StashKey[list[Process]]()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def control_plane(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[ControlPlane]:
    """The session's control plane, as admin."""
    async with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        request.config.stash.setdefault(_processes, []).extend(running.processes)
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prometheus(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[PrometheusServer]:
    """The session's Prometheus."""
    async with PrometheusServer(tmp_path_factory.mktemp("prometheus")) as running:
        request.config.stash.setdefault(_processes, []).append(running.process)
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_karpenter(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Karpenter]:
    """The session's Karpenter; tests ask for `karpenter`."""
    async with Karpenter(control_plane, tmp_path_factory.mktemp("karpenter")) as running:
        request.config.stash.setdefault(_processes, []).append(running.process)
        yield running
        request.config.stash[_processes].remove(running.process)


@pytest_asyncio.fixture(loop_scope="session")
async def karpenter(session_karpenter: Karpenter, namespace: str) -> AsyncIterator[Karpenter]:
    """A real Karpenter; the NodePools that the test gives its namespace are gone afterwards, with their nodes."""
    yield session_karpenter
    if not session_karpenter.process.running:
        await session_karpenter.process.start()
    session_karpenter.process.thaw()
    await session_karpenter.remove_pools(namespace)


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A namespace of the test's own, whose pods run only on nodes that were added for it; all gone afterwards."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = f"{words[:40].strip('-')}-{next(_numbers)}"
    processes = request.config.stash[_processes]
    await revive(processes)  # an earlier test may have failed between stopping and starting one
    await control_plane.create_namespace(name)
    yield name
    if crashed := crashes(processes):
        pytest.fail("\n".join(crashed))
    await revive(processes)
    await control_plane.delete_namespace(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last lines of the real parts' logs below a test that failed with them."""
    report = yield
    if report.failed and {"control_plane", "prometheus", "karpenter"} & set(getattr(item, "fixturenames", ())):
        for process in item.config.stash.get(_processes, []):
            report.sections.append((f"{process.name} ({process.log_path})", process.log_tail(15)))
    return report
