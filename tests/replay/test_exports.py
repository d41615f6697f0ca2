"""Exports of Prometheus and OpenMetrics texts: what their series stand for, how they are added up, how they are refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.errors import UsageError
from replay.traces import prometheus_json
from replay.traces.error import TraceError
from replay.traces.files import write_text
from replay.traces.picks import picks
from replay.traces.registry import FORMATS, NO_PICKS, format_of, read_any, read_trace
from replay.traces.signal_series import SignalSeries
from tests.replay.made import write
from tests.replay.test_signal_traces import serieses

FORMS = {form.name: form for form in FORMATS if form.name in ("prometheus", "openmetrics")}
NAN = float("nan")
Points: TypeAlias = list[tuple[float, str]]


def export(*series: tuple[dict[str, str], Sequence[tuple[float, str]]]) -> str:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def signals(path: Path, *metrics: str) -> SignalSeries:
    form = format_of(path)
    assert form.signals is not None
    return form.signals(path, picks(metrics))


def test_an_expression_without_a_name_is_the_demand(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", export(({}, [(100, "2"), (115, "4"), (145, "6")])))
    found = read_trace(path)
    np.testing.assert_array_equal(found.counts, [30, 60, NAN, 90])
    assert (found.start_s, found.bin_s) == (85.0, 15.0)


def test_pods_are_added_up_and_ratios_averaged(tmp_path: Path) -> None:
    pods = [({"__name__": "queue", "pod": pod}, [(0, "1"), (15, value)]) for pod, value in (("a", "2"), ("b", "NaN"), ("c", "4"))]
    busy = [({"__name__": "gpu_utilization", "pod": pod}, [(0, value), (15, "1")]) for pod, value in (("a", "0.2"), ("b", "0.4"))]
    found = read_any(write(tmp_path / "t.json", export(*pods, *busy)))
    assert isinstance(found, SignalSeries)
    np.testing.assert_array_equal(found.signals["queue"], [3, 6])
    np.testing.assert_allclose(found.signals["gpu_utilization"], [0.3, 1.0])


def test_a_counter_is_its_increase_and_a_reset_is_none_backwards(tmp_path: Path) -> None:
    counted: Points = [(0, "100"), (15, "130"), (30, "10"), (75, "90"), (90, "120")]
    for text in (
        export(({"__name__": "requests_total", "pod": "a"}, counted)),
        "# TYPE requests counter\n"
        + "".join(f'requests_total{{pod="a, }}b"}} {v} {t} # {{id="x"}} 1\n' for t, v in counted)
        + "# EOF\n",
    ):
        found = read_trace(write(tmp_path / "t.any", text))
        np.testing.assert_allclose(found.counts, [NAN, 30, 10, NAN, NAN, NAN, 30])


def test_which_series_is_meant_can_be_said(tmp_path: Path) -> None:
    dump = (
        "# TYPE vllm:num_requests_waiting gauge\n"
        'vllm:num_requests_waiting{pod="a"} 3 1700000000.1\nvllm:num_requests_waiting{pod="a"} 5 1700000015.2\n'
        'vllm:num_requests_waiting{pod="b"} 1 1700000003.9\nvllm:num_requests_waiting{pod="b"} 2 1700000018.8\n'
        "# TYPE a counter\na_total 1 1700000000\na_total 2 1700000015\n# TYPE b counter\nb_total 1 1700000000\n# EOF\n"
    )
    path = write(tmp_path / "dump.om", dump)
    with pytest.raises(TraceError, match=r"several counters \(a_total, b_total\).*--metric NAME"):
        read_trace(path)
    found = signals(path, "vllm:num_requests_waiting=queue")
    assert list(found.signals) == ["queue"]
    np.testing.assert_array_equal(found.signals["queue"], [4, 7])
    assert (found.start_s, found.step_s) == (1700000000.1, 15.0)
    with pytest.raises(TraceError, match=r"holds no nothing_total; it holds vllm:num_requests_waiting, a_total, b_total"):
        signals(path, "nothing_total")
    with pytest.raises(UsageError, match="'speed' is no signal; allowed are demand"):
        picks(["a=speed"])
    unnamed = write(tmp_path / "t.json", export(({"__name__": "temperature"}, [(0, "1"), (15, "2")])))
    with pytest.raises(TraceError, match="holds temperature, none of which is called as a signal"):
        read_any(unnamed)
    assert signals(write(tmp_path / "u.json", export(({}, [(0, "1"), (15, "2")]))), "=queue").signals.keys() == {"queue"}


def test_milliseconds_of_the_older_text_format(tmp_path: Path) -> None:
    found = read_any(write(tmp_path / "t.txt", "queue 3 1700000000000\nqueue 4 1700000015000\n"))
    assert (found.start_s, found.span_s) == (1700000000.0, 30.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"status":"error","errorType":"bad_data","error":"parse error: unclosed"}', "Prometheus answered with: parse error"),
        ('{"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}}', "instant query; a range query is needed"),
        ('{"data":{"resultType":"matrix","result":[]}}', "holds no series"),
        (export(({}, [(1, "2"), (16, "x")])), r"a number is expected in the series \{\}"),
        (export(({}, [(1, "2"), (16, "3")]))[:-20], "ends in the middle of the series"),
        ('{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"],[16]]}]}', r"\[time, \"value\"\] is expected .*\[16\]"),
        (export(({}, [(16, "2"), (1, "3")])), "times of the series .* don't rise"),
        (export(({}, [(1, "2")])), "at least two moments"),
        (export(({}, [(0, "2"), (15, "2"), (30, "2"), (50, "2")])), r"a multiple of the bin width 15 s .*\(is: 50\)"),
        ("# TYPE queue gauge\nqueue 3\n", ":2: queue: has no time"),
        ("# TYPE queue gauge\nqueue many 5\n", r":2: queue: a number is expected \(is: 'many' at '5'\)"),
        ("# TYPE queue gauge\nqueue 3 5\nwhat is this line\n", r":3: NAME\{LABELS\} VALUE TIME is expected"),
        ("# TYPE queue gauge\nqueue 3 5\n# EOF\n", "at least two samples"),
        ("# TYPE queue gauge\nqueue 3 5\nqueue 3 20\nqueue 3 20\n", r":4: time: more than 20 .* \(is: 20\)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        read_any(write(tmp_path / "bad", text))


@pytest.mark.parametrize("name", FORMS)
@given(series=serieses())
@settings(max_examples=40)
def test_an_export_is_the_same_after_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, series: SignalSeries
) -> None:
    path = tmp_path_factory.mktemp("trip") / "t.txt.zst"
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


@given(piece=st.integers(5, 200))
@settings(max_examples=60)
def test_where_the_pieces_of_a_long_line_are_cut_does_not_matter(tmp_path_factory: pytest.TempPathFactory, piece: int) -> None:
    labels = {"__name__": "queue", "pod": 'a"]] "values": [', "long": "x" * 50}
    points = [(float(15 * k), str(k)) for k in range(30)]
    text = export(
        (labels, points), ({"__name__": "other"}, points), ({**labels, "pod": "b"}, points[:10]), ({"__name__": "queue"}, [])
    )
    path = write(tmp_path_factory.mktemp("cut") / "t.json", text)
    before = prometheus_json._PIECE
    prometheus_json._PIECE = piece  # type: ignore[misc]
    try:
        found = read_any(path)
    finally:
        prometheus_json._PIECE = before  # type: ignore[misc]
    assert isinstance(found, SignalSeries)
    np.testing.assert_array_equal(found.signals["queue"], [k * (2.0 if k < 10 else 1.0) for k in range(30)])


def test_a_large_export_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """One line of 18 MB: what is kept is one series and the sums, whatever the number of series."""
    path = tmp_path / "big.json"
    points = ",".join(f'[{1700000000 + 15 * k},"{k % 97}"]' for k in range(5000))
    with path.open("w") as file:
        file.write('{"status":"success","data":{"resultType":"matrix","result":[')
        file.write(",".join(f'{{"metric":{{"__name__":"queue","pod":"{pod}"}},"values":[{points}]}}' for pod in range(200)))
        file.write("]}}")
    assert path.stat().st_size > 16 << 20
    tracemalloc.start()
    found = read_any(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, SignalSeries)
    assert found.signals["queue"][96] == 200 * 96
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "t.json",
            export(({"__name__": "DCGM_FI_DEV_GPU_UTIL", "gpu": "0"}, [(0, "1"), (15, "87")])),
            r"'gpu': '0'\} at 15: gpu_utilization: 0 to 1 is allowed \(is: 87; a percentage\?\); a range query of it ÷ 100",
        ),
        (
            "t.om",
            'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 1 0\nDCGM_FI_DEV_GPU_UTIL{gpu="0"} 87 15\n# EOF\n',
            r":2: DCGM_FI_DEV_GPU_UTIL: gpu_utilization: 0 to 1 is allowed \(is: 87; a percentage\?\); a range query of it ÷ 100",
        ),
    ],
)
def test_percentages_as_exporters_have_them_are_no_ratios(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(TraceError, match=words):
        signals(path, "DCGM_FI_DEV_GPU_UTIL=gpu_utilization")
    # What has no upper end may be any number.
    assert signals(path, "DCGM_FI_DEV_GPU_UTIL=queue").signals["queue"].tolist() == [1.0, 87.0]
