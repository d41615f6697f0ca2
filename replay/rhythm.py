"""A policy that has a loop of its own in life has it in a replay too: its own interval, its own samples, no scrape's delay."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from autoscaler.core.policy import PolicyType
from autoscaler.errors import UsageError
from replay.scenario import Metrics, Scenario


def in_their_rhythm(scenario: Scenario, policies: Sequence[PolicyType]) -> Scenario:
    """The scenario with the interval and metrics of the policies' own loop, where all of them have the same one.

    Beside a policy without one, or with another, they all run at the scenario's, as in a cluster. Raises UsageError for a loop that the
    plant's steps of a second can't play."""
    loops = {(one.interval_s, one.sample_s) for one in policies}
    if scenario.loops != "Own" or len(loops) != 1:
        return scenario
    ((interval_s, own_sample_s),) = loops
    if interval_s is None:
        return scenario
    sample_s = own_sample_s or interval_s
    samples = interval_s / sample_s
    if not (sample_s >= 1 and float(sample_s).is_integer() and samples.is_integer()):
        names = ", ".join(one.name for one in policies)
        raise UsageError(
            f"policy {names}: its own loop of {interval_s:g} s on samples of every {sample_s:g} s can't be played; whole seconds can, or "
            "scenario.loops=Controller takes the scenario's interval"
        )
    # Rates are means over a sample; a window of several periods would be a delay of its own.
    metrics = Metrics(period=f"{sample_s:g}s", window=f"{sample_s:g}s", late=0, samples=int(samples))
    return msgspec.structs.replace(scenario, interval=f"{interval_s:g}s", metrics=metrics)
