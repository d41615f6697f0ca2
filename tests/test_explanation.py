"""Why this many replicas: the same words from a tick and from its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import ScalingSpec
from autoscaler.explanation import explain_record
from autoscaler.ports import Tick
from autoscaler.record import encode, fleet_record, tick_record
from tests.dashboard.watching import Kept
from tests.ticks import a_controller, a_spec


async def explained(spec: ScalingSpec, *loads: float, **changes: Any) -> tuple[Tick, dict[str, Any]]:
    """The last tick and its explanation, after one tick for each load."""
    kept = Kept()
    values = iter(loads)
    now = [0.0]
    controller, cluster, _, clock = a_controller([spec], lambda _at_s, _row: now[0], reporters=[kept], **changes)
    for number, now[0] in enumerate(values):
        clock.advance_to(15.0 * number)
        await controller.tick()
    del cluster
    assert kept.tick is not None
    assert kept.documents is not None
    return kept.tick, kept.documents[0]


async def test_the_steps_read_like_a_sum() -> None:
    _, document = await explained(a_spec(max_replicas=8), 95.0)
    assert [(step["step"], step["name"], step["before"], step["after"]) for step in document["steps"]] == [
        ("policy", "per-replica", None, 10),
        ("limit", "Bounds", 10, 8),
        ("write", "Write", 5, 8),
    ]
    assert document["planned"] == document["desired"] == 8
    assert document["written"] == "done"
    assert document["sentence"].startswith("8 replicas. per-replica: 95 in flight ÷ 10.")
    assert "maxReplicas is 8" in document["sentence"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"mode": "Shadow"}, "only noted"), ({"mode": "Recommend"}, "published")],
)
async def test_what_is_not_written_says_why(changes: dict[str, Any], words: str) -> None:
    _, document = await explained(replace(a_spec(), **changes), 95.0)
    assert words in document["steps"][-1]["words"]
    assert document["written"] == "nothing"


async def test_a_standby_says_that_it_is_one() -> None:
    _, document = await explained(a_spec(), 95.0, may_act=lambda: False)
    assert "standby" in document["steps"][-1]["words"]


async def test_unknown_is_neither_zero_nor_a_number() -> None:
    _, document = await explained(a_spec(), 50.0, float("nan"))
    (signal,) = [signal for signal in document["signals"] if signal["name"] == "concurrency"]
    assert (signal["state"], signal["value"], signal["age_s"]) == ("unknown", None, None)
    assert document["recommended"] is None
    assert document["steps"][0]["after"] is None
    assert "unknown" in document["reason"]


async def test_a_record_explains_as_its_tick_did() -> None:
    tick, document = await explained(a_spec(max_replicas=8), 95.0, 20.0)
    fleet = fleet_record(
        tick.fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold"
    )
    from_record = explain_record(orjson.loads(encode(fleet)), orjson.loads(encode(tick_record(tick))), 0)
    assert from_record == orjson.loads(orjson.dumps(document))
