"""Distributions of lead times: bounded, kept over a restart, silent while they say nothing."""

from __future__ import annotations

import msgspec
import pytest

from autoscaler.adapters.kubernetes.lead_times import KEPT_OF_A_STAGE, LeadTimes
from autoscaler.core.lead_samples import KEPT, Samples
from autoscaler.core.node_facts import POD_STAGES
from autoscaler.spec import InferenceAutoscalerStatus, LeadTimeStatus, StageStatus


def test_too_few_samples_say_nothing_to_reckon_with() -> None:
    lead = LeadTimes()
    assert lead.status(POD_STAGES) is None
    for seconds in (10.0, 20.0):
        lead.add(seconds)
    assert (lead.reckoned_s(), lead.late_s()) == (None, None)
    assert [stage.samples for stage in lead.told(POD_STAGES)] == [2], "they are shown all the same"
    lead.add(30.0)
    assert lead.reckoned_s() == pytest.approx(28.0)
    assert lead.stage_late_s("model") is None


def test_the_last_ones_count() -> None:
    samples = Samples()
    for number in range(KEPT + 10):
        samples.add(number)
    assert samples.recent() == list(range(10, KEPT + 10))
    lead = LeadTimes()
    for number in range(100):
        lead.add(number)
        lead.add_stages({"image": float(number), "model": 2.0 * number})
    status = lead.status(POD_STAGES)
    assert status is not None
    assert [(stage.name, stage.samples, stage.recent[-1]) for stage in status.stages] == [
        ("image", KEPT_OF_A_STAGE, 99.0),
        ("model", KEPT_OF_A_STAGE, 198.0),
    ]
    whole = msgspec.json.encode(InferenceAutoscalerStatus(lead_time=status))
    assert len(whole) < 2000, "ten thousand objects have one"
    kept = msgspec.json.decode(whole, type=InferenceAutoscalerStatus).lead_time
    assert LeadTimes(kept).status(POD_STAGES) == status


def test_a_status_that_lies_is_taken_with_care() -> None:
    """Somebody may have edited it: more than are kept, negative, absurdly long."""
    recent = [-1.0, 1e9, float("nan"), *([50.0] * 80)]
    lead = LeadTimes(
        LeadTimeStatus(recent=recent, stages=[StageStatus(name="unheard of", recent=[1.0]), StageStatus(name="model")])
    )
    assert len(lead) == KEPT
    assert lead.reckoned_s() == 50.0
    assert [stage.name for stage in lead.told(POD_STAGES)] == ["whole"]
    assert [stage.name for stage in (lead.status(POD_STAGES) or LeadTimeStatus()).stages] == []
