"""Small stations for the tests of the request-level plant, and a slow simulator that knows none of the kernel's tricks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from autoscaler.core.model import Floats
from replay.plant.requests import kernel as places
from replay.plant.requests.station import Station


def token_s(slots: int, alone_s: float = 0.05, slowdown: float = 64.0) -> Floats:
    times: Floats = alone_s * (1.0 + np.arange(slots + 1) / slowdown)
    return times


def station(
    replicas: int, times: Floats, came: Floats, prompt: Floats, output: Floats, *, fast: bool, weight: float = 0.1
) -> Station:
    made = Station(times, fast=fast)
    made.settle(len(came))
    prefill = weight * prompt
    made.append(came, came, prompt, output, prefill, prefill + output)
    made.join(replicas, 0)
    return made


def outcome(made: Station) -> tuple[Floats, Floats, Floats]:
    """When requests started, had their first token, and ended."""
    all_of = slice(0, made.known)
    return made.picked(places.STARTED, all_of), made.picked(places.FIRST, all_of), made.picked(places.ENDED, all_of)


def poisson(rate_per_s: float, count: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Arrivals, prompts and outputs of made requests."""
    rng = np.random.Generator(np.random.PCG64(seed))
    came = np.cumsum(rng.exponential(1 / rate_per_s, count))
    return came, np.rint(rng.exponential(300, count)), np.rint(1 + rng.exponential(80, count))


@dataclass(slots=True)
class _Running:
    request: int
    left: float
    until_first: float


@dataclass(slots=True)
class _Server:
    changed: int
    running: list[_Running] = field(default_factory=list)


def slowly(
    replicas: int, times: Floats, came: Floats, prompt: Floats, output: Floats, weight: float = 0.1
) -> tuple[Floats, Floats, Floats]:
    """The same service, every running request moved on at every event."""
    slots = len(times) - 1
    count = len(came)
    started, first, ended = (np.full(count, np.inf) for _ in range(3))
    servers = [_Server(changed=number) for number in range(replicas)]
    changes = replicas
    queue: deque[int] = deque()
    now, next_in = 0.0, 0
    while next_in < count or any(server.running for server in servers):
        ends = [
            (now + min(one.left for one in server.running) * times[len(server.running)], number)
            for number, server in enumerate(servers)
            if server.running
        ]
        end_s, which = min(ends, default=(np.inf, -1))
        arrives_s = came[next_in] if next_in < count else np.inf
        at_s = min(end_s, arrives_s)
        for busy in servers:
            if busy.running:
                moved = (at_s - now) / times[len(busy.running)]
                for one in busy.running:
                    if one.until_first > 0 and one.until_first <= moved + 1e-12:
                        first[one.request] = now + one.until_first * times[len(busy.running)]
                    one.until_first -= moved
                    one.left -= moved
        now = at_s
        server: _Server | None = None
        if end_s <= arrives_s:
            server = servers[which]
            done = min(server.running, key=lambda one: one.left)
            ended[done.request] = now
            server.running.remove(done)
            if not queue:
                server.changed = changes = changes + 1
        else:
            queue.append(next_in)
            next_in += 1
            free = [one for one in servers if len(one.running) < slots]
            if free:
                server = min(free, key=lambda one: (len(one.running), -one.changed))
                server.changed = changes = changes + 1
        if server is not None and queue:
            request = queue.popleft()
            started[request] = now
            prefill = weight * prompt[request]
            server.running.append(_Running(request, prefill + output[request], prefill))
            if prefill == 0:
                first[request] = now
    return started, first, ended


def completed(made: Station) -> int:
    return int(made.counts[places.DONE])
