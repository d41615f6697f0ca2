"""``replay inspect``: what a trace holds."""

from __future__ import annotations

from typing import Any

import click

from replay.cli.options import json_option


@click.command(
    "inspect",
    epilog="""\b
Example:
  replay inspect replay/standard/traces/office-week.csv.gz""",
)
@click.argument("trace")
@json_option
def command(trace: str, as_json: bool) -> None:
    """What a trace holds: span, rates, burstiness, gaps, season, and a small plot."""
    import orjson

    from replay.traces.portrait import portrait
    from replay.traces.registry import read_trace
    from replay.traces.uses import trace_use

    series = read_trace(trace_use(trace).path)
    found = portrait(series)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    from replay.traces.terminal import plot

    click.echo(words(found))
    click.echo(plot(series))


def words(found: dict[str, Any]) -> str:
    """The portrait for people."""
    rate, burst = found["rate_per_s"], found["burstiness"]
    lines = [
        f"{found['trace']}: {found['span_s'] / 3600:.1f} h in bins of {found['bin_s']:g} s, {found['requests']:.0f} requests",
        f"  rate        mean {rate['mean']:.3g}/s, p50 {rate['p50']:.3g}, p99 {rate['p99']:.3g}, p99.9 {rate['p999']:.3g}, "
        f"highest {rate['max']:.3g} (by the minute)",
        f"  burstiness  {burst['dispersion']:.3g} × Poisson from bin to bin; peak ÷ mean {burst['peak_to_mean']:.3g}"
        if burst["dispersion"] is not None
        else f"  burstiness  peak ÷ mean {burst['peak_to_mean']:.3g}",
    ]
    gaps = found["gaps"]
    longest = max((gap["to_s"] - gap["from_s"] for gap in gaps), default=0.0)
    lines.append(f"  gaps        {len(gaps)}, the longest {longest:g} s" if gaps else "  gaps        none")
    season = [
        f"{words} explains {found['seasonality'][name]:.0%}"
        for name, words in (("day", "the time of day"), ("week", "the time of week"))
        if found["seasonality"][name] is not None
    ]
    lines.append(
        f"  season      {', '.join(season) if season else 'too short to tell'}" + (" of the hourly variance" if season else "")
    )
    return "\n".join(lines)
