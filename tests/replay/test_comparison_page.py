"""The report of a comparison: small, self-contained, and used in a real browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.model import PolicyRef
from replay.compare import Comparison, TraceSetting, compare
from replay.plugins import policy_ref
from replay.report.comparison import comparison_page
from replay.report.room import room_for
from tests.browser import Page, browser
from tests.conftest import ROOT
from tests.replay.made import manifests, noise, scenario, write

SURGE = ROOT / "replay" / "standard" / "traces" / "surge.csv"
DAY = ROOT / "replay" / "standard" / "traces" / "day.csv.gz"
POLICIES = ("reactive", "target:signal=concurrency", "fixed:replicas=30", "target:signal=utilization")
DRAWN = "document.querySelectorAll('#plots canvas').length === 6"


def made(*policies: str, traces: tuple[Path, ...] = (DAY, SURGE), **settings: str) -> Comparison:
    refs: list[PolicyRef | None] = [policy_ref(policy) for policy in policies]
    given = [TraceSetting(path=path, label=path.name.partition(".")[0], scenario=scenario(**settings)) for path in traces]
    return compare(manifests(), given, refs, room=room_for(len(traces) * len(policies), 1))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = comparison_page(made(*POLICIES, length="16h"), gated=True, missed=["gate.yaml:3: reactive on surge: too dear"])
    return write(tmp_path_factory.mktemp("report") / "compare.html", page)


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as one:
        yield one


def test_the_page_needs_nothing_else(file: Path) -> None:
    text = file.read_text()
    assert "@@" not in text
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|fetch\(|import\(""", text)
    assert text.count("</script>") == 2
    assert "the manifest asks for 30 always" in text  # what a policy said at its worst moments


def test_a_policy_s_words_cannot_break_out_of_the_page() -> None:
    page = comparison_page(
        made("fixed:replicas=30", traces=(SURGE,)), title="</title><script>alert(1)</script>", notes=["</script>"]
    )
    assert page.count("</script>") == 2
    assert "<script>alert" not in page


def test_a_year_of_ticks_stays_small(tmp_path: Path) -> None:
    """A year of an hour a tick, drawn as in a comparison of three policies on seven traces: a run's curves have the same number of points
    from a few hundred ticks on."""
    hours = 365 * 24
    rates = 1800 * (1 + 0.9 * np.sin(np.arange(hours) * 2 * np.pi / 24)) * (1 + 0.3 * noise(1, hours))
    lines = [f"{hour * 3600},{count:.0f}" for hour, count in enumerate(rates * 24)]
    trace = write(tmp_path / "year.csv", "offset_s,requests\n" + "\n".join(lines) + "\n")
    year = TraceSetting(
        path=trace,
        label="year",
        scenario=scenario(interval="1h", metrics__period="1h", metrics__window="1h", nodes__check="1h", noise="false"),
    )
    comparison = compare(manifests(), [year], [policy_ref("fixed:replicas=20")], room=room_for(21, 1))
    (row,) = comparison.rows
    assert row.score["ticks"] == hours
    assert row.pictures[0]["worst"]
    many = Comparison(rows=[row] * 21, traces=["year"])
    assert len(comparison_page(many)) < 2_000_000


async def test_it_answers_at_once_wide_and_narrow(page: Page, file: Path, tmp_path: Path) -> None:
    for width, dark in ((1280, False), (1000, False), (750, True), (400, False), (400, True)):
        await page.open(file.as_uri(), width=width, dark=dark)
        await page.until(DRAWN)
        assert page.complaints == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert "most cheaply" in await page.evaluate("document.querySelector('.verdict').textContent")
        assert "too dear" in await page.evaluate("document.getElementById('gate').textContent")
        assert await page.evaluate("document.querySelectorAll('#scores tbody tr').length") == 8
        said = await page.evaluate("document.getElementById('setting').textContent")
        assert "Promise: 99.5 % of the requests wait at most 5 s; kept, or missed by" in said
        # Each policy's worst ten minutes, with its own words.
        assert await page.evaluate("document.querySelectorAll('.worst').length") == 4
        assert "fixed: the manifest asks for 30 always" in await page.evaluate("document.getElementById('worst').textContent")
        await page.picture(tmp_path / f"{width}-{dark}.png")


async def test_the_table_is_sorted_by_the_keyboard(page: Page, file: Path) -> None:
    await page.open(file.as_uri())
    await page.until(DRAWN)
    hours = "[...document.querySelectorAll('#scores td[data-label=\"Replica hours\"]')].map(e => parseFloat(e.textContent.replace(',', '')))"
    for _ in range(5):  # Policy, Trace, Promise, Attained, Replica hours
        await page.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Replica hours"
    await page.press("Enter")
    rising = await page.evaluate(hours)
    assert rising == sorted(rising)
    await page.press("Enter")
    assert await page.evaluate(hours) == rising[::-1]
    assert await page.evaluate("document.querySelector('th[data-id=hours]').getAttribute('aria-sort')") == "descending"


async def test_plots_zoom_together_and_a_button_leads_to_the_worst(page: Page, file: Path) -> None:
    await page.open(file.as_uri())
    await page.until(DRAWN)
    ranges = "JSON.stringify([...new Set(plots.map(p => [p.scales.x.min, p.scales.x.max].join()))])"
    whole = await page.evaluate(ranges)
    # A drag over one plot, as a mouse makes it.
    await page.evaluate("plots[0].over.scrollIntoView({block: 'center'})")
    box = await page.evaluate("(r => [r.left, r.top, r.width, r.height])(plots[0].over.getBoundingClientRect())")
    x, y = box[0] + box[2] * 0.3, box[1] + box[3] / 2
    for kind, at in (("mousePressed", x), ("mouseMoved", x + box[2] * 0.2), ("mouseReleased", x + box[2] * 0.2)):
        await page.call("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=1, clickCount=1)
    await page.until(f"{ranges} !== {whole!r}")
    assert await page.evaluate("new Set(plots.map(p => [p.scales.x.min, p.scales.x.max].join())).size") == 1
    await page.evaluate("document.getElementById('all').click()")
    await page.until(f"{ranges} === {whole!r}")
    await page.evaluate("document.querySelector('.worst button').click()")
    await page.until(f"{ranges} !== {whole!r}")
    assert await page.evaluate("plots[0].scales.x.max - plots[0].scales.x.min") == pytest.approx(2400, abs=60)


async def test_another_trace_and_fewer_policies(page: Page, file: Path) -> None:
    await page.open(file.as_uri())
    await page.until(DRAWN)
    await page.evaluate(
        "{ const s = document.getElementById('trace'); s.value = 'surge'; s.dispatchEvent(new Event('change')); }"
    )
    assert "On surge" in await page.evaluate("document.getElementById('worst-note').textContent")
    lines = "plots[2].series.map(s => s.label).join()"
    assert await page.evaluate(lines) == f"UTC,{','.join(POLICIES)}"
    await page.evaluate("document.querySelectorAll('#policies input')[0].click()")
    await page.until(f"{lines} === 'UTC,{','.join(POLICIES[1:])}'")
    assert page.complaints == []


@pytest.fixture
def open_loop_file(tmp_path: Path) -> Path:
    lines = "".join(f"{15 * k},{448 if 80 <= k < 160 else 224},0.5\n" for k in range(240))
    incident = write(tmp_path / "incident.csv", "time_s,concurrency,gpu_utilization\n" + lines)
    made_of = made("target:signal=concurrency", "fixed:replicas=20", traces=(incident, SURGE))
    return write(tmp_path / "compare.html", comparison_page(made_of))


async def test_an_open_loop_shows_counts_and_what_was_recorded_and_judges_nobody(
    page: Page, open_loop_file: Path, tmp_path: Path
) -> None:
    for width, dark in ((1280, False), (400, True)):
        await page.open(open_loop_file.as_uri(), width=width, dark=dark)
        await page.until("document.querySelectorAll('#plots canvas').length === 5")  # two signals; ready, paid, nodes
        assert page.complaints == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        titles = await page.evaluate(
            "[...document.querySelectorAll('#plots figcaption')].map(e => e.firstChild.textContent.trim()).join()"
        )
        assert titles == "Ready replicas,Recorded concurrency,Recorded gpu_utilization,Paid replicas,Nodes"
        assert "incident holds no demand" in await page.evaluate("document.getElementById('worst-note').textContent")
        assert await page.evaluate("document.querySelectorAll('.worst').length") == 0
        assert await page.evaluate("document.querySelector('.verdict').className") == "verdict open"
        assert "not told" in await page.evaluate("document.querySelector('#scores tbody tr').textContent")
        await page.picture(tmp_path / f"{width}-{dark}.png")
        # A trace with a demand is beside it as ever.
        await page.evaluate(
            "{ const s = document.getElementById('trace'); s.value = 'surge'; s.dispatchEvent(new Event('change')); }"
        )
        await page.until(DRAWN)


async def test_it_prints_in_light_colours_and_as_wide_as_the_paper(page: Page, file: Path) -> None:
    await page.open(file.as_uri(), dark=True)
    await page.until(DRAWN)
    widths = "[...document.querySelectorAll('#plots .u-wrap')].map(one => one.clientWidth)"
    wide = await page.evaluate(widths)
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
    dark = await page.evaluate(ink)
    await page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert await page.evaluate(ink) == "#1c2330" != dark
    assert 500 < min(await page.evaluate(widths)) <= max(await page.evaluate(widths)) < 660
    await page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert (await page.evaluate(ink), await page.evaluate(widths)) == (dark, wide)
