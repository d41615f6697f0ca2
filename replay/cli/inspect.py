"""``replay inspect``: what a trace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from replay.cli.options import json_option

if TYPE_CHECKING:
    from replay.traces.series import CountSeries
    from replay.traces.signal_series import SignalSeries


@click.command(
    "inspect",
    epilog="""\b
Example:
  replay inspect replay/standard/traces/office-week.csv.gz""",
)
@click.argument("trace")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME[=SIGNAL]",
    help="Of exports and OpenMetrics: what a series stands for (demand where nothing is said). May be repeated.",
)
@json_option
def command(trace: str, metrics: tuple[str, ...], as_json: bool) -> None:
    """What a trace holds: span, rates, burstiness, gaps, season, tokens, signals, and a small plot."""
    import orjson

    from replay.traces.picks import picks
    from replay.traces.portrait import look
    from replay.traces.uses import trace_use

    found, series = look(trace_use(trace).path, picks(metrics))
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(words(found))
    click.echo(_plot(series))


def _plot(series: CountSeries | SignalSeries) -> str:
    """Of the rates; of signals the first one that holds anything."""
    from replay.traces.series import CountSeries
    from replay.traces.terminal import plot, plot_values

    if isinstance(series, CountSeries):
        return plot(series)
    from autoscaler.core.signals import SIGNALS

    name = next(
        (name for name, values in sorted(series.signals.items(), key=lambda item: item[0] != "demand") if (values >= 0).any()),
        None,
    )
    if name is None:
        return "nothing was recorded"
    unit = {"requests/s": "/s", "ratio": "", "requests": ""}.get(SIGNALS[name].unit, SIGNALS[name].unit)
    return f"{name}:\n{plot_values(series.signals[name], series.span_s, unit)}"


def words(found: dict[str, Any]) -> str:
    """The portrait for people."""
    span = f"{found['span_s'] / 3600:.1f} h in {'bins' if 'requests' in found else 'steps'} of {found['bin_s']:g} s"
    lines = [
        f"{found['trace']} ({found['format']}): {span}" + (f", {found['requests']:.0f} requests" if "requests" in found else "")
    ]
    if "requests" in found:
        lines += _traffic(found)
    for name, tokens in found.get("tokens", {}).items():
        lines.append(
            f"  {name + ' tokens':<13} mean {tokens['mean']:.0f}, p50 {tokens['p50']}, p90 {tokens['p90']}, p99 {tokens['p99']}, "
            f"most {tokens['max']}"
        )
    lines += [_signal(name, signal) for name, signal in found.get("signals", {}).items()]
    return "\n".join(lines)


def _signal(name: str, signal: dict[str, Any]) -> str:
    if signal["mean"] is None:
        return f"  {name:<23} never recorded"
    gaps = f", {len(signal['gaps'])} gaps ({1 - signal['known_ratio']:.1%})" if signal["gaps"] else ""
    return f"  {name:<23} mean {signal['mean']:.3g}, p50 {signal['p50']:.3g}, p99 {signal['p99']:.3g}, highest {signal['max']:.3g}{gaps}"


def _traffic(found: dict[str, Any]) -> list[str]:
    rate, burst = found["rate_per_s"], found["burstiness"]
    lines = [
        f"  rate          mean {rate['mean']:.3g}/s, p50 {rate['p50']:.3g}, p99 {rate['p99']:.3g}, p99.9 {rate['p999']:.3g}, "
        f"highest {rate['max']:.3g} (by the minute)",
        f"  burstiness    {burst['dispersion']:.3g} × Poisson from bin to bin; peak ÷ mean {burst['peak_to_mean']:.3g}"
        if burst["dispersion"] is not None
        else f"  burstiness    peak ÷ mean {burst['peak_to_mean']:.3g}",
    ]
    gaps = found["gaps"]
    longest = max((gap["to_s"] - gap["from_s"] for gap in gaps), default=0.0)
    lines.append(f"  gaps          {len(gaps)}, the longest {longest:g} s" if gaps else "  gaps          none")
    season = [
        f"{words} explains {found['seasonality'][name]:.0%}"
        for name, words in (("day", "the time of day"), ("week", "the time of week"))
        if found["seasonality"][name] is not None
    ]
    lines.append(
        f"  season        {', '.join(season) if season else 'too short to tell'}" + (" of the hourly variance" if season else "")
    )
    return lines
