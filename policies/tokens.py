"""``tokens``: demand and supply counted in tokens, so that longer prompts and answers are more work without anybody saying so.

Two bounds, the higher one counts. With I and O the mean tokens of a prompt and of an answer, a request that runs holds I + O ÷ 2 on average and
I + O at its end. Of a ready replica with K slots, an M-token KV cache and D, the batch at which a token takes twice as long as alone:

=============== ==================================================== ============================================================
bound           demand                                               supply of one replica
=============== ==================================================== ============================================================
cache (tokens)  held now + waiting × (I + O)                         min(M × kv_cache_threshold, K × (I + O ÷ 2))
throughput      arriving × O + waiting ÷ (2 × token time)            B ÷ token time, B = the cache's supply ÷ (I + O ÷ 2) at a time
(tokens/s)
=============== ==================================================== ============================================================

with the token time at the batch B: t₁ × (1 + B ÷ D). It grows where demand is above scale_up_threshold of what is ready or on its way, and
shrinks where it is below scale_down_boundary of what is ready; between them it stays.

I, O, M and t₁ are measured while it runs, as ratios of sums that forget in `memory_s`: O = tokens written ÷ requests ended, where what ended is
what came less the growth of what is inside, which holds under overload, too. t₁ = request-seconds ÷ (1 + b ÷ D) ÷ tokens written. Until then:
requests in flight against slots, and demand against the given capacity.

It differs from ``wva``, which has the cache alone and as an HPA follows it: this is for scaling by, that is for comparing with.
Source: llm-d workload-variant-autoscaler v0.9, saturation analyzer V2 (tokens in use + queue × (I + O) against min(k1, k2), thresholds 0.80,
0.85, 0.70) and throughput analyzer (λ × O + queue ÷ (2 ITL) against KV ÷ (I + O ÷ 2) ÷ ITL), its docs saturation-scaling-config and
throughput-analyzer. Its ITL fit is here the batch model of ``core.capacity`` with a measured t₁.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.seen import seen
from autoscaler.core.sizing import ROUNDING, whole_replicas
from policies.token_means import TokenMeans

LOOKBACK_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Need:
    """Of n services: tokens of a prompt and an answer, the two demands and the supplies of a replica, and each demand in replicas."""

    held: Floats
    holds: Floats
    asked_per_s: Floats
    gives_per_s: Floats
    by_cache: Floats
    by_throughput: Floats
    replicas: Floats


class Tokens:
    """n services, and what was measured of them."""

    def __init__(self, params: Params) -> None:
        self._measured = TokenMeans(len(params["memory_s"]))
        self.params = params

    def observe(self, observation: Observation) -> None:
        self._measured.learn(observation, self.params["memory_s"])

    # ------------------------------------------------------------ recommending

    def recommend(self, observation: Observation) -> Recommendation:
        need = self._needed(observation)
        params, current, ready = self.params, observation.current, observation.ready
        more = whole_replicas(need.replicas / params["scale_up_threshold"] - (ready + observation.starting))
        spare = np.floor(ready - need.replicas / params["scale_down_boundary"] + ROUNDING)
        fewer = np.minimum(np.maximum(current - np.maximum(spare, 0.0), 1.0), current)
        replicas: Floats = np.where(more > 0, ready + observation.starting + more, fewer)
        replicas = np.where(np.isnan(need.replicas), np.nan, replicas)
        return Recommendation(replicas=replicas, why=lambda row: self._words(row, need, float(replicas[row])))

    def _needed(self, observation: Observation) -> _Need:
        params, ready, slots = self.params, observation.ready, observation.slots
        demand, queue, running = self._rate(observation), seen(observation, "queue"), seen(observation, "running")
        prompt, output = self._measured.prompt, self._measured.output
        usual = prompt + 0.5 * output
        cache = np.where(params["cache_tokens"] > 0, params["cache_tokens"], self._measured.cache)
        holds = np.fmin(params["kv_cache_threshold"] * cache, slots * usual)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Nobody is ready: nothing is held.
            held = np.where(ready > 0, seen(observation, "kv_cache_utilization") * ready * cache, 0.0) + queue * (prompt + output)
            by_cache = held / holds
            by_cache = np.where(np.isnan(usual + cache), (running + queue) / slots, by_cache)
            batch = np.fmin(holds / usual, slots)
            batch = np.where(np.isnan(batch), slots, batch)
            token_s = self._measured.alone_s * (1.0 + batch / observation.slots_slowdown)
            gives = batch / token_s
            asked = demand * output + queue / (2.0 * token_s)
            unmeasured = np.isnan(output + token_s)
            by_throughput = np.where(unmeasured, demand / observation.capacity_per_s, asked / gives)
        only = params["bound"]
        by_cache = np.where(only == "throughput", np.nan, by_cache)
        by_throughput = np.where(only == "cache", np.nan, by_throughput)
        return _Need(held, holds, asked, gives, by_cache, by_throughput, np.fmax(by_cache, by_throughput))

    def _rate(self, observation: Observation) -> Floats:
        """The mean demand of each row's window, NaN where it is unknown now."""
        latest = seen(observation, "demand")
        signal = observation.signals.get("demand")
        if signal is None:
            return latest
        rate = latest
        for window_s in np.unique(self.params["window_s"]).tolist():
            past = signal.history.since(observation.at_s - window_s)
            known = past == past
            counts = known.sum(axis=1)
            mean = np.where(known, past, 0.0).sum(axis=1) / np.maximum(counts, 1)
            rate = np.where((self.params["window_s"] == window_s) & (counts > 0), mean, rate)
        return np.where(np.isnan(latest), np.nan, rate)

    def _words(self, row: int, need: _Need, wish: float) -> str:
        cache, throughput = float(need.by_cache[row]), float(need.by_throughput[row])
        if wish != wish:
            return "neither KV cache use nor token rates are known: no count"
        held, asked = float(need.held[row]), float(need.asked_per_s[row])
        parts = []
        if cache == cache:
            of = (
                f"{held:.3g} tokens held or waited for at {float(need.holds[row]):.3g} a replica" if held == held else "in flight"
            )
            parts.append((cache, f"{of}: {cache:.3g} replicas' worth"))
        if throughput == throughput:
            of = f"{asked:.3g} tokens/s asked for at {float(need.gives_per_s[row]):.3g} a replica" if asked == asked else "demand"
            parts.append((throughput, f"{of}: {throughput:.3g} replicas' worth"))
        parts.sort(key=lambda part: -part[0])
        up, down = float(self.params["scale_up_threshold"][row]), float(self.params["scale_down_boundary"][row])
        return f"{'; '.join(words for _, words in parts)}; kept between {down:.0%} and {up:.0%} of the supply: {wish:.0f}"

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints, params: Params) -> None:
        self._measured.rearrange(rows)
        self.params = params

    def adopt(self, other: Tokens, rows: Ints) -> None:
        self._measured.adopt(other._measured, rows)

    def shift(self, by_s: float) -> None:
        self._measured.shift(by_s)

    def save(self) -> Saved:
        return {"version": 1, "measured": self._measured.save()}

    def load(self, state: Saved) -> None:
        if state.get("version") == 1:
            self._measured.load(state["measured"])


def _signals(params: Mapping[str, ParamValue]) -> Sequence[str]:
    needed = ("demand", "queue", "running", "output_tokens")
    return needed if params["bound"] == "throughput" else (*needed, "prompt_tokens", "kv_cache_utilization")


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    if float(params["scale_down_boundary"]) >= float(params["scale_up_threshold"]):
        return [
            f"scale_down_boundary: {params['scale_down_boundary']} is not less than scale_up_threshold ({params['scale_up_threshold']})"
        ]
    return []


def _ratio(name: str, default: float, description: str, search: tuple[float, float]) -> Parameter:
    return Parameter(
        name=name,
        kind="float",
        default=default,
        description=description,
        unit="ratio",
        minimum=0.05,
        maximum=1,
        tunable=True,
        search=search,
    )


POLICY = PolicyType(
    name="tokens",
    summary="demand and supply in tokens: what the KV cache holds, and tokens a second",
    parameters=(
        _ratio("scale_up_threshold", 0.85, "it grows above this share of the supply, replicas on their way included", (0.6, 1.0)),
        _ratio("scale_down_boundary", 0.7, "it shrinks below this share of the supply that is ready", (0.3, 0.85)),
        _ratio("kv_cache_threshold", 0.8, "of the KV cache, this much counts as supply", (0.6, 0.95)),
        Parameter(
            name="cache_tokens",
            kind="float",
            default=0.0,
            description="tokens that a replica's KV cache holds (vLLM: num_gpu_blocks × block_size); 0: measured",
            unit="tokens",
            minimum=0,
            maximum=1e12,
        ),
        Parameter(
            name="bound",
            kind="str",
            default="both",
            description="which bound counts; throughput needs neither KV cache use nor prompt tokens",
            choices=("both", "cache", "throughput"),
        ),
        Parameter(
            name="window_s",
            kind="float",
            default=LOOKBACK_S,
            description="the demand is its mean over this time",
            unit="s",
            minimum=0,
            maximum=LOOKBACK_S,
            tunable=True,
            search=(15, LOOKBACK_S),
        ),
        Parameter(
            name="memory_s",
            kind="float",
            default=120.0,
            description="how fast measured lengths, cache and token times are forgotten",
            unit="s",
            minimum=15,
            maximum=86400,
            tunable=True,
            search=(30, 1800),
            log_scale=True,
        ),
    ),
    make=lambda params, _rng: Tokens(params),
    signals=_signals,
    lookback_s=LOOKBACK_S,
    counts_starting=True,
    check=_check,
    source="llm-d workload-variant-autoscaler v0.9: saturation analyzer V2 and throughput analyzer",
)
