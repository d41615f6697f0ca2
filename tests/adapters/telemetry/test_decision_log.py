"""Each write and each loss of sight is a line that carries the object's name."""

from __future__ import annotations

import logging
import math

import orjson
import pytest

from autoscaler.adapters.telemetry.decision_log import MOST_LINES, DecisionLog
from autoscaler.adapters.telemetry.log import JsonFormatter
from tests.ticks import a_controller, a_spec


async def test_writes_and_blindness_are_told_once_with_the_object(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = DecisionLog()
    controller, _, _, clock = a_controller([a_spec()], lambda at_s, _row: 72.0 if at_s < 20 or at_s > 50 else math.nan)
    for _ in range(6):
        await told.report(await controller.tick())
        clock.advance_to(clock.now_s() + 15)
    lines = [orjson.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "autoscaler.decisions"]
    assert [line["object"] for line in lines] == ["team/llama"] * 3
    assert "scaled from 5 to 8: per-replica: 72 in flight" in lines[0]["message"]
    assert "holding 8" in lines[1]["message"]
    assert lines[2]["message"] == "sees again"


async def test_a_tick_that_changes_everything_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    controller, _, _, _ = a_controller([a_spec(f"s{row}") for row in range(MOST_LINES + 50)], lambda _at_s, _row: 72.0)
    await DecisionLog().report(await controller.tick())
    lines = [record.getMessage() for record in caplog.records if record.name == "autoscaler.decisions"]
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].startswith("50 more objects")
