"""``replay run``: one policy on one trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from replay.cli.options import json_option, manifest_option, scenario_option, set_option, trace_option

_RECORDS = "records.jsonl"
_MOST_CUTS = 20


@click.command(
    "run",
    epilog="""\b
Example:
  replay run -t replay/standard/traces/day.csv.gz -p target:signal=concurrency -o build/replay""",
)
@manifest_option
@scenario_option
@trace_option
@click.option(
    "-p", "--policy", metavar="NAME[:KEY=VALUE,…]", help="A policy of `autoscaler policies`, instead of the manifest's own."
)
@set_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for score.json, schedule.csv, records.jsonl and report.html.",
)
@json_option
def command(
    manifests: tuple[Path, ...],
    scenario: Path,
    trace: str,
    policy: str | None,
    settings: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """One policy on one trace: what it costs, and whom it keeps waiting.

    Every service of the manifest gets the whole trace, scaled to its own replicas; roles of one service are scaled together.
    """
    import orjson

    from autoscaler.errors import OutsideError
    from autoscaler.manifests import load_manifests
    from autoscaler.overrides import pairs
    from replay.cli.progress import progress
    from replay.open_loop import run_open_loop
    from replay.plugins import loadable, policy_ref
    from replay.report.page import write_report
    from replay.run import run_replay
    from replay.scenario import load_scenario
    from replay.settings import split
    from replay.traces.registry import read_any, read_singly
    from replay.traces.signal_series import SignalSeries
    from replay.traces.uses import trace_use

    of_manifest, of_scenario = split(pairs(settings))
    use = trace_use(trace)
    loaded = load_manifests(list(manifests), of_manifest, policies=loadable())
    setting = load_scenario(scenario, of_scenario, use)
    ref = None if policy is None else policy_ref(policy)
    series = read_singly(use.path) if setting.plant == "requests" else read_any(use.path)
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OutsideError(f"{output}: {fault.strerror}") from None
    with progress(f"{series.name}, {policy or 'the manifest’s policy'}") as told:
        records = None if output is None else output / _RECORDS
        if isinstance(series, SignalSeries):
            result = run_open_loop(loaded, setting, series, policy=ref, records=records, progress=told)
        else:
            result = run_replay(loaded, setting, series, policy=ref, records=records, progress=told)
    for text in result.warnings:
        click.echo(f"WARNING: {text}", err=True)
    score = orjson.dumps(result.score, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is not None:
        try:
            (output / "score.json").write_bytes(score)
            result.write_schedules(output)
            write_report(result, output / "report.html", output / _RECORDS)
        except OSError as fault:
            raise OutsideError(f"{output}: {fault.strerror}") from None
    click.echo(score.decode() if as_json else words(result.score), nl=False)
    if output is not None and not as_json:
        click.echo(f"\nreport: {output / 'report.html'}")


def words(score: dict[str, Any]) -> str:
    """The score for people."""
    from replay.cuts import cut_words, told
    from replay.lost import lost_words

    hours = score["evaluated_s"] / 3600
    lines = [
        f"{score['policy']} on {score['trace']}, {hours:.1f} h",
        *(
            _requests(score)
            if not score.get("open_loop")
            else ["  open loop  readings as recorded; waits and attainment can't be told"]
        ),
        *_scale(score),
        f"  replicas   {score['replica_hours']:.1f} hours ({score['replica_hours'] / hours:.1f} on average)",
        f"  nodes      {score['node_hours']:.1f} hours ({score['node_slot_hours']:.0f} slot hours, idle {score['idle_accelerator_hours']:.0f})",
    ]
    for pool, of in score.get("pools", {}).items():
        lines.append(f"    {pool}: {of['node_hours']:.1f} hours" + ("" if of["cost"] is None else f", cost {of['cost']:.2f}"))
    if score["cost"] is not None:
        lines.append(f"  cost       {score['cost']:.2f}")
    lines.append(
        f"  changes    {score['actions']} ({score['actions_per_h']:.1f} an hour), while blind downwards {score['blind_scale_downs']}"
    )
    if lost := lost_words(score.get("node_losses")):
        lines.append(f"  lost       {lost}")
    if len(score["services"]) > 1:
        lines += [f"  {key}: {_kept(one)}{one['replica_hours']:.1f} replica hours" for key, one in score["services"].items()]
    lines += [f"  cut        {line}" for line in cut_words(told(score["services"]))[:_MOST_CUTS]]
    return "\n".join(lines) + "\n"


def _scale(score: dict[str, Any]) -> list[str]:
    factors = sorted({one["scale_factor"] for one in score["services"].values() if one.get("scale_factor") is not None})
    if not factors:
        return []  # open loop: nothing is scaled
    between = f"{factors[0]:.4g}" if len(factors) == 1 else f"{factors[0]:.4g} to {factors[-1]:.4g}"
    return [f"  scale      recorded rates × {between}"]


def _requests(score: dict[str, Any]) -> list[str]:
    if not score["requests"]:
        return [f"  promised   {score['promised_ratio']:.2%}, but no request came: there was nothing to keep"]
    kept = score["attained_ratio"] >= score["promised_ratio"]
    wait = score["wait_s"]
    lines = [
        f"  promised   {score['promised_ratio']:.2%}, {'kept' if kept else 'NOT kept'}: {score['attained_ratio']:.3%} of "
        f"{score['requests']:.0f} requests",
        f"  waits      p50 {wait['p50']:.0f} s, p95 {wait['p95']:.0f} s, p99 {wait['p99']:.0f} s",
    ]
    for key, words in (("ttft_s", "1st token"), ("latency_s", "to the end")):
        if (took := score.get(key)) is not None:
            lines.append(f"  {words:<10} p50 {took['p50']:.1f} s, p95 {took['p95']:.1f} s, p99 {took['p99']:.1f} s")
    return lines


def _kept(score: dict[str, Any]) -> str:
    if score.get("open_loop"):
        return ""
    return f"{score['attained_ratio']:.3%} of {score['promised_ratio']:.2%}, " if score["requests"] else "no requests, "
