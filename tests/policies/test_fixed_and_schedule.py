"""fixed and schedule: constants and given plans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.policy import complete_params, stack_params
from policies import fixed, schedule
from tests.policies.observations import START_S, Services


def test_fixed_is_always_the_same() -> None:
    services = Services(fixed.POLICY, [{"replicas": 3}, {"replicas": 0}])
    assert services.see().replicas.tolist() == services.see().replicas.tolist() == [3, 0]
    assert services.see().why(0) == "the manifest asks for 3 always"


def test_without_a_count_what_is_found_stays() -> None:
    services = Services(fixed.POLICY, [{}, {"replicas": 4}, {}])
    seen = services.see(current=[3, 7, 0])
    assert seen.replicas.tolist() == [3, 4, 0]
    assert seen.why(0) == "the manifest gives no count: the 3 found stay"
    assert seen.why(1) == "the manifest asks for 4 always"
    # Whoever else moves the count has the last word: nothing is remembered.
    assert services.see(current=[5, 7, 0]).replicas.tolist() == [5, 4, 0]
    services.policy.rearrange(np.array([1, 0]), stack_params(fixed.POLICY, [{"replicas": 4}, {"replicas": -1}]))
    services.forget_signals(2)
    assert services.see(current=[7, 6]).replicas.tolist() == [4, 6]


def test_fixed_takes_no_other_count_below_zero() -> None:
    assert complete_params(fixed.POLICY, {"replicas": -2})[1] == ["replicas: -2 is not allowed; -1 to 100000 replicas"]


@pytest.fixture
def plan(tmp_path: Path) -> str:
    file = tmp_path / "plan.csv"
    file.write_text("at_s,replicas\n30,3\n60,5\n\n90,2\n")
    return str(file)


def counts(services: Services, ticks: int) -> list[float | None]:
    seen = [float(services.see().replicas[0]) for _ in range(ticks)]
    return [None if count != count else count for count in seen]


def test_a_schedule_counts_from_the_first_tick_and_its_last_line_stays(plan: str) -> None:
    services = Services(schedule.POLICY, [{"file": plan}])
    assert counts(services, 9) == [None, None, 3, 3, 5, 5, 2, 2, 2]
    assert services.see().why(0) == f"{plan} plans 2 from 90 s on (it is 135 s)"


def test_before_its_first_line_it_cannot_tell(plan: str) -> None:
    assert Services(schedule.POLICY, [{"file": plan}]).see().why(0) == f"{plan} begins at 30 s, and it is 0 s: no count yet"


def test_a_schedule_may_have_a_given_start(plan: str) -> None:
    assert counts(Services(schedule.POLICY, [{"file": plan, "start_s": START_S - 60}]), 3) == [5, 5, 2]


def test_on_a_pool_nodes_for_the_next_count_are_asked_for_while_they_come(tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("at_s,replicas\n0,2\n60,9\n75,4\n")
    services = Services(schedule.POLICY, [{"file": str(file)}] * 3)
    asked = [services.see(pooled=[True, True, False], node_lead_time_s=[45.0, 0.0, 45.0]) for _ in range(6)]
    assert all(answer.headroom is not None for answer in asked)
    room = np.array([answer.headroom for answer in asked])
    assert room.T.tolist() == [[0, 7, 7, 7, 0, 0], [0] * 6, [0] * 6]
    assert [answer.replicas[0] for answer in asked] == [2, 2, 2, 2, 9, 4]
    assert services.see().headroom is None


def test_the_file_is_read_once(plan: str) -> None:
    services = Services(schedule.POLICY, [{"file": plan}])
    Path(plan).write_text("at_s,replicas\n0,99\n")
    assert counts(services, 3) == [None, None, 3]


def test_a_runs_own_schedule_is_taken_by_its_desired_column(tmp_path: Path) -> None:
    file = tmp_path / "schedule.csv"
    file.write_text("at_s,desired,ready,starting,draining,nodes\n0,7,10,0,0,2\n15,8,7,1,3,2\n")
    assert counts(Services(schedule.POLICY, [{"file": str(file)}]), 2) == [7, 8]


def test_a_service_that_comes_later_starts_its_own_clock(plan: str) -> None:
    services = Services(schedule.POLICY, [{"file": plan}])
    counts(services, 5)
    params, _ = complete_params(schedule.POLICY, {"file": plan})
    services.policy.rearrange(np.array([-1, 0]), stack_params(schedule.POLICY, [params, params]))
    services.forget_signals(2)
    assert [services.see().replicas.tolist()[1] for _ in range(2)] == [5, 2]
    assert services.see().replicas.tolist() == [3, 2]


def test_its_start_survives_a_restart(plan: str) -> None:
    services, again = Services(schedule.POLICY, [{"file": plan}]), Services(schedule.POLICY, [{"file": plan}])
    counts(services, 4)
    again.policy.load(json.loads(json.dumps(services.policy.save())))
    again.at_s = services.at_s
    assert counts(again, 3) == [5, 5, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: the first line names the columns"),
        ("seconds,replicas\n0,1\n", ":1: the first line names the columns"),
        ("at_s,count\n0,1\n", ":1: the first line names the columns: 'at_s' and one of replicas or desired"),
        ("at_s,replicas\n", "has no counts below its first line"),
        ("at_s,replicas\n0,1\n15,many\n", ":3: 'many' is not a whole number of replicas, 0 or more"),
        ("at_s,replicas\n0,1.5\n", ":2: '1.5' is not a whole number"),
        ("at_s,replicas\n0,-1\n", ":2: '-1' is not a whole number"),
        ("at_s,replicas\n0,inf\n", ":2: 'inf' is not a whole number"),
        ("at_s,replicas\nsoon,1\n", ":2: at_s: 'soon' is not a number of seconds"),
        ("at_s,replicas\n0,1\n0,2\n", ":3: at_s: 0 does not come after 0 above it"),
        ("at_s,replicas\n0\n", ":2: has 1 cells"),
    ],
)
def test_each_fault_of_a_file_has_its_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    faults = complete_params(schedule.POLICY, {"file": str(file)})[1]
    assert faults
    assert words in faults[0]
    assert faults[0].startswith(f"file: {file}")


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    (fault,) = complete_params(schedule.POLICY, {"file": str(tmp_path / "none.csv")})[1]
    assert fault.endswith("none.csv: can't be read: No such file or directory")
    with pytest.raises(ValueError, match="can't be read"):
        schedule.POLICY.make({"file": np.array(["none.csv"], dtype=object), "start_s": np.zeros(1)}, np.random.default_rng(0))


def test_a_hopeless_file_is_not_recited(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("at_s,replicas\n" + "x,y\n" * 1000)
    assert len(complete_params(schedule.POLICY, {"file": str(file)})[1]) == 5
