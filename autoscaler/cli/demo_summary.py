"""The demo's score in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def headline(score: Mapping[str, Any], waits_s: Mapping[str, float]) -> str:
    """One sentence: was the promise kept? waits_s: by service, the wait that its promise allows."""
    if not score["requests"]:
        return "No request arrived, so there was nothing to keep."
    kept, promised = score["attained_ratio"], score["promised_ratio"]
    distinct = set(waits_s.values())
    within = f"waited at most {duration(distinct.pop())}" if len(distinct) == 1 else "waited no longer than promised"
    whether = "Kept the promise" if kept >= promised else "Missed the promise"
    return f"{whether}: {percent(kept)} of {score['requests']:,.0f} requests {within} ({percent(promised)} promised)."


def cost_words(score: Mapping[str, Any], peaks: Mapping[str, int]) -> str:
    """What it took, beside the count that would have been needed all the time. peaks: most replicas planned, by service."""
    hours = score["evaluated_s"] / 3600
    took = score["replica_hours"]
    words = f"It took {took:,.1f} replica-hours on {score['node_hours']:,.1f} node-hours, with {plural(score['actions'], 'change')} of replicas."
    fixed = sum(peaks.values()) * hours
    if fixed > took > 0:
        words += f" Every service at its own peak all the time: {fixed:,.1f}, {percent(fixed / took - 1, 0)} more."
    return words


def blind_words(score: Mapping[str, Any]) -> str:
    count = score["blind_scale_downs"]
    return "" if not count else f"{plural(count, 'time')} a service was scaled down while signals were unknown."


def print_summary(
    out: Console, score: Mapping[str, Any], waits_s: Mapping[str, float], peaks: Mapping[str, int], *, stopped: bool
) -> None:
    """The score for people."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    ended = "stopped early" if stopped else "done"
    simulated = f"{duration(score['evaluated_s'])} of simulated time, {plural(score['ticks'], 'decision')} a service"
    after = f", after {duration(score['warmup_s'])} of warm-up" if score["warmup_s"] else ""
    out.print(f"\n[bold]Demo {ended}[/]: {simulated}{after}.")
    style = "green" if score["attained_ratio"] >= score["promised_ratio"] else "yellow"
    out.print(f"[bold {style}]{escape(headline(score, waits_s))}[/]", soft_wrap=True)
    out.print(escape(cost_words(score, peaks)), soft_wrap=True)
    if words := blind_words(score):
        out.print(f"[yellow]{words}[/]", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Service")
    for name in ("Requests", "Kept", "Promised", "p99 wait", "Allowed", "Replica-hours", "Most", "Changes"):
        table.add_column(name, justify="right")
    for key, row in score["services"].items():
        came = row["requests"] > 0
        short = row["attained_ratio"] < row["promised_ratio"]
        kept = percent(row["attained_ratio"]) if came else "–"
        table.add_row(
            escape(key),
            f"{row['requests']:,.0f}" if came else "none",
            f"[yellow]{kept}[/]" if short else kept,
            percent(row["promised_ratio"]),
            duration(row["wait_s"]["p99"]) if came else "–",
            duration(waits_s[key]),
            f"{row['replica_hours']:,.1f}",
            str(peaks[key]),
            str(row["actions"]),
        )
    out.print()
    out.print(Padding(table, (0, 0, 0, 2), expand=False))


def percent(ratio: float, digits: int = 2) -> str:
    """Rounded down: what was nearly kept was not kept."""
    scale = 10**digits
    return (
        f"{math.floor(ratio * 100 * scale + 1e-6) / scale:.{digits}f}".rstrip("0").rstrip(".") + " %"
        if digits
        else (f"{math.floor(ratio * 100 + 1e-6):d} %")
    )


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
