"""Why this many replicas: one service's way from signals to plan in one tick, as plain JSON values with words for people.

The live page, ``GET /api/services/{namespace}/{name}/explain`` and ``autoscaler explain`` give the same document; it is made from a tick
or from a recorded one. Every step says what it made of the count before it, so that the steps read top to bottom like a sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from autoscaler.core.model import Limit, Role, Written
from autoscaler.core.node_facts import PoolFacts
from autoscaler.core.signals import SIGNALS, SignalState
from autoscaler.core.updates import version_words
from autoscaler.lead_time_words import lead_times
from autoscaler.ports import Tick
from autoscaler.told_forecasts import told_forecasts, with_words

SCHEMA: Final = 1

_WRITTEN: Final = {
    Written.NOTHING: "nothing to write",
    Written.DONE: "written",
    Written.REFUSED: "refused: the object was changed by somebody else in the meantime; decided again at the next tick",
    Written.FAILED: "the write failed; tried again at the next tick",
}


def explain_tick(tick: Tick, row: int) -> dict[str, Any]:
    """The document for one row of a tick. Call it before the next tick: words live no longer."""
    fleet, decisions, plan = tick.fleet, tick.decisions, tick.plan
    spec = fleet.specs[row]
    limits = tick.limits(row)
    return _document(
        key=spec.key,
        target=spec.target,
        mode=spec.mode,
        policies=[policy.name for policy in spec.policies],
        pool=spec.pool,
        tick=tick.number,
        at_s=float(decisions.at_s),
        leading=tick.leading,
        signals=[
            {
                "name": name,
                "value": _number(column.values[row]),
                "age_s": _number(column.age_s[row]),
                "state": SignalState(int(column.state[row])).name.lower(),
                "why": tick.readings.why(name, row),
            }
            for name, column in tick.readings.signals.items()
        ],
        capacity=_capacity(
            spec.capacity.learnt,
            spec.capacity.per_s,
            decisions.capacity_per_s[row],
            None if decisions.capacity_confidence is None else decisions.capacity_confidence[row],
        ),
        counts={
            "current": int(fleet.current[row]),
            "ready": int(fleet.ready[row]),
            "starting": int(fleet.starting[row]),
            "draining": int(fleet.draining[row]),
        },
        update=update_words(
            () if fleet.versions is None else fleet.versions[row], 0 if fleet.surge is None else int(fleet.surge[row])
        ),
        recommended=_number(decisions.recommended[row]),
        reason=decisions.reason(row),
        forecasts=told_forecasts(decisions, row),
        role=_role(spec.role, "" if decisions.roles is None else decisions.roles.words(row)),
        limits=[_limit(limit) for limit in limits],
        desired=int(decisions.desired[row]),
        planned=int(plan.replicas[row]),
        headroom=int(plan.headroom[row]),
        act=bool(plan.act[row]),
        written=Written(int(tick.outcome.written[row])),
        error=tick.outcome.errors.get(row, ""),
        leaving=tick.outcome.leaving.get(row, ""),
        hands_off=fleet.hands_off_why.get(row, "") or ("not ours to write" if fleet.hands_off[row] else ""),
        nodes=dict(plan.nodes),
        node_words=_words_of(spec.pool_names, plan.node_words),
        lead_times=lead_times(
            float(fleet.lead_time_s[row]),
            float(fleet.node_lead_time_s[row]),
            fleet.lead_stages(row),
            None if spec.pool is None else fleet.pool_facts.get(spec.pool),
            fleet.stuck[row].words if row in fleet.stuck else "",
        ),
        problems=list(tick.problems),
    )


def explain_record(fleet: Mapping[str, Any], tick: Mapping[str, Any], row: int) -> dict[str, Any]:
    """The same from a ``fleet`` record and a ``tick`` record after it (see autoscaler.record), decoded from JSON."""
    spec = fleet["services"][row]
    text = str(row)
    given = spec["capacity"]
    learnt = tick.get("capacity", {"per_s": {row: given["per_s"]}, "confidence": {row: None}})
    return _document(
        key=f"{spec['namespace']}/{spec['name']}",
        target=spec["target"],
        mode=spec["mode"],
        policies=[policy["name"] for policy in spec["policies"]],
        pool=spec.get("pool"),
        tick=tick["tick"],
        at_s=tick["at_s"],
        leading=tick["leading"],
        signals=[
            {
                "name": name,
                "value": _number(column["values"][row]),
                "age_s": _number(column["age_s"][row]),
                "state": SignalState(int(column["state"][row])).name.lower(),
                "why": column.get("why", {}).get(text, ""),
            }
            for name, column in tick["signals"].items()
        ],
        capacity=_capacity(given.get("learnt", False), given["per_s"], learnt["per_s"][row], learnt["confidence"][row]),
        counts={name: tick[name][row] for name in ("current", "ready", "starting", "draining")},
        update=update_words(tick["versions"][row] if "versions" in tick else (), tick["surge"][row] if "surge" in tick else 0),
        recommended=_number(tick["recommended"][row]),
        reason=tick["reasons"][row],
        forecasts=tick["forecasts"][row] if "forecasts" in tick else [],
        role=_role(spec.get("role"), tick.get("roles", {}).get("words", {}).get(text, "")),
        limits=[dict(limit) for limit in tick["limits"][row]],
        desired=tick["desired"][row],
        planned=tick["planned"][row],
        headroom=tick["headroom"][row],
        act=tick["act"][row],
        written=Written(tick["written"][row]),
        error=tick["errors"].get(text, ""),
        leaving=tick.get("leaving", {}).get(text, ""),
        hands_off=tick["hands_off"].get(text, ""),
        nodes=dict(tick["nodes"]),
        node_words=_words_of(_pool_names(spec), tick.get("node_words", {})),
        lead_times=lead_times(
            tick["lead_time_s"][row],
            tick["node_lead_time_s"][row],
            (),
            msgspec.convert(tick.get("pools_seen", {}).get(spec.get("pool")), PoolFacts | None),
            tick.get("stuck", {}).get(text, {}).get("words", ""),
        ),
        problems=list(tick["problems"]),
    )


def _document(
    *,
    key: str,
    target: str,
    mode: str,
    policies: list[str],
    pool: str | None,
    tick: int,
    at_s: float,
    leading: bool,
    signals: list[dict[str, Any]],
    capacity: dict[str, Any],
    counts: dict[str, int],
    update: str,
    recommended: float | None,
    reason: str,
    forecasts: list[dict[str, Any]],
    role: dict[str, str] | None,
    limits: list[dict[str, Any]],
    desired: int,
    planned: int,
    headroom: int,
    act: bool,
    written: Written,
    error: str,
    leaving: str,
    hands_off: str,
    nodes: dict[str, int],
    node_words: dict[str, str],
    lead_times: dict[str, Any],
    problems: list[str],
) -> dict[str, Any]:
    for signal in signals:
        known = SIGNALS.get(signal["name"])
        signal["unit"] = known.unit if known else ""
    writing = _writing_words(mode, leading, act, written, error, hands_off, counts["current"], planned)
    if leaving:
        writing = f"{'not lowered yet' if written is Written.NOTHING else writing}; {leaving}"
    return {
        "schema": SCHEMA,
        "key": key,
        "target": target,
        "mode": mode,
        "tick": tick,
        "at_s": at_s,
        "leading": leading,
        "sentence": _sentence(planned, reason, limits, counts, capacity, update, role),
        "signals": signals,
        "capacity": capacity,
        "forecasts": [with_words(told, at_s) for told in forecasts],
        **counts,
        "update": update,
        "recommended": recommended,
        "reason": reason,
        "role": role,
        "limits": limits,
        "desired": desired,
        "planned": planned,
        "headroom": headroom,
        "act": act,
        "written": written.name.lower(),
        "error": error,
        "hands_off": hands_off,
        "pool": pool,
        "nodes": nodes,
        "node_words": node_words,
        "lead_times": lead_times,
        "steps": _steps(policies, recommended, reason, limits, counts["current"], planned, writing),
        "problems": problems,
    }


def _steps(
    policies: list[str],
    recommended: float | None,
    reason: str,
    limits: list[dict[str, Any]],
    current: int,
    planned: int,
    writing: str,
) -> list[dict[str, Any]]:
    """From the policy's wish over each limit that changed it to what was written."""
    return [
        {
            "step": "policy",
            "name": ", ".join(policies),
            "before": None,
            "after": None if recommended is None else math.ceil(recommended - 1e-9),
            "words": reason or "no policy said anything",
        },
        *(
            {"step": "limit", "name": limit["name"], "before": limit["before"], "after": limit["after"], "words": limit["why"]}
            for limit in limits
        ),
        {"step": "write", "name": "Write", "before": current, "after": planned, "words": writing},
    ]


def _sentence(
    planned: int,
    reason: str,
    limits: list[dict[str, Any]],
    counts: Mapping[str, int],
    capacity: Mapping[str, Any],
    update: str,
    role: Mapping[str, str] | None,
) -> str:
    """All of it in one breath: the count, the policy's view, each limit that bit, and how far the cluster is."""
    parts = [reason or "no policy said anything", *(f"{limit['name']}: {limit['why']}" for limit in limits)]
    if role is not None and role["words"]:
        parts.append(f"Role {role['name']}: {role['words']}")
    if capacity["mode"] == "learnt":
        parts.append(capacity["words"])
    on_the_way = f", {counts['starting']} starting" if counts["starting"] else ""
    on_the_way += f"; {update}" if update else ""
    return f"{planned} {'replica' if planned == 1 else 'replicas'}. {'. '.join(parts)}. Now {counts['ready']} ready{on_the_way}."


def _pool_names(spec: Mapping[str, Any]) -> list[str]:
    """``ScalingSpec.pool_names`` of a record's service."""
    return [use["name"] for use in spec.get("pools", ())] or list(filter(None, [spec.get("pool")]))


def _words_of(pools: Sequence[str], words: Mapping[str, str]) -> dict[str, str]:
    """Why as many nodes, of the pools that a service names."""
    return {name: words[name] for name in pools if name in words}


def _role(role: Role | Mapping[str, Any] | None, words: str) -> dict[str, str] | None:
    """Which part of which service it is, and what was said of that service."""
    if role is None:
        return None
    service, name = (role.service, role.name) if isinstance(role, Role) else (role["service"], role["name"])
    return {"service": service, "name": name, "words": words}


def update_words(versions: Sequence[Sequence[Any]], surge: int) -> str:
    """How far an update of the target is, "" where there is none."""
    parts = []
    if len(versions) > 1:
        parts.append(version_words(versions))
    if surge:
        parts.append(f"{surge} beyond the count, which an update or a smaller count will remove")
    return ", ".join(parts)


def _capacity(learnt: bool, given_per_s: Any, per_s: Any, confidence: Any) -> dict[str, Any]:
    """What a replica is taken to do."""
    given, now, sure = _number(given_per_s), _number(per_s), _number(confidence)
    prior = "nothing was given" if given is None else f"{given:.3g} given"
    if now is None:
        words = "what a replica can do is not known" + (" yet" if learnt else "")
    elif learnt:
        words = f"a replica does {now:.3g} requests/s (learnt, confidence {sure or 0.0:.2f}, {prior})"
    else:
        words = f"a replica does {now:.3g} requests/s (given)"
    return {
        "mode": "learnt" if learnt else "given",
        "per_s": now,
        "given_per_s": given,
        "confidence": sure if learnt else None,
        "words": words,
    }


def _writing_words(
    mode: str, leading: bool, act: bool, written: Written, error: str, hands_off: str, current: int, planned: int
) -> str:
    if error:
        return error
    if hands_off:
        return f"not written: {hands_off}"
    if written != Written.NOTHING:
        return _WRITTEN[written]
    if planned == current:
        return f"the target has {current} already"
    if mode == "Shadow":
        return f"mode Shadow: {planned} is only noted, the target keeps {current}"
    if mode == "Recommend":
        return f"mode Recommend: {planned} is published, the target's {current} is somebody else's to change"
    if act and not leading:
        return "a standby does not write; the leader does"
    return _WRITTEN[Written.NOTHING]


def _limit(limit: Limit) -> dict[str, Any]:
    return {"name": limit.name, "before": int(limit.before), "after": int(limit.after), "why": limit.why}


def _number(value: Any) -> float | None:
    """A JSON number, or null where it is not one (NaN, infinite)."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
