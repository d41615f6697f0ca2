"""From a tick of the real controller through its feed to the store of an API server: the same numbers, their ages, and nothing made up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest

from autoscaler.clock import ManualClock, SystemClock
from autoscaler.controller import Controller
from autoscaler.core.model import Forecast, Publication, ScalingSpec
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.feed import MOST_OF_ONE_ADDRESS, Feed
from autoscaler.dashboard.server import make_app, serve
from autoscaler.dashboard.watching import Watched
from autoscaler.errors import UsageError
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.following import Following
from autoscaler.external_metrics.selectors import parse
from autoscaler.external_metrics.store import Held, Index, Snapshot, Store
from autoscaler.external_metrics.value_lists import value_list
from autoscaler.external_metrics.values import Labels, Value
from autoscaler.ports import Tick
from autoscaler.published import DESIRED, FORECAST, PATH, QUEUE_PER_REPLICA, AnyLine, Column, Objects, TickLine
from autoscaler.publishing import OBJECTS_A_LINE, Publisher
from tests.realparts.ports import LOOPBACK, free_port
from tests.ticks import PER_REPLICA, MadeCluster, MadeMetrics, a_spec

INTERVAL_S = 15.0


def everything(_labels: Labels) -> bool:
    return True


class Told:
    """A controller with a publisher, and the store that its lines end up in; the wire between them is left out."""

    def __init__(self, specs: list[ScalingSpec], signals: dict[str, Callable[[float, int], float]], **settings: Any) -> None:
        self.clock = ManualClock()
        self.cluster = MadeCluster(specs)
        self.publisher = Publisher(self.clock, shadow=settings.get("shadow", False))
        self.ticks: list[Tick] = []
        self.store = Store(self.clock)
        metrics = Watched(MadeMetrics(signals))
        self.controller = Controller(
            clock=self.clock,
            metrics=metrics,
            cluster=self.cluster,
            policies={"per-replica": PER_REPLICA},
            reporters=[self, self.publisher],
            interval_s=INTERVAL_S,
            **settings,
        )

    async def report(self, tick: Tick) -> None:
        self.ticks.append(tick)

    async def tick(self) -> None:
        self.clock.advance_to(self.clock.now_s() + INTERVAL_S)
        await self.controller.tick()
        take(self.store, self.publisher, self.clock)

    def find(self, metric: str, name: str = "llama") -> list[Value]:
        return self.store.find("team", metric, everything, name)


def take(store: Store, publisher: Publisher, clock: ManualClock, controller: str = "one") -> bool:
    """Takes the publisher's lines into the store, decoded from their bytes."""
    lines = [msgspec.json.decode(line, type=AnyLine) for line in (*publisher.objects, *publisher.tick_lines())]
    index = Index()
    for line in lines:
        if isinstance(line, Objects):
            index.add(line.objects)
    tick = next(line for line in lines if isinstance(line, TickLine))
    columns = [Held.of(line) for line in lines if isinstance(line, Column)]
    return store.take(Snapshot.of(controller, index, tick, clock.monotonic_s(), columns))


def load(_at_s: float, row: int) -> float:
    return 40.0 + 10.0 * row


SIGNALS: dict[str, Callable[[float, int], float]] = {"concurrency": load, "queue": lambda _at_s, row: 6.0 * row}


async def test_what_was_decided_is_what_is_served() -> None:
    told = Told([a_spec("llama", mode="Recommend"), a_spec("qwen")], SIGNALS)
    await told.tick()
    (llama,), (qwen,) = told.find(DESIRED), told.find(DESIRED, "qwen")
    assert [llama.value, qwen.value] == told.ticks[-1].plan.replicas.tolist() == [4.0, 5.0]
    assert llama.labels == {"inference-autoscaler.io/name": "llama"}
    assert llama.at_s == told.clock.now_s()
    assert llama.age_s == 0.0
    assert llama.max_age_s == 60.0
    told.clock.advance_to(told.clock.now_s() + 40.0)
    assert told.find(DESIRED)[0].age_s == 40.0, "what is no longer told ages"


async def test_a_shadow_publishes_no_count() -> None:
    told = Told([a_spec("llama", mode="Shadow"), a_spec("qwen")], SIGNALS)
    await told.tick()
    (llama,) = told.find(DESIRED)
    assert math.isnan(llama.value)
    assert "mode Recommend does" in llama.why
    assert told.find(DESIRED, "qwen")[0].value == 5.0
    assert told.find(QUEUE_PER_REPLICA)[0].value == 0.0, "what is seen is shown in any mode"
    shadowed = Told([a_spec("llama")], SIGNALS, shadow=True)
    await shadowed.tick()
    assert "--shadow" in shadowed.find(DESIRED)[0].why


async def test_a_target_that_nobody_sees_has_no_count() -> None:
    told = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    told.cluster.changes = {
        "current": np.zeros(1, dtype=np.int64),
        "ready": np.zeros(1, dtype=np.int64),
        "hands_off": np.ones(1, dtype=np.bool_),
        "hands_off_why": {0: "TargetMissing: there is no Deployment llama"},
    }
    await told.tick()
    (value,) = told.find(DESIRED)
    assert math.isnan(value.value)
    assert value.why == "TargetMissing: there is no Deployment llama"


async def test_a_target_that_nobody_sees_has_no_queue_per_replica() -> None:
    told = Told(
        [a_spec("llama", publication=Publication(signals=("queue",))), a_spec("qwen")], {**SIGNALS, "queue": lambda *_: 20.0}
    )
    told.cluster.changes = {
        "ready": np.array([0, 5]),
        "hands_off": np.array([True, False]),
        "hands_off_why": {0: "TargetUnreadable: our rights were taken away"},
    }
    await told.tick()
    (value,) = told.find(QUEUE_PER_REPLICA)
    assert math.isnan(value.value), "the whole queue, as if none were ready, would scale up many times over"
    assert value.why == "TargetUnreadable: our rights were taken away"
    assert told.find("queue")[0].value == 20.0, "that one is known all the same"
    assert told.find(QUEUE_PER_REPLICA, "qwen")[0].value == 4.0


async def test_a_tick_that_took_longer_than_its_interval_is_told_as_old_as_it_is() -> None:
    told = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    await told.tick()
    await told.publisher.report(replace(told.ticks[-1], timings_s={"read": 30.0, "act": 20.0}))
    assert take(told.store, told.publisher, told.clock)
    assert told.find(DESIRED)[0].age_s == 50.0


async def test_a_ticks_age_is_that_of_its_sending_and_not_of_what_is_sent_before_it() -> None:
    told = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    await told.tick()
    lines = told.publisher.tick_lines()
    told.clock.advance_to(told.clock.now_s() + 40.0)  # many objects, on a slow line
    await told.publisher.report(replace(told.ticks[-1], number=99))
    first = msgspec.json.decode(next(lines), type=AnyLine)
    assert isinstance(first, TickLine)
    assert (first.number, first.age_s) == (1, 40.0), (
        "the tick that was the last one when the objects were, as old as it is by now"
    )


async def test_signals_are_served_where_the_manifest_says_so() -> None:
    publication = Publication(signals=("running", "queue"), labels=(("model", "llama-3"),), max_age_s=20.0)
    told = Told([a_spec("qwen"), a_spec("llama", publication=publication)], {**SIGNALS, "running": lambda _at_s, _row: 17.5})
    await told.tick()
    (running,) = told.find("running")
    assert running.value == 17.5
    assert running.labels == {"model": "llama-3", "inference-autoscaler.io/name": "llama"}
    assert running.max_age_s == 20.0
    assert told.find("queue")[0].value == 6.0
    assert told.find("running", "qwen") == [], "nobody said that it may"


async def test_what_nobody_read_is_not_known_rather_than_not_there() -> None:
    told = Told([a_spec("llama", publication=Publication(signals=("ttft_s",)))], {"concurrency": load})
    await told.tick()
    for metric in ("ttft_s", QUEUE_PER_REPLICA):
        (found,) = told.find(metric)
        assert math.isnan(found.value)
        assert "was not read" in found.why


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
async def test_what_is_no_number_never_becomes_one(value: float) -> None:
    publication = Publication(signals=("queue",))
    told = Told([a_spec("llama", publication=publication)], {"concurrency": load, "queue": lambda _at_s, _row: value})
    await told.tick()
    for metric in ("queue", QUEUE_PER_REPLICA):
        (found,) = told.find(metric)
        assert math.isnan(found.value)
        assert found.why


async def test_queue_per_replica_counts_what_is_ready() -> None:
    told = Told([a_spec("llama")], {"concurrency": load, "queue": lambda _at_s, _row: 20.0})
    await told.tick()
    assert told.find(QUEUE_PER_REPLICA)[0].value == 4.0
    told.cluster.starting[:] = told.cluster.current
    await told.tick()
    assert told.find(QUEUE_PER_REPLICA)[0].value == 20.0, "with none ready it is the whole queue"


async def test_forecasts_have_a_quantile_and_a_window() -> None:
    told = Told([a_spec("llama")], SIGNALS)
    await told.tick()
    tick = told.ticks[-1]
    forecast = Forecast(
        made_at_s=0.0,
        times_s=np.array([120.0]),
        quantiles=np.array([0.5, 0.95]),
        values=np.array([[[3.0], [np.nan]]]),
        unit="requests/s",
        window_s=120.0,
    )
    tick = replace(tick, decisions=replace(tick.decisions, forecasts=(("seer", np.array([0]), forecast),)))
    await told.publisher.report(tick)
    assert take(told.store, told.publisher, told.clock)
    median, high = told.find(FORECAST)
    assert (median.labels["quantile"], median.labels["policy"], median.value, median.window_s) == ("0.5", "seer", 3.0, 120.0)
    assert (high.labels["quantile"], math.isnan(high.value)) == ("0.95", True)


async def test_forecasts_of_two_policies_are_told_apart_by_both_labels() -> None:
    told = Told([a_spec("llama")], SIGNALS)
    await told.tick()
    forecast = Forecast(
        made_at_s=0.0,
        times_s=np.array([120.0]),
        quantiles=np.array([0.9]),
        values=np.array([[[3.0]]]),
        unit="requests/s",
        window_s=120.0,
    )
    tick = told.ticks[-1]
    both = (("seer", np.array([0]), forecast), ("oracle", np.array([0]), forecast))
    await told.publisher.report(replace(tick, decisions=replace(tick.decisions, forecasts=both)))
    assert take(told.store, told.publisher, told.clock)
    with pytest.raises(RefusedError, match="add policy=seer or policy=oracle to it"):
        value_list(told.store, "team", FORECAST, parse("inference-autoscaler.io/name=llama,quantile=0.9"))
    assert b'"value":"3"' in value_list(told.store, "team", FORECAST, parse("quantile=0.9,policy=seer"))


async def test_only_a_leader_is_served_and_the_later_tick_of_two() -> None:
    leading = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    standby = Told([a_spec("llama", mode="Recommend")], {"concurrency": lambda _at_s, _row: 400.0}, may_act=lambda: False)
    await leading.tick()
    await standby.tick()
    assert not take(leading.store, standby.publisher, standby.clock, "two")
    assert leading.find(DESIRED)[0].value == 4.0
    other = Told([a_spec("llama", mode="Recommend")], {"concurrency": lambda _at_s, _row: 90.0})
    await other.tick()
    leading.clock.advance_to(leading.clock.now_s() + 5.0)
    assert take(leading.store, other.publisher, leading.clock, "two"), "who took the lead decides later"
    assert leading.find(DESIRED)[0].value == 9.0


@dataclass(slots=True)
class Process:
    """One controller that is listened to."""

    told: Told
    url: str


@asynccontextmanager
async def controlling(told: Told, port: int = 0) -> AsyncIterator[Process]:
    app = make_app(Board(), feed=Feed(told.publisher, "one"))
    async with serve(app, LOOPBACK, port) as listening:
        yield Process(told, f"http://{LOOPBACK}:{listening}")


@asynccontextmanager
async def followed(*urls: str) -> AsyncIterator[tuple[Following, Store]]:
    store = Store(SystemClock())
    following = Following(urls, store, SystemClock(), np.random.default_rng(1))
    task = asyncio.create_task(following.run())
    try:
        yield following, store
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - of another task's tries, which are no event
            await asyncio.sleep(0.01)


async def test_the_feed_is_followed_through_changes_and_restarts() -> None:
    port = free_port()
    told = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    async with followed(f"http://{LOOPBACK}:{port}") as (following, store):
        await until(lambda: "Connect" in following.why_not() or "connect" in following.why_not())
        async with controlling(told, port):
            await told.tick()
            await asyncio.wait_for(following.first.wait(), 5)
            assert store.find("team", DESIRED, everything, "llama")[0].value == 4.0
            told.cluster.specs = (*told.cluster.specs, *(a_spec(f"new-{i}", mode="Recommend") for i in range(2 * OBJECTS_A_LINE)))
            told.cluster.current = np.full(len(told.cluster.specs), 5, dtype=np.int64)
            told.cluster.starting = np.zeros(len(told.cluster.specs), dtype=np.int64)
            told.cluster.revision += 1
            await told.tick()
            await until(lambda: len(store.objects("team")) == 2 * OBJECTS_A_LINE + 1)
            assert store.find("team", DESIRED, everything, "new-7")[0].value == told.ticks[-1].plan.replicas[8]
        await until(lambda: bool(following.why_not()))
        assert store.find("team", DESIRED, everything, "llama"), "what was told last is still there, and ages"
        again = Told([a_spec("llama", mode="Recommend")], {"concurrency": lambda _at_s, _row: 90.0})
        async with controlling(again, port):
            await again.tick()
            await until(lambda: [v.value for v in store.find("team", DESIRED, everything, "llama")] == [9.0])
            assert store.objects("team") == ["llama"]


async def test_a_follower_that_comes_late_is_told_at_once() -> None:
    told = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    await told.tick()
    async with controlling(told) as process, followed(process.url) as (following, _):
        await asyncio.wait_for(following.first.wait(), 2)
        assert following.connected == 1
        assert following.why_not() == ""


async def test_nobody_takes_all_the_places_of_readers_alone() -> None:
    told = Told([a_spec("llama", mode="Recommend")], SIGNALS)
    await told.tick()
    async with controlling(told) as process, AsyncExitStack() as held, aiohttp.ClientSession() as session:
        statuses = [
            (await held.enter_async_context(session.get(process.url + PATH))).status for _ in range(MOST_OF_ONE_ADDRESS + 1)
        ]
        assert statuses == [200] * MOST_OF_ONE_ADDRESS + [503]
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=elsewhere) as other, other.get(process.url + PATH) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "url", ["https://host:1", "host:8080", "http://host/path", "http://user@host", "http://host:x", "http://"]
)
def test_urls_that_cannot_be_followed(url: str) -> None:
    with pytest.raises(UsageError, match="--controller"):
        Following([url], Store(SystemClock()), SystemClock(), np.random.default_rng(1))
