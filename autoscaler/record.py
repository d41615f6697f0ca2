"""TickRecords: a tick as one JSON line, for people, audit and replay. The format is documented in docs/records.md.

A file starts with a ``fleet`` record (the services' specs, and with ``start: state`` all that the engine had learnt), and has another one
whenever the fleet changes; ``tick`` records between them hold columns in the order of the last fleet record's services. Whoever has a
fleet record that says how the engine stood, and the ticks after it, can run them again: ``replay verify``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import orjson

from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import Fleet, Pause, PoolSpec, ScalingSpec, SignalColumn, Versions
from autoscaler.core.short import Bounds
from autoscaler.core.signals import UNKNOWN
from autoscaler.ports import Tick
from autoscaler.told_forecasts import told_forecasts

SCHEMA: Final = 1
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_OPTIONS: Final = _NUMPY | orjson.OPT_APPEND_NEWLINE
_PIECE: Final = 1024
"""Items of a list that are encoded at once."""


Start: TypeAlias = Literal["cold", "state", "continues", "unknown"]
"""How the engine stood before the tick that follows a fleet record: new, as ``state`` says, as the ticks before left it, or unrecorded
(from there on until a state follows)."""


def fleet_record(
    fleet: Fleet,
    *,
    at_s: float,
    interval_s: float,
    seed: int,
    wanted: Mapping[str, Any],
    budget: ChangeBudget,
    shadow: bool,
    start: Start,
    state: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the following tick records are columns of. budget, shadow: the controller's. state: ``Engine.save()`` taken after the tick before,
    with start "state"."""
    return {
        "schema": SCHEMA,
        "kind": "fleet",
        "start": start,
        "at_s": at_s,
        "interval_s": interval_s,
        "seed": seed,
        "budget": msgspec.to_builtins(budget),
        "shadow": shadow,
        "revision": fleet.revision,
        "services": [_service(spec) for spec in fleet.specs],
        "pools": [_pool(pool) for pool in fleet.pools],
        "memories": {key: msgspec.to_builtins(memory) for key, memory in fleet.memories.items()},
        "wanted": wanted,
        "state": state,
    }


def tick_record(tick: Tick) -> dict[str, Any]:
    """One tick. Columns are arrays in the fleet's order; unknown numbers are null."""
    fleet, decisions, plan = tick.fleet, tick.decisions, tick.plan
    rows = range(len(fleet))
    return {
        "schema": SCHEMA,
        "kind": "tick",
        "tick": tick.number,
        "at_s": decisions.at_s,
        "revision": fleet.revision,
        "leading": tick.leading,
        "current": fleet.current,
        "ready": fleet.ready,
        "starting": fleet.starting,
        "draining": fleet.draining,
        **_versions(fleet),
        **_nodes_seen(fleet),
        "lead_time_s": fleet.lead_time_s,
        "node_lead_time_s": fleet.node_lead_time_s,
        "hands_off": dict(_texts(fleet.hands_off_why)),
        "paused": None if fleet.paused is None else msgspec.to_builtins(fleet.paused),
        "signals": {
            name: {"values": column.values, "age_s": column.age_s, "state": column.state, "why": _whys(tick, name, column)}
            | ({} if column.span_s is None else {"span_s": column.span_s})
            for name, column in tick.readings.signals.items()
        },
        "recommended": decisions.recommended,
        **_learnt(tick),
        **_roles(tick),
        "desired": decisions.desired,
        "headroom": decisions.headroom,
        "blind": decisions.blind,
        "partial": decisions.partial,
        "planned": plan.replicas,
        "act": plan.act,
        "written": tick.outcome.written,
        "nodes": dict(plan.nodes),
        **_nodes(tick),
        "reasons": [decisions.reason(row) for row in rows],
        **_forecasts(tick),
        "limits": [[msgspec.to_builtins(limit) for limit in tick.limits(row)] for row in rows],
        "errors": dict(_texts(tick.outcome.errors)),
        **({"leaving": dict(_texts(tick.outcome.leaving))} if tick.outcome.leaving else {}),
        "problems": list(tick.problems),
    }


def _forecasts(tick: Tick) -> dict[str, Any]:
    """What policies foretell each service, where any does."""
    decisions = tick.decisions
    if not decisions.forecasts:
        return {}
    return {"forecasts": [told_forecasts(decisions, row) for row in range(len(tick.fleet))]}


def _nodes(tick: Tick) -> dict[str, Any]:
    """What is known of pools' nodes, and why and where they are planned; nothing where there is nothing to say."""
    fleet, plan = tick.fleet, tick.plan
    told: dict[str, Any] = {
        "node_words": dict(plan.node_words),
        "zone_nodes": {pool: dict(zones) for pool, zones in plan.zone_nodes.items()},
        "spot_nodes": dict(plan.spot_nodes),
    }
    told = {name: value for name, value in told.items() if value}
    if fleet.pool_nodes is not None:
        told["pool_nodes"] = dict(fleet.pool_nodes)
    if fleet.placed is not None:
        told["placed"] = {str(row): dict(there) for row, there in fleet.placed.items()}
    if fleet.draining_on is not None:
        told["draining_on"] = {str(row): dict(there) for row, there in fleet.draining_on.items()}
    if fleet.draining_lost:
        told["draining_lost"] = {str(row): replicas for row, replicas in fleet.draining_lost.items()}
    if fleet.staying_lost:
        told["staying_lost"] = {str(row): dict(there) for row, there in fleet.staying_lost.items()}
    if plan.bounds is not None:
        told["short"] = msgspec.to_builtins(plan.bounds, str_keys=True)
    return told


def decode_bounds(data: Mapping[str, Any]) -> Bounds | None:
    """Of a tick record: what was short."""
    return msgspec.convert(data["short"], Bounds, strict=False) if "short" in data else None


def decode_placed(data: Mapping[str, Any], column: str = "placed") -> dict[int, dict[str, int]] | None:
    """Of a tick record. column: or "draining_on", "staying_lost"."""
    return {int(row): dict(there) for row, there in data[column].items()} if column in data else None


def decode_draining_lost(data: Mapping[str, Any]) -> dict[int, int]:
    """Of a tick record."""
    return {int(row): replicas for row, replicas in data.get("draining_lost", {}).items()}


def _nodes_seen(fleet: Fleet) -> dict[str, Any]:
    """What is seen of pools' nodes, and which replicas find none for too long; nothing where there is nothing to tell."""
    told: dict[str, Any] = {}
    if fleet.pool_facts:
        told["pools_seen"] = {name: msgspec.to_builtins(facts) for name, facts in fleet.pool_facts.items()}
    if fleet.stuck:
        told["stuck"] = {str(row): {**msgspec.to_builtins(stuck), "words": stuck.words} for row, stuck in fleet.stuck.items()}
    return told


def _versions(fleet: Fleet) -> dict[str, Any]:
    """What is told of updates; nothing where nobody tells of any."""
    told: dict[str, Any] = {} if fleet.surge is None else {"surge": fleet.surge}
    if fleet.versions is not None:
        told["versions"] = [[list(pair) for pair in of] for of in fleet.versions]
    return told


def decode_versions(data: Mapping[str, Any]) -> tuple[Versions, ...] | None:
    """Of a tick record."""
    if "versions" not in data:
        return None
    return tuple(tuple((str(version), float(share)) for version, share in of) for of in data["versions"])


def _learnt(tick: Tick) -> dict[str, Any]:
    """What replicas were taken to do, where the specs don't say it."""
    decisions = tick.decisions
    if decisions.capacity_confidence is None:
        return {}
    return {"capacity": {"per_s": decisions.capacity_per_s, "confidence": decisions.capacity_confidence}}


def _roles(tick: Tick) -> dict[str, Any]:
    """What was said of services of several roles: each row's bottleneck (a row, −1: none), and words where there are any."""
    roles = tick.decisions.roles
    if roles is None:
        return {}
    said = {str(row): words for row in range(len(tick.fleet)) if (words := roles.words(row))}
    return {"roles": {"bottleneck": roles.bottleneck, "words": said}}


def _whys(tick: Tick, name: str, column: SignalColumn) -> dict[str, str]:
    """Why values are unknown, by column; only those."""
    if not np.count_nonzero(column.state):
        return {}
    return {str(row): tick.readings.why(name, row) for row in np.flatnonzero(column.state == UNKNOWN).tolist()}


def encode(record: Mapping[str, Any]) -> bytes:
    """One JSON line. The same record always gives the same bytes."""
    return orjson.dumps(_contiguous(record), option=_OPTIONS)


def encode_in_pieces(record: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of ``encode``, piece by piece: a thread that encodes a large record lets others run between two of them (the encoder does
    not while it works)."""
    yield from _pieces(record)
    yield b"\n"


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        opening = b"{"
        for key, item in value.items():
            yield opening + orjson.dumps(key) + b":"
            yield from _pieces(item)
            opening = b","
        yield b"}" if opening == b"," else b"{}"
    elif isinstance(value, list) and len(value) > _PIECE:
        for start in range(0, len(value), _PIECE):
            yield b"[" if not start else b","
            yield orjson.dumps(_contiguous(value[start : start + _PIECE]), option=_NUMPY)[1:-1]
        yield b"]"
    else:
        yield orjson.dumps(_contiguous(value), option=_NUMPY)


def decode_spec(data: Mapping[str, Any]) -> ScalingSpec:
    """A service of a fleet record. JSON has no NaN: a number of a capacity that isn't known is null; a bound that isn't there stays so."""
    unknown = ("per_s", "itl_s", "prefill_s")
    capacity = {name: math.nan if value is None and name in unknown else value for name, value in data["capacity"].items()}
    return msgspec.convert({**data, "capacity": capacity}, ScalingSpec)


def decode_pool(data: Mapping[str, Any]) -> PoolSpec:
    return msgspec.convert(data, PoolSpec)


def decode_budget(data: Mapping[str, Any]) -> ChangeBudget:
    return msgspec.convert(data, ChangeBudget)


def decode_pause(data: Mapping[str, Any] | None) -> Pause | None:
    return None if data is None else msgspec.convert(data, Pause)


def decode_column(data: Mapping[str, Any]) -> SignalColumn:
    """A signal's column from a tick record; null is NaN (an unknown age is infinite)."""
    return SignalColumn(
        values=_floats(data["values"], np.nan),
        age_s=_floats(data["age_s"], np.inf),
        state=np.array(data["state"], dtype=np.int8),
        span_s=_floats(data["span_s"], np.nan) if "span_s" in data else None,
    )


def _floats(values: list[float | None], missing: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([missing if value is None else value for value in values], dtype=np.float64)


def _service(spec: ScalingSpec) -> dict[str, Any]:
    # Where signals come from and what is published is no part of a decision, and the first may name servers.
    told: dict[str, Any] = msgspec.to_builtins(spec if spec.sources is None else replace(spec, sources=None))
    del told["publication"]
    if not spec.pools:
        del told["pools"]
    if not spec.drain_empties_nodes:
        del told["drain_empties_nodes"]
    return told


_POOL_DEFAULTS: Final = {
    one.name: one.default for one in fields(PoolSpec) if one.default is not MISSING and one.name != "cost_per_hour"
}


def _pool(pool: PoolSpec) -> dict[str, Any]:
    """Without what is as if nobody had said anything, so that files stay as they were; and without how its size is set, and of which
    object, which is no part of a decision and names accounts."""
    told: dict[str, Any] = msgspec.to_builtins(pool if pool.backend is None else replace(pool, backend=None))
    del told["backend"], told["uid"], told["node_selector"]
    return {
        name: value for name, value in told.items() if name not in _POOL_DEFAULTS or getattr(pool, name) != _POOL_DEFAULTS[name]
    }


def _texts(words: Mapping[int, str]) -> Mapping[str, str]:
    return {str(row): text for row, text in words.items()}


def _contiguous(value: Any) -> Any:
    """orjson takes only contiguous arrays."""
    if isinstance(value, np.ndarray):
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    if isinstance(value, dict):
        return {key: _contiguous(item) for key, item in value.items()}
    return value
