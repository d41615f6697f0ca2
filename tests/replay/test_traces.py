from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import zstandard

from autoscaler.errors import OutsideError, UsageError
from replay.standard.make_traces import FOLDER, TRACES, counts
from replay.traces.demand import arrivals, rates_per_s, scale_factor, scaled
from replay.traces.error import TraceError
from replay.traces.portrait import portrait
from replay.traces.registry import read_trace
from replay.traces.series import bridged, gaps
from replay.traces.uses import trace_use
from tests.replay.made import scenario, series, write

GOOD = "offset_s,requests\n0,10\n10,20\n20,30\n"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst"])
def test_counts_are_read_plain_and_packed(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"small.{ending}"
    data = GOOD.encode()
    path.write_bytes(
        gzip.compress(data) if ending.endswith("gz") else zstandard.compress(data) if ending.endswith("zst") else data
    )
    found = read_trace(path)
    assert (found.name, found.bin_s, found.span_s, found.counts.tolist()) == ("small", 10.0, 30.0, [10.0, 20.0, 30.0])


def test_column_order_other_columns_line_ends_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", '\ufeffrequests,note,offset_s\r\n10,"a,b",0\r\n20,,10\r\n\r\n30,c,20\r\n')
    assert read_trace(path).counts.tolist() == [10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,count\n0,1\n", r":1: no known format \(is: 'time,count'\); known, by the first line, are\n  counts: "),
        ("", ":1: the first line is empty"),
        ("offset_s,requests\n", ":2: no bins"),
        ("offset_s,requests\n0,1\n", "at least two bins are needed; with fewer, the bin width is not known"),
        ("offset_s,requests\n0,1\n10,many\n", r":3: requests: a finite number is expected \(is: 'many'\)"),
        ("offset_s,requests\n0,1\n10,-4\n", r":3: requests: 0 or more is allowed \(is: -4\)"),
        ("offset_s,requests\n0,1\n10,1e400\n", r":3: requests: a finite number is expected \(is: '1e400'\)"),
        ("offset_s,requests\n0,1\n10,inf\n", r":3: requests: a finite number is expected \(is: 'inf'\)"),
        ("offset_s,requests\n0,1\nx,2\n", r":3: offset_s: a finite number is expected \(is: 'x'\)"),
        ("offset_s,requests\n0,1\n10,2\n10,3\n", r":4: offset_s: more than 10 .* is allowed \(is: 10\)"),
        ("offset_s,requests\n0,1\n10,2\n20,3\n35,4\n", r":5: offset_s: a multiple of the bin width 10 s .*\(is: 35\)"),
        ("offset_s,requests\n0,1\n10\n", ":3: has 1 values"),
    ],
)
def test_a_bad_trace_says_line_value_and_what_is_allowed(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TraceError, match=words) as error:
        read_trace(write(tmp_path / "bad.csv", text))
    assert error.value.exit_code == 1


def test_faults_of_the_outside_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_trace(tmp_path / "none.csv")
    for name in ("broken.csv.gz", "broken.csv.zst"):
        (tmp_path / name).write_bytes(b"not packed at all")
        with pytest.raises(TraceError, match="is not a whole"):
            read_trace(tmp_path / name)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(GOOD.encode() * 1000)[:100])
    with pytest.raises(TraceError, match="is not a whole gzip"):
        read_trace(cut)
    (tmp_path / "latin.csv").write_bytes(b"offset_s,requests\n0,\xe4\n")
    with pytest.raises(TraceError, match="not UTF-8"):
        read_trace(tmp_path / "latin.csv")
    assert OutsideError.exit_code == 3


def test_a_gap_is_missing_and_not_zero(tmp_path: Path) -> None:
    found = read_trace(write(tmp_path / "t.csv", "offset_s,requests\n0,10\n10,10\n20,10\n50,40\n60,\n70,40\n"))
    assert gaps(found) == [(30.0, 50.0), (60.0, 70.0)]
    np.testing.assert_allclose(bridged(found).counts, [10, 10, 10, 20, 30, 40, 40, 40])


def test_a_bin_is_spread_over_its_seconds_whatever_its_width() -> None:
    plain = scenario()
    assert rates_per_s(series([10, 20], 10.0), plain)[0].tolist() == [1.0] * 10 + [2.0] * 10
    half, _ = rates_per_s(series([1, 2, 3, 4], 0.5), plain)
    np.testing.assert_allclose(half, [3, 7])
    odd, _ = rates_per_s(series([3, 6], 1.5), plain)
    np.testing.assert_allclose(odd, [2, 3, 4])


def test_smoothing_is_a_centred_mean_and_at_the_edges_of_what_is_there() -> None:
    counts = np.array([60.0, 120, 180, 240, 300])
    rates, redrawn = rates_per_s(series(counts), scenario(smoothing="3m"))
    assert redrawn
    np.testing.assert_allclose(rates[::60], [1.5, 2, 3, 4, 4.5])
    with pytest.raises(UsageError, match="smoothing works on minutes"):
        rates_per_s(series(counts, 300.0), scenario(smoothing="15m"))


def test_long_bins_are_interpolated_between_their_centres() -> None:
    rates, redrawn = rates_per_s(series([600, 1200, 600], 600.0), scenario())
    assert redrawn
    assert rates[0] == rates[299] == 1.0
    assert rates[899] == pytest.approx(2.0, abs=0.01)
    assert rates[599] == pytest.approx(1.5, abs=0.01)
    assert rates[-1] == 1.0


def test_noise_is_the_stated_draw_and_only_of_what_was_smoothed() -> None:
    quiet = series(np.full(120, 600.0))
    smooth = scenario(smoothing="15m")
    rates = arrivals(quiet, scenario(smoothing="15m", noise="false"), 1.6)
    np.testing.assert_array_equal(arrivals(quiet, smooth, 1.6), np.random.default_rng(0).poisson(rates))
    np.testing.assert_array_equal(arrivals(quiet, scenario(), 1.6), arrivals(quiet, scenario(noise="false"), 1.6))


def test_the_peak_minute_needs_forty_replicas() -> None:
    rates = np.repeat(np.arange(1.0, 2001.0), 60)
    assert scale_factor(rates, scenario(), 1.6) == pytest.approx(40 * 1.6 / np.quantile(np.arange(1.0, 2001.0), 0.999))
    assert scale_factor(rates, scenario(scale__mode="Factor", scale__factor="2.5"), float("nan")) == 2.5
    with pytest.raises(UsageError, match="requestsPerSecond"):
        scale_factor(rates, scenario(), float("nan"))


@pytest.mark.parametrize(
    ("counts", "setting", "clumped"),
    [
        ([6, 9] * 60, {}, True),
        ([6, 9] * 60, {"smoothing": "15m"}, False),
        ([6, 9] * 60, {"scale__mode": "Factor", "scale__factor": "400"}, False),
        ([6.5, 9.5] * 60, {}, False),  # rates, not requests that were counted
        ([3000, 3800] * 60, {}, False),  # about what the service is for
    ],
)
def test_few_counts_that_become_many_are_told(counts: list[float], setting: dict[str, str], clumped: bool) -> None:
    assert scaled(series(counts), scenario(**setting), 1.6).clumped is clumped


def test_settings_of_one_trace(tmp_path: Path) -> None:
    assert trace_use("a/b.csv:smoothing=15m,noise=false").settings == {"smoothing": "15m", "noise": "false"}
    assert trace_use("C:odd.csv").path == Path("C:odd.csv")
    odd = write(tmp_path / "x.csv:a=b", GOOD)
    assert trace_use(str(odd)).path == odd
    with pytest.raises(UsageError, match="write PATH:KEY=VALUE"):
        trace_use("b.csv:smoothing=15m,noise")


@pytest.mark.parametrize("name", TRACES)
def test_the_made_traces_are_what_their_maker_makes(name: str) -> None:
    found = read_trace(FOLDER / name)
    offsets, made = counts(name)
    assert len(found.counts) == len(offsets)
    # numpy may draw other numbers in another version; the shape is the same.
    np.testing.assert_allclose(found.counts, made, atol=8 * np.sqrt(made.max()))
    assert (FOLDER / name).stat().st_size < 12_000


def test_a_portrait_tells_season_bursts_and_gaps() -> None:
    hours = np.arange(24 * 14)
    counts = 3600 * (10 + 5 * np.sin(hours * 2 * np.pi / 24))
    found = portrait(series(np.repeat(counts / 60, 60)))
    assert found["seasonality"]["day"] == pytest.approx(1.0, abs=1e-6)
    assert found["rate_per_s"]["max"] == pytest.approx(15.0, rel=0.01)
    drawn = np.random.default_rng(3).poisson(600, 5000).astype(float)
    drawn[100:110] = np.nan
    busy = portrait(series(drawn))
    assert busy["burstiness"]["dispersion"] == pytest.approx(1.0, abs=0.1)
    assert busy["gaps"] == [{"from_s": 6000.0, "to_s": 6600.0}]
    assert busy["seasonality"] == {"day": pytest.approx(0.0, abs=0.5), "week": None}
