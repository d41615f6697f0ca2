from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import orjson
import pytest

from replay.plugins import policy_ref
from replay.report.page import report
from replay.report.series import bucket_times, short, thinned
from replay.report.worst import worst_spans
from replay.run import run_replay
from tests.replay.made import manifests, noise, scenario, series, wavy


def test_the_report_needs_nothing_else_and_says_why(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    result = run_replay(
        manifests(), scenario(warmup="1h"), wavy(), policy=policy_ref("target:signal=concurrency,target=30"), records=records
    )
    assert result.score["attained_ratio"] < 1
    page = report(result, records)
    assert len(page) < 500_000
    assert "@@" not in page
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|fetch\(|import\(""", page)
    assert "target: concurrency" in page  # the policy's words at the worst moments
    assert page.count("</script>") == 2


def test_a_name_cannot_break_out_of_the_page() -> None:
    evil = series(np.full(60, 600.0), name="</script><script>alert(1)</script>")
    page = report(run_replay(manifests(), scenario(), evil, policy=policy_ref("fixed:replicas=30")), None)
    assert page.count("</script>") == 2
    assert "<script>alert" not in page


def test_thinning_keeps_every_peak_and_the_order() -> None:
    values = noise(3, 100_000)
    values[77_777], values[31_000] = 9.0, -9.0
    thin = thinned(values, 700)
    times = bucket_times(np.arange(100_000.0), 700)
    assert len(thin) == len(times) == 1400
    assert (thin.max(), thin.min()) == (9.0, -9.0)
    assert (np.diff(times) > 0).all()
    assert abs(times[thin.argmax()] - 77_777) < 200
    few = np.arange(10.0)
    assert thinned(few, 700).tolist() == bucket_times(few, 700).tolist() == few.tolist()
    assert short(np.array([1.0, 0.123456, np.nan, 123456.7])) == [1, 0.1235, None, 123500]


def test_the_report_of_a_month_is_as_small_as_that_of_a_day() -> None:
    day = report(run_replay(manifests(), scenario(), wavy(1440), policy=policy_ref("fixed:replicas=20")), None)
    month = report(
        run_replay(
            manifests(),
            scenario(interval="300s", metrics__period="300s", metrics__window="300s"),
            wavy(1440 * 30),
            policy=policy_ref("fixed:replicas=20"),
        ),
        None,
    )
    assert abs(len(month) - len(day)) < 30_000


def test_the_report_of_a_year_is_small_and_keeps_its_one_bad_minute() -> None:
    minutes = 1440 * 365
    counts = np.full(minutes, 600.0)
    counts[300_000] = 6_000.0
    result = run_replay(
        manifests(),
        scenario(interval="1h", metrics__period="1h", metrics__window="1h", nodes__check="1h", scale__mode="Factor"),
        series(counts),
        policy=policy_ref("fixed:replicas=8"),
    )
    page = report(result, None)
    assert len(page) < 300_000  # the goal is 2 MB; most of it is the plots' library
    data = orjson.loads(re.search(r"const data = (\{.*\});$", page, re.MULTILINE)[1])  # type: ignore[index]
    (one,) = data["services"]
    queue = result.world.plant.queue_by_tick[0]
    assert max(one["columns"]["queue"]) == pytest.approx(queue.max(), rel=1e-3)
    assert abs(one["times_s"][int(np.argmax(one["columns"]["queue"]))] - 300_000 * 60) < 86_400
    assert one["worst"][0]["from_s"] <= 300_000 * 60 < one["worst"][0]["to_s"]


def test_the_worst_spans_are_apart_and_begin_where_the_trouble_begins() -> None:
    late = np.zeros(1000)
    late[100:110] = 5.0
    late[115] = 50.0
    late[500] = 80.0
    late[10] = 1000.0  # in the warm-up
    found = worst_spans(late, 40, 50)
    assert [(span.first, span.peak, span.late) for span in found] == [(100, 115, 100.0), (500, 500, 80.0)]
    assert worst_spans(np.zeros(100), 40, 0) == []
    assert len(worst_spans(np.ones(10), 40, 0)) == 1
