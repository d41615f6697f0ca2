from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import orjson
import pytest

from replay.open_loop import run_open_loop
from replay.plugins import policy_ref
from replay.report.page import report
from replay.report.series import bucket_times, short, thinned
from replay.report.worst import worst_spans
from replay.run import run_replay
from replay.traces.signal_series import SignalSeries
from tests.browser import browser
from tests.replay.made import manifests, noise, scenario, series, wavy, write


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


def test_a_moment_nobody_knows_hides_no_peak() -> None:
    values = np.ones(10_000)
    values[::3] = np.nan
    values[7_000] = 1e6  # 7000 is no multiple of 3
    values[:100] = np.nan
    thin = thinned(values, 100)
    assert np.nanmax(thin) == 1e6
    assert np.flatnonzero(np.isnan(thin)).tolist() == [0, 1]  # of the one bucket that is all unknown


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


@pytest.fixture
def open_loop_file(tmp_path: Path) -> Path:
    queue = np.full(240, 20.0)
    queue[100:120], queue[150:160] = 90.0, np.nan
    trace = SignalSeries(
        name="incident", start_s=0.0, step_s=15.0, signals={"queue": queue, "gpu_utilization": np.full(240, 0.5)}
    )
    records = tmp_path / "records.jsonl"
    policy = policy_ref("target:signal=queue,target=10")
    page_text = report(run_open_loop(manifests(), scenario(), trace, policy=policy, records=records), records)
    return write(tmp_path / "report.html", page_text)


async def test_an_open_loop_s_report_shows_what_was_recorded_and_decided(open_loop_file: Path) -> None:
    async with browser() as page:
        for width, dark in ((1280, False), (400, True)):
            await page.open(open_loop_file.as_uri(), width=width, dark=dark)
            await page.until("document.querySelectorAll('#plots canvas').length === 4")  # two signals, replicas and nodes
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            text = await page.evaluate("document.querySelector('main').textContent")
            assert "Open loop" in text
            assert "7 replicas more" in text
            assert "target: queue 90 at 10 a replica: 9" in text
            assert page.complaints == []


@pytest.fixture
def wavy_file(tmp_path: Path) -> Path:
    return write(
        tmp_path / "report.html",
        report(run_replay(manifests(), scenario(), wavy(), policy=policy_ref("fixed:replicas=20")), None),
    )


async def test_on_paper_the_plots_are_as_wide_as_the_paper_and_light(wavy_file: Path) -> None:
    widths = "[...document.querySelectorAll('.u-wrap')].map(one => one.clientWidth)"
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
    async with browser() as page:
        await page.open(wavy_file.as_uri(), width=1280, dark=True)
        await page.until("document.querySelectorAll('#plots canvas').length === 5")
        wide, dark = await page.evaluate(widths), await page.evaluate(ink)
        await page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert await page.evaluate(widths) == [640] * 5
        assert await page.evaluate(ink) == "#1c2330" != dark
        await page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert (await page.evaluate(widths), await page.evaluate(ink)) == (wide, dark)


@pytest.mark.parametrize("plant", ["fluid", "requests"])
def test_what_is_never_served_is_late_in_the_plots_too(plant: str) -> None:
    # Twenty minutes of twice what two replicas can do, all of it too much for them to the end.
    trace = series(np.full(20, 384.0))
    setting = scenario(plant=plant, scale__mode="Factor", replicas__initial="2", noise="false")
    result = run_replay(manifests(), setting, trace, policy=policy_ref("fixed:replicas=2"))
    late, longest = result.world.plant.waits_by_tick(0)
    assert late.sum() == pytest.approx((1 - result.score["attained_ratio"]) * result.score["requests"])
    # Who came in the last minute has waited to the end.
    assert (longest[-4:] > 0).all()
    assert longest[len(longest) // 2 :].max() > 500
