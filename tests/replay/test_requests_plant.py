from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from autoscaler.core.model import Bools, Fleet, Floats, Objective, Readings, ScalingSpec
from autoscaler.core.signals import SIGNALS, SignalState
from autoscaler.errors import UsageError
from replay.plant.faults import Fault
from replay.plant.requests import kernel as places
from replay.plant.requests.kernel import compiled
from replay.plant.requests.plant import RequestsPlant
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.scenario import Scenario
from replay.traces.requests import RequestLog, counted
from replay.world import World, build_world
from tests.replay.made import manifests, noise, scenario, specs, wavy


def log(count: int = 4000, rate_per_s: float = 8.0, seed: int = 1) -> RequestLog:
    rng = np.random.Generator(np.random.PCG64(seed))
    return RequestLog(
        times_s=np.cumsum(rng.exponential(1 / rate_per_s, count)),
        prompt_tokens=rng.integers(10, 2000, count).astype(np.int32),
        output_tokens=rng.integers(1, 400, count).astype(np.int32),
    )


def world(
    made: RequestLog | None = None, setting: Scenario | None = None, n: int = 1, services: tuple[ScalingSpec, ...] = ()
) -> World:
    made = made or log()
    demand = np.broadcast_to(counted(made).counts, (n, made.span_s))
    return build_world(services or specs(n), (), setting or scenario(plant="requests"), demand, log=made)


def plant_of(here: World) -> RequestsPlant:
    assert isinstance(here.plant, RequestsPlant)
    return here.plant


async def seen(here: World, at_s: int, fleet: Fleet | None = None) -> Readings:
    here.plant.advance_to(at_s)
    fleet = fleet or await here.cluster.observe(here.start_s + at_s)
    return await here.metrics.read(fleet, {name: [0] for name in SIGNALS}, here.start_s + at_s, 1.0)


async def test_every_signal_is_what_the_requests_themselves_say() -> None:
    made = log(4000, rate_per_s=16.5)  # a little more than ten replicas can do
    here = world(made, scenario(plant="requests", metrics__late="0"))
    found = await seen(here, 150)
    values = {name: float(found.signals[name].values[0]) for name in SIGNALS}
    station = plant_of(here).stations[0]
    here_all = slice(0, station.known)
    came, started, first, ended = (
        station.picked(row, here_all) for row in (places.CAME, places.STARTED, places.FIRST, places.ENDED)
    )
    from_s, at_s = 135.0, 150.0

    def within(moments: Floats) -> Bools:
        inside: Bools = (moments >= from_s) & (moments < at_s)
        return inside

    def quantile(durations: Floats) -> float:
        return float(np.sort(durations)[int(np.ceil(0.995 * len(durations))) - 1])

    running = (started < at_s) & (ended >= at_s)
    waiting = (came < at_s) & (started >= at_s)
    assert values["demand"] == pytest.approx(within(came).sum() / 15)
    assert values["throughput"] == pytest.approx(within(ended).sum() / 15)
    assert values["running"] == running.sum() > 250
    assert values["queue"] == waiting.sum()
    assert values["concurrency"] == running.sum() + waiting.sum()
    assert values["queue_wait_s"] == pytest.approx(quantile((started - came)[within(started)]))
    assert values["ttft_s"] == pytest.approx(quantile((first - came)[within(first)]))
    assert values["latency_s"] == pytest.approx(quantile((ended - came)[within(ended)]))
    read = within(first)
    assert values["prompt_tokens"] == pytest.approx(made.prompt_tokens[: len(first)][read].sum() / 15)
    token_s = station._rates[0]
    mean = 0.1 * made.prompt_tokens.mean() + made.output_tokens.mean()
    assert 32 / token_s[32] == pytest.approx(1.6 * mean)  # a full batch does the manifest's capacity
    assert 0.8 < values["utilization"] <= 1.0 + 1e-9
    assert values["gpu_utilization"] == pytest.approx(1.0)
    assert token_s[20] < values["itl_s"] <= token_s[32]
    assert 0.3 < values["kv_cache_utilization"] <= 1.0
    assert values["output_tokens"] + 0.1 * values["prompt_tokens"] == pytest.approx(
        values["utilization"] * 10 * 32 / token_s[32], rel=0.05
    )
    assert all(column.state[0] == SignalState.KNOWN for column in found.signals.values())


async def test_what_no_request_of_the_window_tells_is_idle() -> None:
    made = RequestLog(
        times_s=np.array([1.0, 400.0]), prompt_tokens=np.array([10, 10], np.int32), output_tokens=np.array([100, 1], np.int32)
    )
    here = world(made, scenario(plant="requests", requests__capacityWork="100"))
    found = await seen(here, 200)
    assert {name for name in SIGNALS if found.signals[name].state[0] == SignalState.IDLE} == {
        "queue_wait_s",
        "ttft_s",
        "latency_s",
        "itl_s",
    }
    assert found.signals["utilization"].values[0] == 0.0
    none = world(made, scenario(plant="requests", replicas__initial="0"))
    waiting = await seen(none, 60)
    assert waiting.signals["utilization"].state[0] == SignalState.UNKNOWN
    assert waiting.signals["queue_wait_s"].values[0] == pytest.approx(
        45 - 1.0
    )  # the scrape of 45 s, the age of the first in the queue


def test_a_score_knows_waits_first_tokens_and_ends_of_every_request() -> None:
    made = log()
    here = world(made)
    plant = plant_of(here)
    plant.advance_to(plant.end_s)
    (tally,) = plant.verdicts()
    assert tally.requests == len(made)
    assert tally.attained_ratio == 1.0
    further = tally.further()
    assert 0 < further["ttft_s"]["p50"] < further["latency_s"]["p50"] < further["latency_s"]["p99"]
    assert float(plant.wait_counts()[0].sum()) == len(made)


@pytest.mark.parametrize(("signal", "target"), [("queue_wait_s", 5.0), ("ttft_s", 10.0), ("latency_s", 30.0)])
def test_a_promise_is_judged_by_what_it_speaks_of(signal: str, target: float) -> None:
    made = log(2000, 9.0)
    (one,) = specs(1)
    spec = replace(one, objective=Objective(signal=signal, target=target, promised_ratio=0.99))
    here = world(made, scenario(plant="requests", replicas__initial="5"), services=(spec,))
    plant = plant_of(here)
    plant.advance_to(plant.end_s)
    (tally,) = plant.verdicts()
    station = plant.stations[0]
    kind = {"queue_wait_s": 0, "ttft_s": 1, "latency_s": 2}[signal]
    judged = tally.spreads[kind]
    kept = tally.attained_ratio
    assert 0.05 < kept < 0.95
    assert judged.quantile_s(kept - 1e-4) <= target <= judged.quantile_s(min(kept + 2e-3, 1.0))
    assert station.known < len(made)  # what has ended was forgotten


def test_steps_of_any_length_and_scores_in_between_change_no_bit() -> None:
    demand = np.repeat(noise(6, 2, 40), 60, axis=1) * 20
    once, often = (build_world(specs(2), (), scenario(plant="requests"), demand) for _ in range(2))
    for here in (once, often):
        here.plant.life.set_replicas(0, 14, 0)
        here.plant.life.set_replicas(1, 3, 0)
        here.plant.add_fault(Fault(kind="SpotLoss", from_s=1500, until_s=1500, share=0.5))
    once.plant.advance_to(2400)
    at_s = 0
    while at_s < 2400:
        at_s += 1 + at_s % 37
        often.plant.advance_to(at_s)
        if at_s % 5 == 0:
            often.plant.wait_counts()
    for row in (0, 1):
        assert once.plant.wait_counts()[row].tolist() == often.plant.wait_counts()[row].tolist()
        assert once.plant.queue_by_tick[row].tolist() == often.plant.queue_by_tick[row].tolist()
        one, two = once.plant.verdicts()[row], often.plant.verdicts()[row]
        assert one.further() == two.further()
        assert [one.wait_quantile_s(q) for q in (0.5, 0.99, 1.0)] == [two.wait_quantile_s(q) for q in (0.5, 0.99, 1.0)]
        assert one.requests == pytest.approx(demand[row].sum(), rel=0.02)


def test_the_same_input_gives_the_same_bytes_whatever_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(policy: str = "reactive") -> bytes:
        result = run_replay(manifests(), scenario(plant="requests"), wavy(60), policy=policy_ref(policy))
        return orjson.dumps({**result.score, "wall_s": 0, "services": None})

    first = score()
    assert score() == first
    if compiled() is None:
        pytest.skip("numba isn't installed: there is one kernel only")
    monkeypatch.setattr("replay.plant.requests.station.compiled", lambda: None)
    assert score() == first


def test_a_leaving_replica_holds_its_slot_until_its_last_request_has_ended() -> None:
    made = RequestLog(
        times_s=np.arange(0.0, 40.0), prompt_tokens=np.zeros(40, np.int32), output_tokens=np.full(40, 500, np.int32)
    )
    setting = scenario(plant="requests", requests__capacityWork="100", replicas__initial="2", scale__mode="Factor")
    demand = np.concatenate([counted(made).counts, np.zeros(1960)])[None, :]
    here = build_world(specs(1), (), setting, demand, log=made)
    here.plant.advance_to(10)
    here.plant.life.set_replicas(0, 1, 10)
    station = plant_of(here).stations[0]
    own = station.whole[places.BATCH][next(iter(station.leaving))]
    assert own == 5
    drained = None
    for at_s in range(11, 400):
        here.plant.advance_to(at_s)
        if drained is None and not here.plant.life.draining[0]:
            drained = at_s
    ended = np.sort(station.picked(places.ENDED, slice(0, 40)))
    assert drained is not None
    assert 30 < drained < 120
    assert here.plant.replica_s()[0] == 399 + drained  # one replica until 399 s, the other until it had finished
    assert (ended < np.inf).sum() == 40


def test_out_of_grace_a_leaving_replica_goes_and_its_requests_begin_anew() -> None:
    made = RequestLog(
        times_s=np.arange(0.0, 20.0), prompt_tokens=np.zeros(20, np.int32), output_tokens=np.full(20, 900, np.int32)
    )
    demand = np.concatenate([counted(made).counts, np.zeros(1980)])[None, :]
    setting = scenario(plant="requests", requests__capacityWork="100", replicas__initial="2", replicas__grace="30s")
    here = build_world(specs(1), (), setting, demand, log=made)
    here.plant.advance_to(25)
    here.plant.life.set_replicas(0, 1, 25)
    here.plant.advance_to(54)
    assert here.plant.life.draining[0] == 1
    here.plant.advance_to(55)
    assert here.plant.life.draining[0] == 0
    here.plant.advance_to(2000)
    station = plant_of(here).stations[0]
    assert plant_of(here).verdicts()[0].requests == 20
    assert station.running == station.waiting == 0
    latest = plant_of(here).verdicts()[0].spreads[0].quantile_s(1.0)
    assert latest >= 55 - 20  # a request of the second replica started again at 55 s


def test_lost_nodes_lose_no_request() -> None:
    made = log(3000, 12.0)
    here = world(made, scenario(plant="requests", replicas__initial="16"))
    here.plant.add_fault(Fault(kind="SpotLoss", from_s=100, until_s=100, share=0.5))
    calm = world(made, scenario(plant="requests", replicas__initial="16"))
    for one in (here, calm):
        one.plant.advance_to(one.plant.end_s)
    assert here.plant.life.ready[0] == 8
    (hurt,), (unhurt,) = here.plant.verdicts(), calm.plant.verdicts()
    assert hurt.requests == unhurt.requests == 3000
    assert hurt.further()["latency_s"]["p99"] > unhurt.further()["latency_s"]["p99"]


def test_prefill_and_decode_in_pools_of_their_own() -> None:
    made = log(3000, 12.0)
    pair = specs(2)
    names = f"[{{prefill: {pair[0].key}, decode: {pair[1].key}}}]"
    here = world(made, scenario(plant="requests", requests__twoPools=names, replicas__initial="9"), n=2)
    here.plant.advance_to(here.plant.end_s)
    plant = plant_of(here)
    prefill, decode = plant.stations
    first, second = plant.verdicts()
    assert first.requests == len(made)
    running_there = prefill.running + prefill.waiting
    assert second.requests == len(made) - running_there
    # The whole way is longer than its first part, and each service's capacity counts its own part of the work.
    assert second.further()["latency_s"]["p50"] > first.further()["latency_s"]["p50"]
    assert 32 / prefill._rates[0][32] == pytest.approx(1.6 * 0.1 * made.prompt_tokens.mean())
    assert 32 / decode._rates[0][32] == pytest.approx(1.6 * made.output_tokens.mean())
    assert first.further()["ttft_s"] == first.further()["latency_s"]
    backwards = f"[{{prefill: {pair[1].key}, decode: {pair[0].key}}}]"
    other = world(made, scenario(plant="requests", requests__twoPools=backwards, replicas__initial="9"), n=2)
    other.plant.advance_to(other.plant.end_s)
    assert other.plant.verdicts()[1].requests == len(made)
    for wrong, words in ((f"[{{prefill: {pair[0].key}, decode: a/b}}]", "a/b"), (names[:-1] + ", " + names[1:], "one pair only")):
        with pytest.raises(UsageError, match=words):
            world(made, scenario(plant="requests", requests__twoPools=wrong), n=2)


def test_a_surge_by_hand_brings_more_requests_from_now_on() -> None:
    demand = np.full((1, 1200), 8.0)
    here, calm = (build_world(specs(1), (), scenario(plant="requests"), demand) for _ in range(2))
    for one in (here, calm):
        one.plant.advance_to(600)
    here.plant.surge(2.0, 300)
    for one in (here, calm):
        one.plant.advance_to(1200)
    assert calm.plant.verdicts()[0].requests == 8 * 1200
    assert here.plant.verdicts()[0].requests == 8 * 1200 + 8 * 300


def test_a_warm_up_is_not_scored() -> None:
    demand = np.full((1, 1200), 8.0)
    here = build_world(specs(1), (), scenario(plant="requests", warmup="10m"), demand)
    here.plant.advance_to(1200)
    assert here.plant.verdicts()[0].requests == 8 * 600
    assert here.plant.wait_counts()[0].sum() == 8 * 600
