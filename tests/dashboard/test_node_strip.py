"""The pools' nodes one by one: what the API says of them, and how the page shows it in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from autoscaler.dashboard.node_strip import MOST_POOLS, shares
from autoscaler.ports import PoolTold
from tests.browser import Page, browser
from tests.dashboard.conftest import served
from tests.dashboard.test_page import DRAWN, overflow
from tests.dashboard.world import START_S, STEP_S, many_nodes, nodes_in_every_state

SHORT = PoolTold(
    asked=7,
    ready=2,
    owner="",
    ok=False,
    reason="NoCapacity",
    message="the provider has no more p5.48xlarge in eu-central-1a",
    short="the provider has no more p5.48xlarge in eu-central-1a",
)
EVERY = {"h100": nodes_in_every_state()}
BOXES = "document.querySelectorAll('[data-pool=h100] .node').length"


def test_places_are_shared_so_that_small_pools_are_whole() -> None:
    assert shares([3, 1000, 5, 0, 900], 100) == [3, 46, 5, 0, 46]
    assert shares([1, 2], 100) == [1, 2]
    assert shares([9, 9, 9], 2) == [0, 1, 1]
    assert shares([], 5) == []


async def test_a_pool_tells_its_numbers_its_reason_and_what_runs_where() -> None:
    async with served(nodes=EVERY, told={"h100": SHORT}) as one:
        status, answer = await one.get("/api/nodes")
        _, fleet = await one.get("/api/fleet")
        assert (status, answer["tick"], answer["at_s"], answer["more_pools"]) == (200, 8, START_S + 7 * STEP_S, 0)
        (pool,) = answer["pools"]
        assert (pool["name"], pool["asked"], pool["ready"], pool["free"], pool["lead_time_s"]) == ("h100", 7, 2, 1 + 3, 180.0)
        assert pool["planned"] == fleet["pools"][0]["planned"] > 0
        assert fleet["pools"][0]["asked"] == 7
        assert pool["words"] == fleet["pools"][0]["words"] != ""
        assert pool["counts"] == {
            "ready": 2,
            "noticed": 1,
            "silent": 1,
            "unready": 1,
            "cordoned": 1,
            "leaving": 1,
            "starting": 1,
            "asked": 1,
        }
        assert (pool["more"], pool["more_counts"], len(pool["nodes"])) == (0, {}, 9)
        assert "2 nodes are on their way" in pool["coming_words"]
        assert pool["system"]["message"] == SHORT.message
        first = pool["nodes"][0]
        assert (first["name"], first["accelerators"], first["taken"], first["others"]) == (
            *("ip-10-0-11-17.eu-central-1.compute.internal", 8),
            *(7, 0),
        )
        assert first["runs"][1] == {
            "service": "batch/nightly-summaries",
            "ready": 1,
            "starting": 1,
            "draining": 0,
            "accelerators": 2,
        }
        assert (pool["nodes"][-1]["name"], pool["nodes"][-1]["state"]) == (None, "asked")


async def test_thousands_of_nodes_are_bounded_and_the_rest_is_counted() -> None:
    nodes = {"h100": many_nodes(5000), "l4": many_nodes(3)}
    async with served(nodes=nodes) as one:
        for limit in (50, 200, 2000):
            _, answer = await one.get(f"/api/nodes?limit={limit}")
            large, small = answer["pools"]
            assert (len(large["nodes"]), large["more"], len(small["nodes"]), small["more"]) == (limit - 3, 5003 - limit, 3, 0)
            states = [node["state"] for node in large["nodes"]]
            assert states.count("noticed") == min(50, limit - 3), "what wants looking at comes first"
            assert sum(large["more_counts"].values()) == large["more"]
        _, answer = await one.get("/api/nodes?pool=l4&limit=1")
        assert [pool["name"] for pool in answer["pools"]] == ["l4"]
        assert answer["pools"][0]["more_counts"] == {"ready": 2}


async def test_many_pools_are_bounded_too() -> None:
    async with served(nodes={f"pool-{number:03d}": many_nodes(1) for number in range(MOST_POOLS + 19)}) as one:
        _, answer = await one.get("/api/nodes?limit=2000")
        assert (len(answer["pools"]), answer["more_pools"]) == (MOST_POOLS, 20)
        _, answer = await one.get("/api/nodes?pool=pool-118")
        assert len(answer["pools"][0]["nodes"]) == 1


async def test_what_cannot_be_asked_is_said() -> None:
    async with served(nodes=EVERY) as one:
        status, answer = await one.get("/api/nodes?pool=ghost")
        assert (status, answer["error"]["message"]) == (404, "there is no pool ghost; /api/fleet lists them")
        for limit in ("0", "2001", "all"):
            status, answer = await one.get(f"/api/nodes?limit={limit}")
            assert (status, answer["error"]["message"]) == (
                400,
                f"limit: '{limit}' is not allowed; a whole number from 1 to 2000",
            )
    async with served(ticks=0) as one:
        assert await one.get("/api/nodes") == (200, {"tick": None, "pools": [], "more_pools": 0})


async def test_where_nodes_cannot_be_seen_the_plan_is_still_told() -> None:
    async with served() as one:
        _, answer = await one.get("/api/nodes")
        (pool,) = answer["pools"]
        assert (pool["counts"], pool["free"], pool["ready"], pool["nodes"], pool["coming_words"]) == (None, None, None, [], "")
        assert pool["planned"] > 0


# ------------------------------------------------------------ the page


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as one:
        yield one


async def label(page: Page, number: int) -> str:
    words: str = await page.evaluate(f"document.querySelectorAll('[data-pool=h100] .node')[{number}].getAttribute('aria-label')")
    return words


async def test_the_strip_says_everything_in_words(page: Page) -> None:
    async with served(nodes=EVERY, told={"h100": SHORT}) as one:
        await page.open(one.base + "/#/assistants/chat-70b")
        await page.until(f"{BOXES} === 9")
        text = await page.evaluate("document.querySelector('[data-pool=h100]').innerText")
        for words in (
            *("7 asked for", "2 ready", "2 on the way", "1 told to go", "4 of 16 GPUs free", "1 to 12 allowed", "Why "),
            *(
                "nvidia.com/gpu for replicas of 3 services",
                "2 nodes are on their way",
                "The provider has no more p5",
                "chat-70b × 4",
            ),
            *("nightly-summaries × 2", "others × 3", "3 free", "Ready without any GPU", "not Ready", "closed", "leaving"),
            *("asked for 15 s ago", "starting, 75 s", "ip-10-0-11-17"),
        ):
            assert words in text, words
        labels = [await label(page, number) for number in range(9)]
        assert labels[0] == (
            "ip-10-0-11-17.eu-central-1.compute.internal: ready, Ready for 2 h 2 min; 7 of 8 GPUs in use: assistants/chat-70b × 4, "
            "batch/nightly-summaries × 2 (1 starting), search/embeddings × 1 (1 leaving)"
        )
        assert labels[1].endswith("5 of 8 GPUs in use: assistants/chat-70b × 2, 3 GPUs by pods of others")
        assert "told to go soon (cloud.google.com/impending-node-termination)" in labels[2]
        assert "without any GPU: its driver or device plugin doesn't come up, Ready for 27 min" in labels[3]
        assert labels[7] == "h100-8: starting for 75 s; one takes about 3 min; 8 GPUs"
        assert labels[8] == "A node: asked for 15 s ago, not there yet; one takes about 3 min; 8 GPUs"
        cells = "[...document.querySelectorAll('.node')[0].querySelectorAll('.gpus i')].map(e => e.className)"
        assert await page.evaluate(cells) == [
            *(["mine"] * 4),
            *("in-use", "in-use starting", "in-use draining", "free"),
        ]
        await page.evaluate("location.hash = '#/search/embeddings'")
        await page.until(f"{cells}.includes('mine draining')")
        assert page.complaints == []


async def test_the_strip_by_keyboard(page: Page) -> None:
    async with served(nodes=EVERY) as one:
        await page.open(one.base)
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.until(f"{BOXES} === 9")
        stops = "[...document.querySelectorAll('.node')].filter(e => e.tabIndex === 0).length"
        assert await page.evaluate(stops) == 1, "one stop for the whole strip"
        await page.evaluate("document.querySelector('.node').focus()")
        said = "document.querySelector('[data-pool=h100] .node-said')"
        await page.until(f"{said}.textContent.startsWith('ip-10-0-11-17.eu')")
        await page.press("ArrowRight")
        await page.press("ArrowRight")
        assert await page.evaluate("document.activeElement.parentElement.dataset.node") == "gke-prod-h100-spot-1f2e3d4c-x7k2"
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert "told to go soon" in await page.evaluate(f"{said}.textContent")
        await page.press("End")
        assert await page.evaluate("document.activeElement.parentElement.dataset.node") == "asked 1"
        await page.press("Home")
        await one.running.tick(1)
        await page.until("document.getElementById('live-words').textContent.includes('tick 9')")
        assert await page.evaluate("document.activeElement.parentElement.dataset.node.startsWith('ip-10-0-11')"), "focus stays"
        await page.press("Tab")
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.getAttribute('href')") == "#/batch/nightly-summaries"
        await page.press("Enter")
        await page.until("document.getElementById('crumb').textContent.startsWith('batch / nightly-summaries')")
        assert page.complaints == []


@pytest.mark.parametrize("nodes", [EVERY, {"h100": many_nodes(5000), "l4": many_nodes(40)}], ids=["every state", "thousands"])
async def test_the_strip_fits_at_any_width_and_can_be_read(page: Page, nodes: Any) -> None:
    async with served(nodes=nodes, told={"h100": SHORT}) as one:
        await page.open(one.base)
        await page.until(DRAWN)
        await page.until(f"{BOXES} > 8")
        for width in (1280, 720, 400, 320):
            for dark in (False, True):
                await page.look(width=width, dark=dark)
                await page.until(f"document.querySelector('#plot-replicas canvas')?.clientWidth < {width}")
                assert await overflow(page) == [], (width, dark)
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, dark)
                faint = await page.evaluate(FAINT)
                assert faint == [], (width, dark)
        assert page.complaints == []


FAINT = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (e) => { const c = rgb(getComputedStyle(e).backgroundColor); return c.length === 4 && c[3] === 0 ? back(e.parentElement) : c; };
  const faint = [];
  for (const e of document.querySelectorAll('#nodes-card h3, #nodes-card p, #nodes-card span, #nodes-card li')) {
    if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(e.className + ': ' + e.textContent.slice(0, 40));
  }
  return faint; })()"""
"""Text below the contrast of 4.5 : 1 that WCAG 2 (1.4.3) asks for."""


async def test_thousands_of_nodes_leave_the_page_quick_and_say_how_many_more(page: Page) -> None:
    async with served(nodes={"h100": many_nodes(5000)}) as one:
        await page.open(one.base)
        await page.until(f"{BOXES} === 240")
        more = await page.evaluate("document.querySelector('[data-pool=h100] .pool-more').innerText")
        assert more == "and 4,760 more: 4,760 ready."
        assert await page.evaluate("document.querySelectorAll('.node[data-state=noticed]').length") == 50
        assert await page.evaluate("document.documentElement.scrollHeight") < 4000
        assert page.complaints == []
