"""What was foretold stands beside what then came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoscaler.core.model import PolicyRef
from autoscaler.dashboard.board import Board
from tests.dashboard.world import STEP_S, Running, world_specs


def predicting() -> Running:
    first, *others = world_specs()
    return Running(Board(), (replace(first, policies=(PolicyRef(name="predictive"),)), *others))


async def test_a_forecast_stands_ahead_until_its_moment_has_come_and_beside_it_then() -> None:
    running = predicting()
    await running.tick(40)
    service = running.board.service("assistants/chat-70b")
    assert service is not None
    ahead, history = service["forecast"], service["history"]
    assert ahead["policy"] == "predictive"
    assert ahead["times_s"] == [service["at_s"] + STEP_S * number for number in range(1, 9)], "a lead time of 120 s"
    assert len(ahead["values"]) == len(ahead["quantiles"]) == 3
    foretold = ahead["values"][0][0], ahead["values"][-1][0]
    assert foretold[0] < foretold[1]
    low, high = history["columns"]["forecast_low"], history["columns"]["forecast_high"]
    assert low[:8] == [None] * 8, "nothing had been foretold for the first two minutes"
    assert None not in low[9:]
    assert all(one < other for one, other in zip(low[9:], high[9:], strict=True))
    await running.tick(1)
    now = running.board.service("assistants/chat-70b", since_s=service["at_s"])
    assert now is not None
    assert np.allclose([now["history"]["columns"][f"forecast_{edge}"][0] for edge in ("low", "high")], foretold, rtol=1e-6)


async def test_who_forecasts_nothing_has_no_band() -> None:
    running = predicting()
    await running.tick(12)
    service = running.board.service("batch/nightly-summaries")
    assert service is not None
    assert service["forecast"] is None
    assert set(service["history"]["columns"]["forecast_low"]) == {None}
