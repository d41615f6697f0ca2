"""How a replica's batch, its throughput and its utilization belong together.

A replica serves up to `slots` requests at a time (continuous batching), and a fuller batch makes each of them slower: time
per token ∝ 1 + b ÷ D for batch b, where D (`slowdown`) is the batch at which a token takes twice as long as alone. So the
throughput at batch b is proportional to ``b ÷ (1 + b ÷ D)``: it rises ever more slowly, and "half the slots are taken" is more
than half of the throughput. Full throughput (utilization 1) is that of the full batch, b = slots.

The linear token time is what iteration-level scheduling measures in its memory-bound range (Yu et al., Orca, OSDI 2022;
Agrawal et al., Sarathi-Serve, OSDI 2024); 32 slots and D = 64 are the standard scenario's numbers.
All functions take scalars or arrays that broadcast; NaN in gives NaN out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from autoscaler.core.model import Floats

Numbers: TypeAlias = Floats | float


def effective_slots(slots: Numbers, slowdown: Numbers) -> Any:
    """κ = K ÷ (1 + K ÷ D): how many undisturbed requests a full batch of K is worth. 21.3 for 32 slots and D = 64."""
    return slots / (1.0 + slots / slowdown)


def batch_at(utilization: Numbers, slots: Numbers, slowdown: Numbers) -> Any:
    """The batch (requests being served, 0…slots) at which a replica gives the share `utilization` of its full throughput.

    b = uκ ÷ (1 − uκ ÷ D), and the full batch from utilization 1 on."""
    worth = np.minimum(utilization, 1.0) * effective_slots(slots, slowdown)
    return np.minimum(worth / (1.0 - worth / slowdown), slots)


def utilization_at(batch: Numbers, slots: Numbers, slowdown: Numbers) -> Any:
    """The share of full throughput that a batch gives: the inverse of batch_at. More than `slots` is the full batch."""
    taken = np.minimum(batch, slots)
    return taken / (1.0 + taken / slowdown) / effective_slots(slots, slowdown)


def throughput_per_s(batch: Numbers, capacity_per_s: Numbers, slots: Numbers, slowdown: Numbers) -> Any:
    """Requests/s that one replica finishes at a batch, where `capacity_per_s` is what it finishes at the full one."""
    return utilization_at(batch, slots, slowdown) * capacity_per_s


def service_s(batch: Numbers, capacity_per_s: Numbers, slots: Numbers, slowdown: Numbers) -> Any:
    """How long one request is being served in a batch of that size: 20 s in a full batch of 32 at 1.6 requests/s.

    Little's law, b ÷ throughput, with the limit of a lone request at b = 0."""
    taken = np.minimum(batch, slots)
    return effective_slots(slots, slowdown) / capacity_per_s * (1.0 + taken / slowdown)


def slots_needed(in_flight: Numbers, slots: Numbers, fill_ratio: Numbers) -> Any:
    """Replicas (a fraction) whose slots hold `in_flight` requests with the share `fill_ratio` of the slots taken."""
    return in_flight / (slots * fill_ratio)
