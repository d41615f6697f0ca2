"""The page in a real browser, against the running demo."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.browser import Page, browser
from tests.conftest import ROOT
from tests.dashboard.conftest import served

DRAWN = "document.querySelectorAll('.plot[data-drawn=true] canvas').length === 5"
PLOT_PIXELS = """(() => { const canvas = document.querySelector('#plot-replicas canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) colours.add(data[i] + ',' + data[i + 1] + ',' + data[i + 2]);
  return colours.size; })()"""
FOCUS = """(() => { const e = document.activeElement;
  if (e === document.body) return ['', ''];
  const ring = e.matches('input[type=radio]') ? e.nextElementSibling : e;
  return [e.id || e.name || e.dataset.do || e.textContent.trim(), getComputedStyle(ring).outlineStyle]; })()"""
COUNT = "Number(document.getElementById('why-title').textContent.match(/\\d+/))"


@asynccontextmanager
async def demo_running(*arguments: str) -> AsyncIterator[str]:
    """A demo process; gives the page's address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autoscaler", "demo", "--listen", "127.0.0.1:0", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        assert line.startswith("The page: "), line
        yield line.removeprefix("The page: ").strip()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 20)


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as one:
        yield one


async def overflow(page: Page) -> list[str]:
    """What sticks out to the right of the window."""
    found: list[str] = await page.evaluate(
        """[...document.querySelectorAll('body *')].filter(e => !e.closest('.hidden, .table-box, .skip, svg') && e.checkVisibility()
           && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '#' + e.id + '.' + e.className)"""
    )
    return found


async def test_the_page_shows_the_running_demo(page: Page) -> None:
    async with demo_running("--for", "24h", "--speed", "600") as url:
        await page.open(url)
        await page.until(DRAWN)
        assert await page.evaluate(PLOT_PIXELS) > 3
        title = await page.until("document.getElementById('why-title').textContent.match(/^Why \\d+ replicas?\\?$/)?.[0]")
        assert title.startswith("Why ")
        assert "The policy asks for" in await page.evaluate("document.getElementById('why-lead').textContent")
        assert await page.evaluate("document.querySelectorAll('#ladder li').length") >= 2
        assert await page.evaluate("document.querySelectorAll('#table tbody tr').length") == 3
        assert await page.until("document.getElementById('why-said').textContent.includes('replicas')")
        for plot in ("replicas", "demand", "queue", "objective", "gpu"):
            # Known once a first window of the metrics has passed.
            await page.until(f"document.querySelector('#plot-{plot} .canvas').getAttribute('aria-label').includes('now, from')")

        before = await page.evaluate("document.getElementById('live-words').textContent")
        await page.until(f"document.getElementById('live-words').textContent !== {before!r}")
        assert await page.evaluate("document.getElementById('live').dataset.state") == "live"

        # Nothing comes from anywhere else.
        names = await page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        assert names
        assert not [name for name in names if not name.startswith(url)]
        assert page.complaints == []


async def test_nothing_sticks_out_at_any_width_in_either_theme(page: Page) -> None:
    async with demo_running("--for", "24h", "--speed", "600") as url:
        for mobile_first in (400, 1280):
            await page.open(url, width=mobile_first)
            await page.until(DRAWN)
            await page.until("document.querySelectorAll('#table tbody tr').length === 3")
            for width in (1280, 1000, 720, 400, 320):
                for dark in (False, True):
                    await page.look(width=width, dark=dark)
                    await page.until(f"document.querySelector('#plot-replicas canvas')?.clientWidth < {width}")
                    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, dark)
                    assert await overflow(page) == [], (width, dark)
                    back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                    assert (back == "rgb(14, 18, 23)") is dark
            assert page.complaints == []


async def test_a_phone_shows_the_demo_s_buttons_on_its_first_screen_and_before_the_plots(page: Page) -> None:
    async with demo_running("--for", "24h", "--speed", "60") as url:
        await page.open(url, width=400, height=800)
        await page.until(DRAWN)
        await page.until("document.querySelectorAll('#table tbody tr').length === 3")
        await page.until("!document.getElementById('demo').hidden")
        top = "document.getElementById('{}').getBoundingClientRect().top"
        assert await page.evaluate("document.querySelector('[data-do=outage]').getBoundingClientRect().bottom < innerHeight")
        assert await page.evaluate(f"{top.format('demo')} < {top.format('service')}")
        assert "Services and traffic are simulated" in await page.evaluate("document.querySelector('footer').innerText")
        assert "Reads only" not in await page.evaluate("document.querySelector('footer').innerText")


async def test_the_page_in_a_cluster_says_that_it_only_reads(page: Page) -> None:
    async with served(ticks=8) as one:
        await page.open(one.base)
        await page.until(DRAWN)
        words = await page.evaluate("document.querySelector('footer').innerText")
        assert "Reads only what the controller decided." in words
        assert "simulated" not in words


async def test_the_keyboard_reaches_everything_in_reading_order(page: Page) -> None:
    async with demo_running("--for", "24h", "--speed", "60") as url:
        await page.open(url)
        await page.until(DRAWN)
        await page.until("document.querySelectorAll('#table tbody tr').length === 3")
        await page.until("!document.getElementById('demo').hidden")
        seen = []
        for _ in range(40):
            await page.press("Tab")
            name, outline = await page.evaluate(FOCUS)
            if not name:
                break
            seen.append(name)
            assert outline == "solid", f"no focus ring on {name}"
        words = " | ".join(seen)
        order = [
            "Skip to the service",
            "filter",
            "Service",
            "Demand/s",
            "Replicas",
            "Kept",
            "chat-70b",
            "summaries",
            "embeddings",
        ]
        order += [
            "surge",
            "surge-scope",
            "outage",
            "slow",
            "pause",
            "calm",
            "speed",
            "h100-1",
            "range",
            "What the words mean",
            "API",
        ]
        places = [next((index for index, name in enumerate(seen) if name.startswith(wanted)), -1) for wanted in order]
        assert -1 not in places, words
        assert places == sorted(places), words


async def test_a_service_is_picked_by_keyboard_and_kept_in_the_address(page: Page) -> None:
    async with demo_running("--for", "24h", "--speed", "600") as url:
        await page.open(url)
        await page.until("document.querySelectorAll('#table tbody tr').length === 3")
        await page.evaluate("document.querySelector('tr[data-key=\"search/embeddings\"] a').focus()")
        await page.press("Enter")
        await page.until("document.getElementById('crumb').textContent.startsWith('search / embeddings')")
        assert await page.evaluate("location.hash") == "#/search/embeddings"
        assert await page.evaluate("document.querySelector('[aria-current]').textContent") == "embeddingssearch"
        await page.until(DRAWN)
        await page.evaluate("void (window.beforeReload = true)")
        await page.call("Page.reload")
        await page.until(
            "!window.beforeReload && document.getElementById('crumb')?.textContent.startsWith('search / embeddings')"
        )
        await page.evaluate("document.querySelector('th[data-sort=demand] button').click()")
        await page.until("document.querySelector('th[data-sort=demand]').getAttribute('aria-sort') === 'descending'")
        await page.until("document.querySelector('#table tbody tr').dataset.key === 'assistants/chat-70b'")
        await page.evaluate(
            "document.getElementById('filter').value = 'summ'; document.getElementById('filter').dispatchEvent(new Event('input'))"
        )
        await page.until("document.querySelectorAll('#table tbody tr').length === 1")
        assert page.complaints == []


async def test_the_buttons_change_the_world(page: Page) -> None:
    async with demo_running("--for", "24h", "--speed", "20") as url:
        # This one has no policy that remembers earlier days: without metrics it is blind.
        await page.open(f"{url}#/batch/summaries")
        await page.until(DRAWN)
        await page.evaluate("document.querySelector('[data-do=outage]').click()")
        await page.until("document.getElementById('demo-said').textContent.startsWith('No metrics')")
        await page.until("document.querySelector('#signals [data-state=unknown]') !== null")
        await page.until("document.getElementById('why-lead').textContent.includes('held')")
        await page.evaluate("document.querySelector('[data-do=calm]').click()")
        await page.evaluate("document.querySelector('input[name=speed][value=\"300\"]').click()")
        await page.until("document.querySelector('#signals [data-state=unknown]') === null")
        await page.evaluate("document.querySelector('[data-do=pause]').click()")
        await page.until("document.querySelector('[data-do=pause]').getAttribute('aria-pressed') === 'true'")
        await page.until("document.getElementById('notices').textContent.includes('paused')")
        await page.evaluate("document.querySelector('[data-factor=\"5\"]').click()")
        await page.until("document.getElementById('why-lead').textContent.includes('a pause makes it')")
        before = await page.evaluate(COUNT)
        await page.evaluate("document.querySelector('[data-do=pause]').click()")
        await page.until(f"{COUNT} > {before}")
        await page.evaluate("document.querySelector('input[name=speed][value=\"0\"]').click()")
        await page.until("document.getElementById('live-words').textContent.includes('time stopped')")
        assert page.complaints == []


async def test_a_lost_connection_is_said_and_comes_back(page: Page) -> None:
    async with served(ticks=8) as first:
        port = int(first.base.rpartition(":")[2])
        await page.open(first.base)
        await page.until(DRAWN)
        assert await page.evaluate("document.getElementById('demo').hidden")
        assert await page.evaluate("document.getElementById('lost').hidden")
    await page.until("document.getElementById('lost').textContent.startsWith('Connection lost')")
    assert await page.evaluate("document.getElementById('live').dataset.state") == "lost"
    from autoscaler.dashboard.server import make_app, serve

    await first.running.tick(3)
    async with serve(make_app(first.board), "127.0.0.1", port):
        await page.until("document.getElementById('lost').hidden")
        await page.until("document.getElementById('live-words').textContent.includes('tick 11')")


async def test_before_the_first_tick_and_without_services(page: Page) -> None:
    async with served(ticks=0) as one:
        await page.open(one.base)
        await page.until("document.getElementById('live-words').textContent === 'Live, waiting for the first tick'")
        assert await page.evaluate("document.querySelectorAll('.plot .empty:not([hidden])').length") == 5
        await one.running.tick(3)
        await page.until(DRAWN)
        assert page.complaints == []


async def test_a_service_in_the_address_before_the_first_tick(page: Page) -> None:
    async with served(ticks=0) as one:
        await page.open(f"{one.base}/#/search/embeddings")
        await page.until("document.getElementById('live-words').textContent === 'Live, waiting for the first tick'")
        await one.running.tick(3)
        await page.until(DRAWN)
        assert (await page.evaluate("document.getElementById('crumb').textContent")).startswith("search / embeddings")
        await page.until("document.querySelector('[aria-current]')?.textContent === 'embeddingssearch'")
        assert page.complaints == []


async def test_many_services_scroll_in_their_own_box(page: Page) -> None:
    async with served(services=450) as one:
        await page.open(one.base)
        await page.until(DRAWN)
        await page.until("document.querySelectorAll('#table tbody tr').length === 200")
        assert await page.evaluate("document.documentElement.scrollHeight") < 2500
        await page.evaluate("document.getElementById('more').click()")
        await page.until("document.querySelectorAll('#table tbody tr').length === 400")
        await page.evaluate("document.getElementById('more').click()")
        await page.until("document.querySelectorAll('#table tbody tr').length === 450")
        assert await page.evaluate("document.getElementById('more').hidden")
        assert page.complaints == []


async def test_cursors_are_linked(page: Page) -> None:
    async with served(ticks=40) as one:
        await page.open(one.base, height=1800)
        await page.until(DRAWN)
        x, y = await page.evaluate(
            "(() => { const box = document.querySelector('#plot-replicas .u-over').getBoundingClientRect();"
            " return [box.left + box.width / 2, box.top + 50]; })()"
        )
        await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        await page.until("document.getElementById('plots-at').textContent.startsWith('at ')")
        lines = "[...document.querySelectorAll('.u-cursor-x')].filter(line => !line.classList.contains('u-off')).length"
        await page.until(f"{lines} === 5")


async def test_addresses_of_services_that_are_not_there(page: Page) -> None:
    async with served(ticks=8) as one:
        await page.open(f"{one.base}/#/team/ghost")
        await page.until(DRAWN)
        assert "there is no service team/ghost" in await page.evaluate("document.getElementById('notices').textContent")
        assert await page.evaluate("document.querySelector('[aria-current]') !== null")
        await page.open(f"{one.base}/#/%/%")
        await page.until(DRAWN)
        assert not [words for words in page.complaints if "exception" in words]
        await page.press("Tab")
        await page.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "service"


async def test_the_end_is_told(page: Page) -> None:
    async with demo_running("--for", "30m", "--speed", "600") as url:
        await page.open(url)
        await page.until("!document.getElementById('ended').hidden")
        assert "of all requests waited no longer than promised" in await page.evaluate(
            "document.getElementById('ended-words').textContent"
        )
        assert await page.evaluate("document.getElementById('lost').hidden")
        assert await page.evaluate("document.getElementById('demo').hidden")
