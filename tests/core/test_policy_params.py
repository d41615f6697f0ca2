"""Parameters of a policy: defaults are filled in, texts become what is declared, every fault is said in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.model import Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, PolicyType, Stateless, complete_params, stack_params


class Silent(Stateless):
    def recommend(self, observation: Observation) -> Recommendation:
        return Recommendation(replicas=np.full(len(observation), np.nan))


POLICY = PolicyType(
    name="sample",
    summary="has one parameter of each kind",
    parameters=(
        Parameter(name="ratio", kind="float", default=0.5, description="a share", unit="ratio", minimum=0, maximum=1),
        Parameter(name="count", kind="int", default=3, description="a count", minimum=0),
        Parameter(name="strict", kind="bool", default=False, description="a switch"),
        Parameter(name="way", kind="str", default="up", description="a choice", choices=("up", "down")),
        Parameter(name="file", kind="str", default=None, description="a file to read"),
        Parameter(name="signal", kind="signal", default="demand", description="a signal"),
    ),
    make=lambda params, _rng: Silent(params),
    check=lambda params: ["ratio: 0 makes no sense going down"] if params["way"] == "down" and params["ratio"] == 0 else [],
)
GIVEN: dict[str, ParamValue] = {"file": "f.csv"}


def faults(**given: ParamValue) -> list[str]:
    return complete_params(POLICY, {**GIVEN, **given})[1]


def test_what_is_not_given_has_its_default() -> None:
    completed, found = complete_params(POLICY, GIVEN)
    assert found == []
    assert completed == {"ratio": 0.5, "count": 3, "strict": False, "way": "up", "file": "f.csv", "signal": "demand"}


def test_texts_of_a_command_line_become_the_declared_kinds() -> None:
    given: dict[str, ParamValue] = {
        "ratio": "0.25",
        "count": "7",
        "strict": "TRUE",
        "way": "down",
        "file": "g.csv",
        "signal": "queue",
    }
    completed, found = complete_params(POLICY, given)
    assert found == []
    assert completed == {"ratio": 0.25, "count": 7, "strict": True, "way": "down", "file": "g.csv", "signal": "queue"}
    assert {name: type(value) for name, value in completed.items()}["count"] is int


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ratio": 1.5}, "ratio: 1.5 is not allowed; 0 to 1 ratio"),
        ({"ratio": "much"}, "ratio: 'much' is not a number"),
        ({"ratio": float("nan")}, "ratio: nan is not allowed"),
        ({"ratio": True}, "ratio: True is not a number"),
        ({"count": 2.5}, "count: 2.5 is not a whole number"),
        ({"count": -1}, "count: -1 is not allowed; 0 to ∞"),
        ({"strict": "maybe"}, "strict: 'maybe' is not allowed; true or false"),
        ({"strict": 1}, "strict: 1 is not allowed; true or false"),
        ({"way": "left"}, "way: 'left' is not allowed; one of up, down"),
        ({"signal": "rps"}, "signal: 'rps' is not allowed; one of demand, throughput"),
        ({"rato": 0.5}, "rato: not a parameter of policy 'sample'; it has ratio, count"),
        ({"way": "down", "ratio": 0}, "ratio: 0 makes no sense going down"),
    ],
)
def test_every_fault_names_the_parameter_the_value_and_what_is_allowed(given: dict[str, ParamValue], words: str) -> None:
    (fault,) = faults(**given)
    assert words in fault


def test_a_missing_one_that_has_no_default_says_what_it_is_for() -> None:
    assert complete_params(POLICY, {})[1] == ["file: policy 'sample' needs it; a file to read"]


def test_all_faults_are_told_at_once_and_the_joint_check_waits_for_them() -> None:
    assert len(faults(ratio=2, count="x", way="down")) == 2


@pytest.mark.parametrize("infinite", [float("inf"), "inf", "-inf", "1e999"])
def test_infinity_is_no_value(infinite: ParamValue) -> None:
    assert faults(ratio=infinite)
    assert faults(count=infinite)
    assert complete_params(
        replace(POLICY, parameters=(Parameter(name="x", kind="float", default=0.0, description="any"),)), {"x": infinite}
    )[1]


@pytest.mark.parametrize("huge", [1e300, 10**400, "1e19"])
def test_a_whole_number_fits_into_its_column(huge: ParamValue) -> None:
    assert faults(count=huge)


@given(
    st.dictionaries(
        st.sampled_from([*"abc", "ratio", "count", "strict", "way"]),
        st.one_of(st.text(), st.floats(), st.integers(), st.booleans()),
    )
)
def test_whatever_is_given_there_are_faults_or_values_of_the_declared_kinds(given: dict[str, ParamValue]) -> None:
    completed, found = complete_params(POLICY, {**GIVEN, **given})
    if not found:
        assert [type(completed[name]) for name in ("ratio", "count", "strict", "way")] == [float, int, bool, str]
        assert 0 <= float(completed["ratio"]) <= 1
        assert stack_params(POLICY, [completed])["count"][0] == completed["count"]


def test_stacked_rows_have_the_declared_types() -> None:
    rows = [complete_params(POLICY, {**GIVEN, "count": count})[0] for count in range(3)]
    stacked = stack_params(POLICY, rows)
    assert {name: values.dtype for name, values in stacked.items()} == {
        "ratio": np.float64,
        "count": np.int64,
        "strict": np.bool_,
        "way": object,
        "file": object,
        "signal": object,
    }
    assert stacked["count"].tolist() == [0, 1, 2]
    assert all(values.shape == (0,) for values in stack_params(POLICY, []).values())
