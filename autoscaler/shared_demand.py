"""Objects that read the very same work: where they are versions of one service, each of them is sized for all of it.

What a preset reads is of the target's own pods, so the versions behind one Service each see what comes to them. Own PromQL and what only a gateway
tells is seen whole by everybody who names it. That is right where every request comes to all of them (a pipeline), and doubles a service
of which they are versions; which of the two it is nobody but their owner knows, and ``signals.share`` says it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from autoscaler.spec import InferenceAutoscaler

Source: TypeAlias = tuple[object, ...]
WORK: Final = ("demand", "queue", "running", "concurrency")
"""Signals by which services are sized."""
GATEWAYS_TELL: Final[Mapping[str, tuple[str, ...]]] = {
    "envoy": ("demand", "queue"),
    "istio": ("demand",),
    "nginx": ("demand",),
    "endpoint-picker": ("queue",),
    "knative": ("queue",),
}
WITHOUT_WORK: Final = frozenset({"dcgm"})
"""Presets that tell of no work; all others tell of what they count at the target's own pods."""


def shared_demand(objects: Sequence[InferenceAutoscaler]) -> dict[int, str]:
    """Which of `objects` read what others read too without saying what part of it is theirs (by place), and what their owner is to do. Only Active
    ones count: the others add no replicas."""
    readers: defaultdict[Source, list[int]] = defaultdict(list)
    for place, one in enumerate(objects):
        if one.spec.mode == "Active":
            for source in _sources(one):
                readers[source].append(place)
    found: dict[int, str] = {}
    for source, places in readers.items():
        if len({_target(objects[place]) for place in places}) < 2:
            continue
        for place in places:
            if objects[place].spec.signals.share is None and place not in found:
                others = [_name(objects[other]) for other in places if other != place]
                found[place] = _words(str(source[1]), str(source[2]), others)
    return found


def _sources(one: InferenceAutoscaler) -> list[Source]:
    """Where its work comes from, as far as others may read the same."""
    signals, namespace = one.spec.signals, one.metadata.namespace
    server = msgspec.json.encode(signals.prometheus)
    own = {query.signal: query.query for query in signals.queries if query.signal in WORK}
    found: list[Source] = [(namespace, signal, "own PromQL", text, server) for signal, text in own.items()]
    if signals.gateway is not None and WITHOUT_WORK.issuperset(signals.presets):
        name = signals.gateway.name or one.spec.scale_target_ref.name
        told = (signal for signal in GATEWAYS_TELL[signals.gateway.preset] if signal not in own)
        found += [(namespace, signal, f"gateway {signals.gateway.preset}", name, server) for signal in told]
    return found


def _target(one: InferenceAutoscaler) -> tuple[str, str]:
    """What is sized by that work. The roles of a service are one: every request comes to each of them."""
    if one.spec.role is not None:
        return "role", one.spec.role.service
    return one.spec.scale_target_ref.kind, one.spec.scale_target_ref.name


def _name(one: InferenceAutoscaler) -> str:
    return f"{one.metadata.namespace}/{one.metadata.name}"


def _words(signal: str, source: str, others: Sequence[str]) -> str:
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return (
        f"{signal} ({source}) is the very same that {', '.join(others[:3])}{more} reads, and each is sized for all of it. Where they are versions of "
        "one service, say which part comes here (signals.share, such as 10%) or let each read its own; where every request comes to all of "
        "them, say that (signals.share: 100%)"
    )
