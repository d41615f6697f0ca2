"""Traces of several signals: read, refused, written and read again, and replayed open-loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.model import PolicyRef
from autoscaler.core.signals import IDLE, KNOWN, SIGNALS, UNKNOWN
from autoscaler.errors import UsageError
from replay.cli import main
from replay.open_loop import TraceMetrics, run_open_loop
from replay.traces.error import TraceError
from replay.traces.files import write_text
from replay.traces.registry import FORMATS, NO_PICKS, format_of, read_any, read_trace
from replay.traces.signal_series import SignalSeries
from tests.replay.made import manifests, scenario, write

CSV = "time_s,queue,note,gpu_utilization\n1700000000,4,x,0.5\n1700000015,,y,0.75\n1700000060,0,z,nan\n"
JSONL = (
    '{"time_s": 1700000000, "queue": 4, "gpu_utilization": 0.5, "note": "x"}\n'
    '{"time_s": 1700000015, "queue": null, "gpu_utilization": 0.75}\n\n{"time_s": 1700000060, "queue": 0}\n'
)
FORMS = {form.name: form for form in FORMATS if form.name in ("signals", "signals-jsonl")}


@pytest.mark.parametrize("text", [CSV, JSONL])
def test_gaps_stay_gaps(tmp_path: Path, text: str) -> None:
    found = read_any(write(tmp_path / "t.any", text))
    assert isinstance(found, SignalSeries)
    assert (found.start_s, found.step_s, found.span_s) == (1700000000.0, 15.0, 75.0)
    nan = np.nan
    np.testing.assert_array_equal(found.signals["queue"], [4, nan, nan, nan, 0])
    np.testing.assert_array_equal(found.signals["gpu_utilization"], [0.5, 0.75, nan, nan, nan])


def test_a_little_more_than_full_is_no_percentage(tmp_path: Path) -> None:
    found = read_any(write(tmp_path / "t.csv", "time_s,utilization,gpu_utilization\n15,1.4,1.03\n30,0,1\n"))
    assert isinstance(found, SignalSeries)
    assert (found.signals["utilization"][0], found.signals["gpu_utilization"][0]) == (1.4, 1.03)


def test_a_demand_is_read_as_counts_and_nothing_else_is(tmp_path: Path) -> None:
    found = read_trace(write(tmp_path / "t.csv", "time_s,demand,queue\n15,2,0\n30,4,0\n45,,1\n"))
    np.testing.assert_array_equal(found.counts, [30.0, 60.0, np.nan])
    assert (found.start_s, found.bin_s) == (0.0, 15.0)
    with pytest.raises(UsageError, match="holds no demand, only queue, gpu_utilization"):
        read_trace(write(tmp_path / "t.csv", CSV))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CSV + "1700000075,many,,1\n", r":5: queue: a number, 0 or more, or nothing is expected \(is: 'many'\)"),
        (CSV + "1700000075,-2,,1\n", r":5: queue: 0 or more is allowed \(is: -2\)"),
        (CSV + "1700000075,1,,40\n", r":5: gpu_utilization: 0 to 1 is allowed \(is: 40; a percentage\?\)"),
        (JSONL + '{"time_s": 1700000075, "utilization": 85}\n', r":5: utilization: .*at most 10, is allowed \(is: 85; a percen"),
        (CSV + "1700000075,inf,,1\n", r":5: queue: a number, .* \(is: 'inf'\)"),
        (CSV + ",1,,1\n", r":5: time_s: a number of seconds is expected \(is: ''\)"),
        (CSV + "1700000075,1\n", ":5: has 2 values"),
        (CSV + "1700000060,1,,1\n", r":5: time_s: more than 1700000060 \(the line above\) is allowed \(is: 1700000060\)"),
        ("time_s,queue\n0,1\n15,1\n30,1\n50,1\n", r":5: time_s: a multiple of the bin width 15 s .* \(is: 50\)"),
        ("time_s,queue\n0,1\n", "at least two moments"),
        (JSONL + "[1]\n", ":5: a JSON object is expected"),
        (JSONL + '{"time_s": "soon", "queue": 1}\n', r":5: time_s: a number of seconds is expected \(is: 'soon'\)"),
        (JSONL + '{"time_s": 1700000075, "queue": true}\n', r":5: queue: a number, .* \(is: True\)"),
    ],
)
def test_a_bad_line_says_value_and_what_is_allowed(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        read_any(write(tmp_path / "bad", text))


@st.composite
def serieses(draw: st.DrawFn) -> SignalSeries:
    length = draw(st.integers(2, 40))
    names = draw(st.lists(st.sampled_from(sorted(SIGNALS)), min_size=1, max_size=4, unique=True))
    signals = {}
    for name in names:
        most = 1.0 if SIGNALS[name].unit == "ratio" else 1e12
        value = st.floats(0, most, allow_subnormal=False) | st.just(float("nan"))
        signals[name] = np.array(draw(st.lists(value, min_size=length, max_size=length)))
    start_s = draw(st.integers(0, 2_000_000_000))
    return SignalSeries(name="t", start_s=float(start_s), step_s=draw(st.sampled_from([0.5, 1.0, 15.0, 60.0])), signals=signals)


@pytest.mark.parametrize("name", FORMS)
@given(series=serieses())
@settings(max_examples=40)
def test_signals_are_the_same_after_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, series: SignalSeries
) -> None:
    path = tmp_path_factory.mktemp("trip") / "t.txt.gz"
    form = FORMS[name]
    assert form.write_signals is not None
    assert form.signals is not None
    with write_text(path) as file:
        form.write_signals(series, file)
    assert format_of(path).name == name
    again = form.signals(path, NO_PICKS)
    assert (again.start_s, again.step_s, list(again.signals)) == (series.start_s, series.step_s, list(series.signals))
    for signal, values in series.signals.items():
        np.testing.assert_array_equal(again.signals[signal], values)


def recorded(**signals: list[float]) -> SignalSeries:
    return SignalSeries(name="made", start_s=5000.0, step_s=15.0, signals={k: np.array(v) for k, v in signals.items()})


def reading(trace: SignalSeries, name: str, at_s: float) -> tuple[float, float, int, str]:
    from replay.world import build_world, services

    specs = services(manifests())
    fleet = asyncio.run(build_world(specs, [], scenario(), np.zeros((1, 100))).cluster.observe(0.0))
    found = asyncio.run(TraceMetrics(trace, [60.0], 1000.0).read(fleet, {name: [0]}, 1000.0 + at_s, 1.0))
    column = found.signals[name]
    return float(column.values[0]), float(column.age_s[0]), int(column.state[0]), found.why(name, 0)


def test_readings_are_those_of_the_trace_until_they_are_stale() -> None:
    nan = float("nan")
    trace = recorded(queue=[1, 2, nan, nan, nan, nan, nan, 3], running=[1, 1, 1, 1, 1, 1, 1, 1], latency_s=[nan] * 8)
    assert reading(trace, "queue", 0) == (1.0, 0.0, KNOWN, "")
    assert reading(trace, "queue", 29) == (2.0, 14.0, KNOWN, "")
    assert reading(trace, "queue", 75) == (2.0, 60.0, KNOWN, "")
    value, age_s, state, why = reading(trace, "queue", 90)
    assert (np.isnan(value), age_s, state, why) == (True, 75.0, UNKNOWN, "last recorded 75 s ago")
    assert reading(trace, "queue", 105) == (3.0, 0.0, KNOWN, "")
    assert reading(trace, "concurrency", 15) == (3.0, 0.0, KNOWN, "")
    assert reading(trace, "latency_s", 15)[2:] == (UNKNOWN, "not recorded yet")


def test_a_latency_without_work_is_idle_and_not_unknown() -> None:
    nan = float("nan")
    trace = recorded(queue=[0, 0, 1], running=[0, 0, 1], latency_s=[2, nan, nan])
    assert reading(trace, "latency_s", 15)[2] == IDLE
    assert reading(trace, "queue", 15)[:3] == (0.0, 0.0, IDLE)
    assert reading(trace, "latency_s", 30)[:3] == (2.0, 30.0, KNOWN)


def test_replicas_follow_decisions_and_nothing_is_judged() -> None:
    # 22.4 in flight a replica: 224 need ten, 448 twenty, and a gap of ten minutes holds what there was.
    gap = [float("nan")] * 40
    trace = recorded(concurrency=[224.0] * 80 + [448.0] * 80 + gap + [224.0] * 80)
    result = run_open_loop(manifests(), scenario(), trace, policy=PolicyRef(name="target", params={"signal": "concurrency"}))
    desired = result.ledger.column("desired")
    assert set(desired[20:80].tolist()) == {10}
    assert set(desired[100:160].tolist()) == {20}
    assert set(desired[160:200].tolist()) == {20}
    assert desired[-1] == 10
    assert result.ledger.column("ready")[159] == 20
    score = result.score
    assert (score["open_loop"], score["attained_ratio"], score["wait_s"], score["requests"]) == (True, None, None, None)
    assert score["services"]["default/standard"]["attained_ratio"] is None
    assert score["replica_hours"] > 0
    assert score["blind_scale_downs"] == 0


def test_an_open_loop_learns_no_capacity() -> None:
    """What the recorded replicas did is none of those that follow other decisions."""
    trace = recorded(demand=[30.0] * 240, throughput=[30.0] * 240, queue=[0.0] * 240, running=[300.0] * 240)
    given, learnt = (
        run_open_loop(manifests(capacity__mode=mode), scenario(), trace, policy=PolicyRef(name="reactive"))
        for mode in ("Given", "Learnt")
    )
    assert learnt.ledger.column("desired").tolist() == given.ledger.column("desired").tolist()


def test_a_trace_that_a_policy_can_t_read_is_refused() -> None:
    with pytest.raises(UsageError, match="holds gpu_utilization, and the policies read concurrency"):
        run_open_loop(
            manifests(),
            scenario(),
            recorded(gpu_utilization=[0.5] * 20),
            policy=PolicyRef(name="target", params={"signal": "concurrency"}),
        )


def test_the_command_replays_signals_open_loop_and_verifies(tmp_path: Path) -> None:
    lines = "".join(f"{15 * k},{40 + k}\n" for k in range(240))
    path = write(tmp_path / "queue.csv", "time_s,concurrency\n" + lines)
    run = ["run", "-t", str(path), "-p", "target:signal=concurrency", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*run, "--json"])
    assert result.exit_code == 0, result.output
    score = orjson.loads(result.stdout)
    assert (score["open_loop"], score["attained_ratio"], score["evaluated_s"]) == (True, None, 3600.0)
    assert orjson.loads((tmp_path / "out" / "score.json").read_bytes()) == score
    assert "can't be told" in CliRunner().invoke(main, run).stdout
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "out")]).exit_code == 0
