"""What all tests share: where the real traffic lies, which parts are there, and a quick property-test profile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Machines are shared and noisy: no property test is judged by its time.
settings.register_profile("default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

pytest_plugins = ["tests.realparts.fixtures"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The stories in one worker, in their order, for the last one reads what all of them did; each other test wherever there is time."""
    from xdist.scheduler import LoadScopeScheduling

    class StoriesTogether(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "stories" if nodeid.startswith("tests/e2e/") else nodeid

    return StoriesTogether(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes runs where it is asked for, and is seen to be skipped elsewhere."""
    if "long" not in config.getoption("markexpr"):
        for item in items:
            if item.get_closest_marker("long") is not None:
                item.add_marker(pytest.mark.skip(reason="takes minutes; `-m long` runs it"))


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of real traffic beside the project; tests that want it are skipped, visibly, where it isn't."""
    folder = Path(os.environ.get("SHARED_TRACES", ROOT.parent / "shared" / "traces"))
    if not folder.is_dir():
        pytest.skip(f"the shared traces are not at {folder.name}/ beside the project (SHARED_TRACES names another folder)")
    return folder
