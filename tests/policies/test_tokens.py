"""tokens against vectors worked by hand from the published rules: tokens in use + queue × (I + O) against 0.80 of the cache, λ × O + queue ÷
(2 ITL) against what the cache's batch writes a second, thresholds 0.85 and 0.70 (WVA docs saturation-scaling-config, throughput-analyzer).

The usual service: 10 ready, a request is 600 tokens read and 200 written, 16 run at each, the cache is then 40 % full. So a running request holds
700 tokens on average, a cache 28,000, of which 22,400 count (32 slots × 700 are as many), and a token takes a lone request 40 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params
from policies.tokens import POLICY
from replay.plugins import policy_ref
from replay.run import Result, run_replay
from replay.traces.requests import RequestLog
from tests.policies.observations import IDLE, NAN, Services
from tests.replay.made import manifests, scenario

USUAL: dict[str, Any] = {
    "demand": 16.0,
    "queue": 0.0,
    "running": 160.0,
    "prompt_tokens": 9600.0,
    "output_tokens": 3200.0,
    "kv_cache_utilization": 0.4,
}


def learnt(params: dict[str, ParamValue], **changes: Any) -> Services:
    """A service that has gone on like this for half an hour."""
    services = Services(POLICY, [params])
    for _ in range(120):
        services.see(**{**USUAL, **changes})
    return services


def count(params: dict[str, ParamValue], **changes: Any) -> float:
    services = learnt(params, **changes)
    found: float = services.policy.recommend(services.observation).replicas.item()
    return found


@pytest.mark.parametrize(
    ("params", "changes", "wanted"),
    [
        # 112,000 tokens held are 5 of 22,400: 10 − 5 ÷ 0.7 are 2.86 to spare
        ({"bound": "cache"}, {}, 8),
        # 60 ms a token in a batch of 32 are 533 tokens/s; 3,200 are 6: 10 − 6 ÷ 0.7 are 1.43 to spare
        ({"bound": "throughput"}, {"prompt_tokens": NAN, "kv_cache_utilization": NAN}, 9),
        ({}, {}, 9),
        # 40 wait: 144,000 tokens are 6.43, and 3,200 + 40 ÷ 0.12 tokens/s 6.63: nothing to spare, nothing short
        ({}, {"queue": 40.0}, 10),
        # 112 wait: 201,600 tokens are 9 replicas, of which 85 % are 10.6; 4,133 tokens/s are only 7.8
        ({}, {"queue": 112.0}, 11),
        # twice the traffic in full batches: 50 ms a token (33 ms alone), 640 tokens/s, 6,400 are 10: 11.8 are asked for
        (
            {},
            {"demand": 32.0, "running": 320.0, "prompt_tokens": 19200.0, "output_tokens": 6400.0, "kv_cache_utilization": 0.8},
            12,
        ),
        # a given cache twice as large holds twice the tokens, but no more than 32 requests: 10 of 22,400, and 11.8 asked for
        ({"cache_tokens": 56000.0, "bound": "cache"}, {}, 12),
        # half of it: 11,200 count, 16 requests: 5 of them by the cache; 16 ÷ 50 ms are 320 tokens/s: 10
        ({"cache_tokens": 14000.0}, {}, 12),
        # a batch that an objective limits to 16 of 32 slots: 11,200 tokens count
        ({"bound": "cache"}, {"slots": 16.0}, 12),
    ],
)
def test_demand_and_supply(params: dict[str, ParamValue], changes: dict[str, Any], wanted: int) -> None:
    assert count(params, **changes) == wanted


def test_replicas_on_their_way_are_supply_but_none_to_spare() -> None:
    full = {"demand": 32.0, "running": 320.0, "prompt_tokens": 19200.0, "output_tokens": 6400.0, "kv_cache_utilization": 0.8}
    assert count({}, **full, starting=1, current=11) == 12
    assert count({}, **full, starting=2, current=12) == 12
    assert count({}, starting=5, current=15) == 14  # the spare one of those that are ready goes


def test_lengths_are_right_while_a_backlog_grows() -> None:
    services = learnt({})
    for tick in range(40):  # 32 come, 16 end each second: the output rate says nothing of what comes
        services.see(**{**USUAL, "demand": 32.0, "queue": 240.0 * (tick + 1)})
    words = services.policy.recommend(services.observation).why(0)
    # 32 × 200 + 9,600 ÷ 0.12 tokens/s
    assert "8.64e+04 tokens/s asked for at 533 a replica: 162 replicas' worth" in words


def test_a_burst_that_is_inside_before_the_demand_shows_it_does_not_make_requests_seem_long() -> None:
    services = learnt({})

    def asked() -> float:
        words = services.policy.recommend(services.observation).why(0)
        return float(words.split(" tokens/s asked")[0].split()[-1])

    usual = asked()
    # 600 come at once, and the demand, a mean of a minute, tells of them in the four ticks that follow.
    services.see(**{**USUAL, "queue": 600.0})
    assert asked() == pytest.approx(usual + 600 / 0.12, rel=0.01)
    for _ in range(4):
        services.see(**{**USUAL, "demand": 26.0, "queue": 600.0})
        # As many as came have the usual length: 200 tokens each, and the backlog's share.
        assert asked() < (26 * 200 + 600 / 0.12) * 1.25
    for _ in range(30):
        services.see(**{**USUAL, "queue": 600.0})
    assert asked() == pytest.approx(usual + 600 / 0.12, rel=0.02)


def test_longer_answers_are_more_work() -> None:
    services = learnt({"bound": "throughput"})
    assert services.see(**USUAL).replicas.item() == 9
    for _ in range(60):  # twice the tokens of each answer, the same requests: twice as long in a batch
        services.see(**{**USUAL, "output_tokens": 6400.0, "running": 320.0})
    # 640 tokens/s in full batches: 10 replicas' worth where there were 6
    assert services.policy.recommend(services.observation).replicas.item() == 12


def test_before_anything_is_measured_slots_and_given_capacity_count() -> None:
    services = Services(POLICY, [{}])
    assert services.see(**{**USUAL, "demand": 24.0, "running": 160.0}).replicas.item() == 18  # 24 ÷ 1.6 ÷ 0.85
    assert services.see(**{**USUAL, "demand": 8.0, "running": 320.0}).replicas.item() == 12  # 320 ÷ 32 ÷ 0.85
    unknown = Services(POLICY, [{"bound": "throughput"}]).see(**USUAL, capacity_per_s=NAN)
    assert np.isnan(unknown.replicas.item())


def test_unknown_idle_and_nobody_ready() -> None:
    services = learnt({})
    for signal in ("queue", "demand"):
        still = services.see(**{**USUAL, signal: NAN})
        assert np.isnan(still.replicas.item()) or still.replicas.item() >= 8
    unseen: dict[str, Any] = dict.fromkeys(USUAL, NAN)
    nothing = services.see(**unseen)
    assert np.isnan(nothing.replicas.item())
    assert nothing.why(0) == "neither KV cache use nor token rates are known: no count"
    idle: dict[str, Any] = dict.fromkeys(USUAL, IDLE)
    asleep = [services.see(**idle).replicas.item() for _ in range(6)]
    assert asleep[-1] == 1  # once the demand's window holds nothing else
    # Nothing is ready, 64 wait: 51,200 tokens are 2.3 replicas.
    waking = services.see(
        **{**USUAL, "kv_cache_utilization": NAN, "running": 0.0, "queue": 64.0, "demand": 0.0}, ready=0, current=0
    )
    assert waking.replicas.item() == 3


def test_words_say_both_bounds() -> None:
    services = learnt({})
    assert services.policy.recommend(services.observation).why(0) == (
        "3.2e+03 tokens/s asked for at 533 a replica: 6 replicas' worth; "
        "1.12e+05 tokens held or waited for at 2.24e+04 a replica: 5 replicas' worth; "
        "kept between 70% and 85% of the supply: 9"
    )


def test_the_boundary_lies_below_the_threshold() -> None:
    words = complete_params(POLICY, {"scale_down_boundary": 0.9})[1]
    assert words == ["scale_down_boundary: 0.9 is not less than scale_up_threshold (0.85)"]


# ---------------------------------------------------------------- closed loop


def doubling(half_s: int = 2400, per_s: float = 16.0) -> RequestLog:
    """The same requests/s throughout; prompts and answers twice as long in the second half."""
    rng = np.random.Generator(np.random.PCG64(3))
    times = np.sort(rng.uniform(0, 2 * half_s, int(per_s * 2 * half_s)))
    longer = np.where(times < half_s, 1, 2)
    prompt, output = np.rint(rng.exponential(600, len(times))), np.rint(1 + rng.exponential(200, len(times)))
    return RequestLog(
        times_s=times,
        prompt_tokens=(prompt * longer).astype(np.int32),
        output_tokens=(output * longer).astype(np.int32),
        name="doubling",
    )


def replayed(policy: str) -> Result:
    setting = scenario(
        plant="requests",
        scale__mode="Factor",
        warmup="10m",
        requests__capacityWork="260",
        requests__kvCacheTokens="25600",
        replicas__initial="16",
    )
    return run_replay(manifests(), setting, doubling(), policy=policy_ref(policy))


def test_it_follows_token_lengths_where_fixed_requests_per_second_do_not() -> None:
    tokens, throughput, fixed = replayed("tokens"), replayed("tokens:bound=throughput"), replayed("reactive")
    half = len(tokens.ledger.at_s) // 2
    before, after = throughput.ledger.column("ready")[60 : half - 4], throughput.ledger.column("ready")[half + 60 :]
    assert after.mean() == pytest.approx(2 * before.mean(), rel=0.1)  # the work of a request is twice as much
    assert tokens.score["attained_ratio"] > 0.99
    assert throughput.score["attained_ratio"] > fixed.score["attained_ratio"] + 0.1
    late = fixed.ledger.column("ready")[half + 40 :]
    assert np.ptp(late) > 2 * np.ptp(after)  # it sees a backlog, drains it, and is as short as before
    assert tokens.score["blind_scale_downs"] == throughput.score["blind_scale_downs"] == 0
