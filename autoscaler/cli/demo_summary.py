"""The demo's score in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from autoscaler.cli.demo_nodes import Growth, NodeStory

MOST_NODES: Final = 12


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


def nodes_words(story: NodeStory) -> str:
    """Were nodes there before the replicas? "" where no pool grew."""
    grown, ahead = len(story.growths), story.ahead
    if not grown:
        return ""
    words = f"{plural(grown, 'node')} {'was' if grown == 1 else 'were'} asked for on top of the first ones"
    if ahead:
        mean_s = sum(one.ahead_s or 0.0 for one in ahead) / len(ahead)
        words += f": {len(ahead)} ahead of the replicas, {minutes(mean_s)} before they needed them"
    if behind := len(story.behind):
        words += f"{',' if ahead else ':'} {behind} when replicas {'already waited' if ahead else 'were waiting already'}"
    if unused := grown - len(ahead) - behind:
        words += f"{';' if ahead or behind else ':'} {unused} as room that no replica needed so far"
    return f"{words}."


def print_summary(
    out: Console,
    score: Mapping[str, Any],
    waits_s: Mapping[str, float],
    peaks: Mapping[str, int],
    story: NodeStory,
    *,
    stopped: bool,
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
    if words := nodes_words(story):
        out.print(words, soft_wrap=True)
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
    if story.growths:
        out.print()
        out.print(Padding(_nodes_table(story.growths[:MOST_NODES]), (0, 0, 0, 2), expand=False))
        if (more := len(story.growths) - MOST_NODES) > 0:
            out.print(f"  … and {more} more", style="dim")


def _nodes_table(growths: Sequence[Growth]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Pool", "Node", "Asked for", "Ready", "Needed", "So"):
        table.add_column(name, justify="left" if name in ("Pool", "So") else "right")
    for one in growths:
        table.add_row(
            escape(one.pool), f"no. {one.number}", *(_clock(at_s) for at_s in (one.asked_s, one.ready_s, one.needed_s)), _so(one)
        )
    return table


def _so(growth: Growth) -> str:
    if growth.needed_s is None:
        return "room that no replica needed so far"
    ahead = f"asked for {minutes(growth.ahead_s)} ahead" if growth.ahead_s else "asked for when needed"
    if growth.waited_s is None:
        return f"{ahead}, not ready yet"
    return (
        f"{ahead}, there in time" if growth.waited_s == 0 else f"[yellow]{ahead}, replicas waited {minutes(growth.waited_s)}[/]"
    )


def _clock(at_s: float | None) -> str:
    return "–" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f}".removesuffix(".0") + " min"


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
