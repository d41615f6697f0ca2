"""Ranges come from the policies and the service, and what is tried can be written as it is."""

from __future__ import annotations

import pytest

from autoscaler.core.model import PolicyRef
from autoscaler.core.policy import complete_params
from autoscaler.errors import UsageError
from autoscaler.plugins import installed
from replay.tune.space import known_names
from tests.replay.made import specs
from tests.tune.made import ref, space


def test_a_target_is_searched_in_shares_of_what_a_replica_holds() -> None:
    slots, capacity = 32, 1.6
    for signal, full in (("concurrency", slots), ("demand", capacity), ("utilization", 1.0)):
        (knob,) = space(ref("target", signal=signal), kept=["target.tolerance"]).knobs
        assert (knob.low, knob.high) == pytest.approx((0.3 * full, 1.1 * full)), signal
        assert knob.log_scale


def test_a_target_of_a_signal_that_nobody_knows_is_searched_around_the_given_one() -> None:
    found = {knob.name: knob for knob in space(ref("target", signal="queue_wait_s", target=2.0)).knobs}
    assert (found["target.target"].low, found["target.target"].high) == (0.5, 8.0)


def test_fixed_is_searched_between_the_service_s_bounds() -> None:
    found = space(ref("fixed", replicas=30))
    (knob,) = found.knobs
    assert (knob.low, knob.high) == (1, 120)
    assert found.given() == found.usual() == {"fixed.replicas": 30}, "its default, the count as found, is no candidate"
    assert knob.tidy(29.7) == 30


def test_what_is_tried_has_three_digits_and_stays_inside() -> None:
    knob = next(knob for knob in space(ref("reactive")).knobs if knob.name == "reactive.z")
    assert knob.tidy(1.23456) == 1.23
    assert knob.tidy(17.0) == knob.high
    assert knob.at_an_end(4.0)
    assert not knob.at_an_end(3.99)


def test_every_shipped_policy_has_defaults_within_its_ranges_or_beside_them_for_a_reason() -> None:
    """A range without the default would search elsewhere than where the policy is known to work."""
    for policy in installed().policies.values():
        for parameter in policy.parameters:
            if parameter.search is not None and parameter.search_of == "value" and parameter.default is not None:
                low, high = parameter.search
                assert low <= float(parameter.default) <= high, f"{policy.name}.{parameter.name}"


def test_the_manifest_s_own_values_are_candidates() -> None:
    found = space(ref("reactive", z=1.5), ref("seasonal"))
    assert found.given()["reactive.z"] == 1.5
    assert found.usual()["reactive.z"] == 2.0
    assert {knob.name.partition(".")[0] for knob in found.knobs} == {"reactive", "seasonal"}
    assert space(ref("target")).given()["target.target"] == pytest.approx(22.4)


def test_values_become_policies_and_nothing_else_changes() -> None:
    found = space(ref("target", signal="demand"), ref("target", signal="concurrency"))
    assert [knob.name for knob in found.knobs] == [
        "target.0.target",
        "target.0.tolerance",
        "target.1.target",
        "target.1.tolerance",
    ]
    first, second = found.policies({**found.given(), "target.1.target": 20.0})
    assert first.params["signal"] == "demand"
    assert (second.params["signal"], second.params["target"]) == ("concurrency", 20.0)
    for one in (first, second):
        assert complete_params(installed().policies["target"], one.params)[1] == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (ref("fixed", replicas=3), "nothing to tune"),
        (ref("target", signal="prompt_tokens", target=0.0), "target must be given"),
    ],
)
def test_what_can_t_be_tuned_is_said(policy: PolicyRef, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        space(policy, kept=["fixed.replicas"])


def test_ranges_of_one_s_own() -> None:
    found = {knob.name: knob for knob in space(ref("reactive"), ranges={"reactive.wait_s": (1, 9), "reactive.z": (1, 2)}).knobs}
    assert (found["reactive.z"].low, found["reactive.z"].high) == (1, 2)
    assert found["reactive.wait_s"].high == 9, "also of a parameter that is not tuned by itself"
    with pytest.raises(UsageError, match=r"reactive\.z: 1\.\.9 can't be searched; a rising range within 0 to 6"):
        space(ref("reactive"), ranges={"reactive.z": (1, 9)})
    with pytest.raises(UsageError, match="is no number"):
        space(ref("reactive"), ranges={"reactive.basis": (1, 9)})
    with pytest.raises(UsageError, match=r"no policy here has a parameter 'reactive\.zz'.*reactive\.z"):
        known_names(specs(1, ref("reactive")), installed().policies, ["reactive.zz"])
