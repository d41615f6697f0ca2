"""Structure: every flaw with its path and what is allowed; defaults equal the types' own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autoscaler import spec
from autoscaler.schema import schema_of
from autoscaler.structure import Flaw, check, did_you_mean, dotted, shown

SCHEMA = schema_of(spec.InferenceAutoscalerSpec)
SMALLEST: dict[str, Any] = {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": 10}


def flaws(**fields: Any) -> dict[str, str]:
    """path → message of what is wrong with a spec that has these fields."""
    _, found = check(SCHEMA, {**SMALLEST, **fields})
    return {dotted(flaw.path): flaw.message for flaw in found}


def test_defaults_are_the_types_own() -> None:
    filled, found = check(SCHEMA, SMALLEST)
    assert not found
    assert msgspec.convert(filled, spec.InferenceAutoscalerSpec) == msgspec.convert(SMALLEST, spec.InferenceAutoscalerSpec)
    assert filled["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert "nodePool" not in filled


def test_all_flaws_are_found_at_once() -> None:
    found = flaws(
        maxReplicas="ten",
        minReplica=1,
        mode="active",
        signals={"presets": ["vllm", "vllm"], "queries": [{"signal": "queue"}], "staleAfter": 60},
        leadTime={"measured": "perhaps"},
        capacity={"requestsPerSecond": 0, "concurrency": 0},
        schedules=[{"name": "a", "start": "25:00", "notBefore": "yesterday"}, {"name": "a"}],
    )
    assert found == {
        "spec.maxReplicas".removeprefix("spec."): "a whole number is expected",
        "minReplica": "unknown field; did you mean 'minReplicas'?",
        "mode": "one of Shadow, Recommend, Active is allowed; did you mean 'Active'?",
        "signals.presets[1]": "the same as signals.presets[0]",
        "signals.queries[0].query": "needed, but left out. PromQL that gives one number (a scalar or a single series), in the signal's unit.",
        "signals.staleAfter": "a text is expected; write it in quotes",
        "leadTime.measured": "true or false is expected",
        "capacity.requestsPerSecond": "more than 0 to 1000000000 is allowed",
        "capacity.concurrency": "1 to 100000 is allowed",
        "schedules[0].start": "a time of day from 00:00 to 23:59 is expected",
        "schedules[0].notBefore": "an RFC 3339 moment is expected, such as 2026-01-31T06:00:00Z",
        "schedules[1].name": "the same as schedules[0]",
    }


def test_null_means_left_out() -> None:
    assert not flaws(nodePool=None, minReplicas=None)
    assert "scaleTargetRef" in flaws(scaleTargetRef=None)
    assert "policies[0]" in flaws(policies=[None])


@pytest.mark.parametrize("value", [True, "1", 1.5, float("nan"), float("inf"), [], {}])
def test_what_is_no_whole_number(value: Any) -> None:
    assert "minReplicas" in flaws(minReplicas=value)


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    filled, found = check(SCHEMA, {**SMALLEST, "minReplicas": 3.0})
    assert not found
    assert filled["minReplicas"] == 3
    assert type(filled["minReplicas"]) is int


def test_a_line_feed_at_the_end_is_no_duration() -> None:
    assert "leadTime.replica" in flaws(leadTime={"replica": "5s\n"})


def test_the_given_data_is_left_alone() -> None:
    given = {**SMALLEST, "objective": {}}
    filled, _ = check(SCHEMA, given)
    filled["behavior"]["scaleUp"]["policies"].clear()
    assert given == {**SMALLEST, "objective": {}}
    assert check(SCHEMA, given)[0]["behavior"]["scaleUp"]["policies"]


def test_words() -> None:
    assert dotted(("spec", "policies", 0, "params", "x")) == "spec.policies[0].params.x"
    assert did_you_mean("MAXREPLICAS", ["minReplicas", "maxReplicas"]) == "did you mean 'maxReplicas'?"
    assert did_you_mean("zzz", ["a", "b"]) == "allowed: a, b"
    assert shown(True) == "true"
    assert shown(None) == ""
    assert len(shown("x" * 1000)) <= 80
    assert Flaw(path=(), value=1, message="") == Flaw(path=(), value=1, message="")
