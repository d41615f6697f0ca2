"""Writes the report of a comparison: one HTML file that says what each policy costs, what it promised and kept, and where it went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import orjson

from replay.compare import Comparison, Row
from replay.cuts import cut_words, told
from replay.report.page import MOST_CUTS
from replay.report.table import optimum_words

_FIELDS: Final = (
    "trace",
    "policy",
    "promised_ratio",
    "attained_ratio",
    "requests",
    "evaluated_s",
    "warmup_s",
    "wait_s",
    "replica_hours",
    "accelerator_hours",
    "node_hours",
    "node_slot_hours",
    "idle_accelerator_hours",
    "cost",
    "actions",
    "actions_per_h",
    "blind_scale_downs",
    "optimum",
    "cost_ratio",
)
_OF_SOME: Final = ("ttft_s", "latency_s", "node_bound_ratio", "node_losses", "loop", "regret_replica_hours", "regret_cost")
"""Fields that only the request-level plant, only an optimum, only a replay or only a regret fills."""


def write_comparison(
    comparison: Comparison,
    path: Path,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    missed: Sequence[str] = (),
    gated: bool = False,
    made: Sequence[str] = (),
) -> None:
    """notes: further sentences for the top of the page. made: how it was made, a line each. missed: the gate's lines that are not kept.
    gated: whether there was a gate."""
    path.write_text(
        comparison_page(comparison, title=title, notes=notes, missed=missed, gated=gated, made=made), encoding="utf-8"
    )


def comparison_page(
    comparison: Comparison,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    missed: Sequence[str] = (),
    gated: bool = False,
    made: Sequence[str] = (),
) -> str:
    """The page's text. The same comparison gives the same bytes: nothing in it speaks of when or how fast it was made."""
    heading = title or _heading(comparison)
    curves = _Curves()
    data = {
        "title": heading,
        "verdicts": [verdict([row.score for row in comparison.rows if row.score["trace"] == t]) for t in comparison.traces],
        "notes": list(notes),
        "made": list(made),
        "gate": {"missed": list(missed)} if gated else None,
        "traces": list(comparison.traces),
        "rows": [_row(row, curves) for row in comparison.rows],
        "cuts": _cuts(comparison.rows),
        "optima": {trace: [_optimum_curve(one, curves) for one in of] for trace, of in comparison.optima.items()},
        "grids": curves.grids,
        "demands": curves.demands,
    }
    vendor = files("autoscaler") / "dashboard" / "static" / "vendor"
    folder = files("replay.report")
    parts = {
        "@@TITLE@@": heading.replace("&", "&amp;").replace("<", "&lt;"),
        "/*@@UPLOT_CSS@@*/": (vendor / "uPlot.min.css").read_text("utf-8"),
        "/*@@STYLE@@*/": (folder / "comparison.css").read_text("utf-8"),
        "/*@@UPLOT_JS@@*/": (vendor / "uPlot.iife.min.js").read_text("utf-8"),
        "/*@@SCRIPT@@*/": (folder / "comparison.js").read_text("utf-8"),
        # Last, so that no text in it is taken for a place. "<" never stands in the page's JSON, so none can end the script.
        '"@@DATA@@"': orjson.dumps(data).decode().replace("<", "\\u003c"),
    }
    page = (folder / "comparison.html").read_text("utf-8")
    for place, text in parts.items():
        page = page.replace(place, text)
    return page


def _cuts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What was cut from whom, in words, of the runs in which something was."""
    most = max(MOST_CUTS // max(len(rows), 1), 2)
    found = [(row.score, cut_words(told(row.score.get("services") or {})[:most])) for row in rows]
    return [{"trace": score["trace"], "policy": score["policy"], "words": words} for score, words in found if words]


def verdict(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a trace's scores say in one sentence: trace, best (a policy, or ''), words, and `judged` False where nothing could be. Cheap is
    what costs little money where everybody's price is known, else what takes few replica-hours."""
    trace = scores[0]["trace"]
    priced = all(score["cost"] is not None for score in scores)

    def price(score: Mapping[str, Any]) -> tuple[float, str]:
        return (score["cost"] if priced else score["replica_hours"]), score["policy"]

    def said(score: Mapping[str, Any]) -> str:
        return (f"{score['cost']:,.2f} for " if priced else "") + f"{score['replica_hours']:,.1f} replica hours"

    judged = [score for score in scores if score["attained_ratio"] is not None]
    kept = sorted((score for score in judged if score["attained_ratio"] >= score["promised_ratio"]), key=price)
    if not judged:
        words = f"{min(scores, key=price)['policy']} asks for the fewest replicas, {said(min(scores, key=price))}"
        words = f"{words}; whom that would have kept waiting the recording does not tell."
        return {"trace": trace, "best": "", "words": words, "judged": False}
    if not any(score["requests"] for score in judged):
        return {"trace": trace, "best": "", "words": "No request came, so there was no promise to keep."}
    promised = f"{100 * judged[0]['promised_ratio']:.6g} %"
    if not kept:
        closest = max(judged, key=lambda score: score["attained_ratio"])
        words = f"{closest['policy']} comes closest with {closest['attained_ratio']:.3%}, for {said(closest)}"
        words = f"Nobody keeps the promise of {promised}. {words}.{_optimum(scores[0])}"
        return {"trace": trace, "best": "", "words": words}
    best = kept[0]
    words = f"{best['policy']} keeps the promise of {promised} most cheaply: {said(best)}"
    if best["cost_ratio"] is not None:
        words += f", {best['cost_ratio']:.2f} times the optimum"
    if len(kept) > 1 and price(best)[0] > 0:
        words += f"; next is {kept[1]['policy']} with {price(kept[1])[0] / price(best)[0] - 1:.1%} more"
    failed = [score["policy"] for score in judged if score not in kept]
    return {"trace": trace, "best": best["policy"], "words": f"{words}.{_not_kept(failed)}{_optimum(best)}"}


def _optimum(score: Mapping[str, Any]) -> str:
    if not score["optimum"]:
        return ""
    words = optimum_words(score["optimum"], score["promised_ratio"])
    return f" {words[0].upper()}{words[1:]}."


def _not_kept(policies: Sequence[str]) -> str:
    return f" Not kept by {', '.join(policies)}." if policies else ""


def _heading(comparison: Comparison) -> str:
    policies = list(dict.fromkeys(row.score["policy"] for row in comparison.rows))
    what = policies[0] if len(policies) == 1 else f"{len(policies)} policies"
    where = comparison.traces[0] if len(comparison.traces) == 1 else f"{len(comparison.traces)} traces"
    return f"{what} on {where}"


class _Curves:
    """Times and demands that many curves share, written once."""

    def __init__(self) -> None:
        self.grids: list[list[int]] = []
        self.demands: list[list[Any]] = []
        self._grid_of: dict[tuple[int, ...], int] = {}
        self._demand_of: dict[tuple[Any, ...], int] = {}

    def grid(self, times_s: Sequence[int]) -> int:
        return _once(self._grid_of, self.grids, times_s)

    def demand(self, values: Sequence[Any]) -> int:
        return _once(self._demand_of, self.demands, values)


def _once(known: dict[tuple[Any, ...], int], kept: list[list[Any]], values: Sequence[Any]) -> int:
    key = tuple(values)
    if key not in known:
        known[key] = len(kept)
        kept.append(list(values))
    return known[key]


def _row(row: Row, curves: _Curves) -> dict[str, Any]:
    return {
        "score": {name: row.score[name] for name in (*_FIELDS, *(name for name in _OF_SOME if name in row.score))},
        "start_s": row.start_s,
        "services": [
            {
                **{key: value for key, value in picture.items() if key not in ("times_s", "demand", "recorded", "tick_s")},
                "grid": curves.grid(picture["times_s"]),
                # Open loop: in the place of a demand what was recorded, by signal.
                **({"demand": curves.demand(picture["demand"])} if "demand" in picture else {}),
                **({"recorded": _shared(picture["recorded"], curves)} if "recorded" in picture else {}),
                "worst": [_dated(span, row.start_s) for span in picture["worst"]],
            }
            for picture in row.pictures
        ],
    }


def _shared(recorded: Mapping[str, Sequence[Any]], curves: _Curves) -> dict[str, int]:
    return {name: curves.demand(values) for name, values in recorded.items()}


def _optimum_curve(one: Mapping[str, Any], curves: _Curves) -> dict[str, Any]:
    return {"service": one["service"], "grid": curves.grid(one["times_s"]), "ready": one["ready"]}


def _dated(span: Mapping[str, Any], start_s: float) -> dict[str, Any]:
    def at(seconds: float, form: str) -> str:
        return datetime.fromtimestamp(start_s + seconds, UTC).strftime(form)

    return {
        **span,
        "at": at(span["from_s"], "%a %d %b %Y, %H:%M:%S UTC"),
        "said": [[at(tick_s, "%H:%M:%S"), words] for tick_s, words in span["said"]],
    }
