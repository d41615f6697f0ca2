from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from replay.compare import labels
from replay.gate import Gate, GateLine, misses
from replay.parallel import WorkerError, in_order
from replay.report.comparison import verdict
from replay.report.table import OPEN_LOOP
from replay.traces.error import TraceError
from replay.traces.uses import trace_use
from tests.conftest import ROOT
from tests.replay.made import write

TRACES = ROOT / "replay" / "standard" / "traces"
SURGE, DAY = str(TRACES / "surge.csv"), str(TRACES / "day.csv.gz")
SHORT_DAY = f"{DAY}:length=4h"
USUAL = ("compare", "-t", SURGE, "-t", SHORT_DAY, "-p", "fixed:replicas=45", "-p", "reactive")


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def timeless(score: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in score.items() if key not in ("wall_s", "services")}


def test_every_policy_on_every_trace_as_run_alone_would_score_it() -> None:
    result = replay(*USUAL, "--jobs", "1", "--json")
    assert result.exit_code == 0, result.output
    document = orjson.loads(result.stdout)
    assert [(score["trace"], score["policy"]) for score in document["scores"]] == [
        ("surge", "fixed:replicas=45"),
        ("surge", "reactive"),
        ("day", "fixed:replicas=45"),
        ("day", "reactive"),
    ]
    assert document["gate"] is None
    alone = orjson.loads(replay("run", "-t", SHORT_DAY, "-p", "reactive", "--json").stdout)
    assert timeless(document["scores"][3]) == timeless(alone)


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    pages, scores = [], []
    for jobs in ("1", "2"):
        page = tmp_path / f"{jobs}.html"
        result = replay(*USUAL, "--jobs", jobs, "--json", "-o", str(page))
        assert result.exit_code == 0, result.output
        pages.append(page.read_bytes())
        scores.append([timeless(score) for score in orjson.loads(result.stdout)["scores"]])
    assert pages[0] == pages[1]
    assert scores[0] == scores[1]


def test_without_a_policy_the_manifest_s_own_is_tried() -> None:
    (score,) = orjson.loads(replay("compare", "-t", SURGE, "--json").stdout)["scores"]
    assert score["policy"] == "reactive"


def test_the_table_says_who_keeps_the_promise() -> None:
    result = replay(*USUAL)
    assert "day: 99.50% promised, 4.0 h" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("  fixed:replicas=45") and "NOT" not in line]
    assert line.split()[1:3] == ["100.000%", "kept"]


def test_a_gate_that_is_kept_and_one_that_is_not(tmp_path: Path) -> None:
    gate = write(tmp_path / "gate.yaml", "- {policy: reactive, trace: day, field: attained_ratio, min: 0.99}\n")
    kept = replay(*USUAL, "--gate", str(gate))
    assert kept.exit_code == 0, kept.output
    assert "gate: met (1 lines)" in kept.stdout
    write(
        gate,
        "# what CI asks for\n"
        "- policy: '*'\n"
        "  trace: day\n"
        "  field: attained_ratio\n"
        "  min: 0.99\n"
        "- {policy: reactive, field: replica_hours, max: 20}\n"
        "- {policy: hpa, trace: day, field: replica_hours, max: 20}\n"
        "- {policy: reactive, trace: day, field: cost_ratio, max: 2}\n"
        "- {policy: reactive, trace: day, field: wait_s.p98, max: 2}\n"
        "- {policy: reactive, trace: day, field: trace, max: 2}\n"
        "- {policy: reactive, trace: day, field: wait_s.p99, max: 5}\n",
    )
    page = tmp_path / "page.html"
    missed = replay(*USUAL, "--gate", str(gate), "--json", "-o", str(page))
    assert missed.exit_code == 1
    document = orjson.loads(missed.stdout)
    assert document["gate"]["met"] is False
    assert [(miss["line"], miss["policy"], miss["trace"]) for miss in document["gate"]["missed"]] == [
        (6, "reactive", "surge"),
        (6, "reactive", "day"),
        (7, "hpa", "day"),
        (8, "reactive", "day"),
        (9, "reactive", "day"),
        (10, "reactive", "day"),
    ]
    first = missed.stderr.splitlines()[0]
    assert first.startswith(f"{gate}:6: reactive on surge: replica_hours is ")
    assert first.endswith("at most 20 is allowed")
    assert "there is no such score" in missed.stderr
    assert "cost_ratio is not given (--optimum asks for it)" in missed.stderr
    assert "wait_s.p98 is no field of a score; did you mean 'p99'?" in missed.stderr
    assert "The gate is not met" in page.read_text()


@pytest.mark.parametrize(
    ("value", "limit", "words"),
    [
        (16.18471, 16.1847, "replica_hours is 16.18471, at most 16.1847 is allowed"),
        (1234567.25, 1234567.0, "replica_hours is 1234567.2, at most 1234567 is allowed"),
        (21.0, 20.0, "replica_hours is 21, at most 20 is allowed"),
    ],
)
def test_what_is_missed_by_little_is_told_with_the_digits_it_takes(value: float, limit: float, words: str) -> None:
    gate = Gate(file="gate.yaml", lines=[(1, GateLine(policy="reactive", field="replica_hours", max=limit))])
    (miss,) = misses(gate, [{"policy": "reactive", "trace": "day", "replica_hours": value}])
    assert miss.words == words


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- {policy: reactive, field: actions}\n", 1, "min, max or both are needed"),
        ("\n- policy: reactive\n  field: actions\n  min: 3\n  max: 2\n", 4, "must not be greater than max (2)"),
        ("- {policy: reactive, field: actions, most: 3}\n", 1, "unknown field"),
        ("- field: actions\n  max: much\n", 2, "a number is expected"),
        ("policy: reactive\n", 1, "a list of"),
        ("- [\n", 1, "not YAML"),
        ("", 1, "a list of"),
    ],
)
def test_a_gate_file_s_faults_have_their_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    gate = write(tmp_path / "gate.yaml", text)
    result = replay("compare", "-t", SURGE, "--gate", str(gate))
    assert (result.exit_code, result.stdout) == (2, "")
    assert any(f"{gate}:{line}: " in said and words in said for said in result.stderr.splitlines()), result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Missing option '-t'"),
        (["-t", "none.csv", "--jobs", "2", "-t", SURGE], 2, "none.csv: no such file"),
        (["-t", SURGE, "-p", "nothing"], 2, "policy 'nothing' is not installed"),
        (["-t", SURGE, "--gate", "none.yaml"], 2, "none.yaml: no such file"),
        (["-t", SURGE, "-t", f"{SURGE}:length=1h,warmup=2h", "--jobs", "2"], 2, "leaves nothing to score"),
        (["-t", str(ROOT / "pyproject.toml"), "-p", "reactive", "-p", "fixed:replicas=3", "--jobs", "2"], 1, "no known format"),
    ],
)
def test_what_is_wrong_is_told_also_from_other_processes(arguments: list[str], code: int, words: str) -> None:
    result = replay("compare", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


def test_the_optimum_beside_the_policies(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = replay("compare", "-t", f"{DAY}:length=1h", "-p", "fixed:replicas=20", "--optimum", "--json", "-o", str(page))
    assert result.exit_code == 0, result.output
    (found,) = orjson.loads(result.stdout)["scores"]
    optimum = found["optimum"]
    assert 0 < optimum["lower_bound_replica_hours"] <= optimum["replica_hours"] < found["replica_hours"]
    assert optimum["attained_ratio"] >= 0.995
    assert found["cost_ratio"] == pytest.approx(found["replica_hours"] / optimum["replica_hours"], rel=1e-5)
    assert found["services"]["default/standard"]["optimum"] == optimum
    bound = optimum["lower_bound_node_slot_hours"]
    assert optimum["lower_bound_replica_hours"] < bound <= optimum["node_slot_hours"] <= found["node_slot_hours"]
    assert found["node_bound_ratio"] == pytest.approx(found["node_slot_hours"] / bound, rel=1e-5)
    text = page.read_text()
    assert "Nodes ÷ bound" in text
    assert "times the optimum" in text
    drawn = orjson.loads(text.split("const data = ", 1)[1].split(";\n", 1)[0])
    (curve,) = drawn["optima"]["day"]
    assert curve["service"] == "default/standard"
    assert len(curve["ready"]) == len(drawn["grids"][curve["grid"]])
    assert 0 < min(curve["ready"]) <= max(curve["ready"]) <= 120


def test_the_optimum_stands_where_a_policy_went_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = replay("compare", "-t", SURGE, "-p", "fixed:replicas=20", "--optimum", "--json", "-o", str(page), "--jobs", "2")
    assert result.exit_code == 0, result.output
    drawn = orjson.loads(page.read_text().split("const data = ", 1)[1].split(";\n", 1)[0])
    worst = drawn["rows"][0]["services"][0]["worst"][0]
    # The surge needs more than forty; who knew it was ready for it.
    assert worst["optimum"][1] >= 35
    assert len(worst["detail"]["optimum"]) == len(worst["detail"]["times_s"])
    assert max(worst["detail"]["optimum"]) == pytest.approx(worst["optimum"][1], abs=5)


def test_the_table_shows_the_optimum_and_says_what_it_leaves_out() -> None:
    table = replay("compare", "-t", f"{DAY}:length=1h", "-p", "fixed:replicas=20", "--optimum").stdout
    assert "÷ optimum" in table.splitlines()[1]
    assert "slots ÷ bound" in table.splitlines()[1]
    assert "optimum: " in table
    assert "node slot hours (none needs less than " in table


def test_a_pool_that_is_shared_has_one_bound_for_all() -> None:
    shared = ROOT / "replay" / "standard" / "shared-pool.yaml"
    result = replay("compare", "-f", str(shared), "-t", f"{DAY}:length=20m", "-p", "fixed:replicas=4", "--optimum", "--json")
    assert result.exit_code == 0, result.output
    (found,) = orjson.loads(result.stdout)["scores"]
    assert found["node_bound_ratio"] == pytest.approx(
        found["node_slot_hours"] / found["optimum"]["lower_bound_node_slot_hours"], rel=1e-5
    )
    for one in found["services"].values():
        assert one["cost_ratio"] > 0
        assert one["node_bound_ratio"] is one["optimum"]["lower_bound_node_slot_hours"] is None
    setting = ("-t", f"{DAY}:length=20m", "--set", "scenario.plant=requests", "--set", "scenario.scale.replicas=4")
    other = replay("compare", *setting, "-p", "fixed:replicas=20", "--optimum", "--json")
    assert other.exit_code == 0, other.output
    assert "the optimum is the fluid plant's" in other.stderr


def test_signals_without_a_demand_drive_policies_open_loop_beside_what_is_simulated(tmp_path: Path) -> None:
    # 22.4 in flight a replica: 224 need ten, 448 twenty.
    path = tmp_path / "incident.csv"
    write(path, "time_s,concurrency\n" + "".join(f"{15 * k},{448 if 80 <= k < 160 else 224}\n" for k in range(240)))
    page = tmp_path / "page.html"
    gate = write(tmp_path / "gate.yaml", "- {policy: target, trace: incident, field: attained_ratio, min: 0.99}\n")
    asked = ("compare", "-t", str(path), "-t", SURGE, "-p", "target", "-p", "fixed:replicas=20")
    found = replay(*asked, "--optimum", "-o", str(page), "--gate", str(gate), "--json")
    assert found.exit_code == 1, found.output
    assert "replay: incident: holds no demand, so it has no optimum" in found.stderr
    assert "attained_ratio is not given (the trace holds no demand: open loop)" in found.stderr
    target, fixed, simulated, _ = orjson.loads(found.stdout)["scores"]
    for one in (target, fixed):
        assert (one["trace"], one["open_loop"]) == ("incident", True)
        assert [one[name] for name in ("attained_ratio", "requests", "wait_s", "optimum", "cost_ratio")] == [None] * 5
    assert target["replica_hours"] < fixed["replica_hours"] == pytest.approx(20.0, rel=0.02)
    assert target["actions"] == 2
    assert simulated["optimum"]["replica_hours"] > 0
    alone = orjson.loads(replay("run", "-t", str(path), "-p", "target", "--json").stdout)
    assert timeless(target) == timeless(alone)

    drawn = orjson.loads(page.read_text().split("const data = ", 1)[1].split(";\n", 1)[0])
    (picture,) = drawn["rows"][0]["services"]
    assert (min(picture["curves"]["ready"]), max(picture["curves"]["ready"])) == (10, 20)
    assert set(drawn["demands"][picture["recorded"]["concurrency"]]) == {224, 448}
    assert drawn["rows"][0]["services"][0]["recorded"] == drawn["rows"][1]["services"][0]["recorded"]
    assert drawn["notes"] == [f"incident was played open-loop: {OPEN_LOOP}."]
    assert "incident: open loop; readings as recorded; settings of its own: none" in drawn["made"]

    table = replay(*asked).stdout
    assert "incident: open loop, 1.0 h" in table
    assert OPEN_LOOP in table


def test_each_trace_of_a_comparison_has_a_name_of_its_own() -> None:
    def named(*texts: str) -> list[str]:
        return labels([trace_use(text) for text in texts])

    assert named("a/x.csv.gz", "b/y.csv") == ["x", "y"]
    assert named("x.csv", "x.csv:length=1h") == ["x", "x:length=1h"]
    assert named("a/x.csv", "b/x.csv", "y.csv") == ["a/x.csv", "b/x.csv", "y"]
    assert named("x.csv", "x.csv") == ["x.csv (1)", "x.csv (2)"]


def square(number: int) -> int:
    if number == 13:
        raise TraceError("file", 3, "unlucky")
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_comes_back_in_order_and_errors_keep_words_and_code(jobs: int) -> None:
    shares: list[float] = []
    assert list(in_order(square, list(range(5)), jobs, done=shares.append)) == [0, 1, 4, 9, 16]
    # Several may end at once.
    assert shares == ([0.2, 0.4, 0.6, 0.8, 1.0] if jobs == 1 else sorted(shares))
    assert shares[-1] == 1.0
    with pytest.raises(WorkerError, match="file:3: unlucky") as caught:
        list(in_order(square, [1, 13, 2], jobs))
    assert caught.value.exit_code == 1


def score(
    policy: str,
    hours: float,
    attained: float | None,
    cost: float | None = None,
    ratio: float | None = None,
    requests: float = 100.0,
) -> dict[str, Any]:
    return {
        "trace": "t",
        "policy": policy,
        "replica_hours": hours,
        "attained_ratio": attained,
        "promised_ratio": 0.995,
        "requests": requests,
        "cost": cost,
        "cost_ratio": ratio,
        "optimum": None
        if ratio is None
        else {"replica_hours": 16.0, "lower_bound_replica_hours": 15.5, "attained_ratio": 0.9951},
    }


def test_the_verdict_names_the_cheapest_that_keeps_its_promise() -> None:
    said = verdict([score("a", 10, 0.99), score("b", 20, 1.0, ratio=1.25), score("c", 22, 0.995)])
    assert said["best"] == "b"
    assert said["words"] == (
        "b keeps the promise of 99.5 % most cheaply: 20.0 replica hours, 1.25 times the optimum; next is c with 10.0% more. Not kept by a."
        " Optimum: 16.0 replica hours for 99.510% (no schedule that keeps the promise needs less than 15.5)."
    )
    # Money counts where everybody's is known: fewer replica-hours on more nodes may cost more.
    assert verdict([score("a", 10, 1.0, cost=9.0), score("b", 20, 1.0, cost=8.0)])["best"] == "b"
    assert verdict([score("a", 10, 1.0, cost=9.0), score("b", 20, 1.0)])["best"] == "a"
    assert "Nobody keeps" in verdict([score("a", 10, 0.5), score("b", 20, 0.6)])["words"]
    assert "b comes closest" in verdict([score("a", 10, 0.5), score("b", 20, 0.6)])["words"]
    assert verdict([score("a", 10, None)])["best"] == ""
    nothing = verdict([score("a", 10, 1.0, requests=0), score("b", 20, 1.0, requests=0)])
    assert nothing == {"trace": "t", "best": "", "words": "No request came, so there was no promise to keep."}


def test_the_report_says_how_it_was_made(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    settings = ("--set", "scenario.length=30m", "--jobs", "1", "-o", str(page))
    result = replay("compare", "-t", f"{SURGE}:smoothing=15m", "-p", "fixed", *settings)
    assert result.exit_code == 0, result.output
    text = page.read_text("utf-8")
    assert "; manifest manifest.yaml; scenario scenario.yaml; settings: scenario.length=30m" in text
    assert re.search(r"surge: plant fluid; recorded rates × [0-9.]+; settings of its own: smoothing=15m", text)
    assert str(tmp_path) not in text
