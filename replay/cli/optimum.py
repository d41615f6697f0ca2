"""``replay optimum``: the cheapest schedule that somebody who knew the future could have kept the promise with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replay.cli.options import json_option, manifest_option, scenario_option, set_option, trace_option

if TYPE_CHECKING:
    from replay.optimum.pools import NodeOptimum
    from replay.optimum.solve import Optimum


@click.command(
    "optimum",
    epilog="""\b
Example:
  replay optimum -t replay/standard/traces/surge.csv --promised 99% -o build/optimum.csv""",
)
@manifest_option
@scenario_option
@trace_option
@click.option("--promised", metavar="PERCENT", help="The promise, such as 99.5%, instead of the manifest's own.")
@set_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The schedule, CSV at_s,replicas, as -p schedule:file=… reads it. With several services each one's own beside it.",
)
@json_option
def command(
    manifests: tuple[Path, ...],
    scenario: Path,
    trace: str,
    promised: str | None,
    settings: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """The clairvoyant schedule for a promise, and a lower bound that no schedule goes below.

    Its counts are ordered as long before they are needed as a replica takes to start. It knows no waits for nodes; what they would cost is
    added to its hours. So its schedule keeps the promise where nodes are at hand (--set scenario.nodes.start=0s). Of nodes it says how few
    slot hours (nodes × accelerators) would do, each node ordered in time, and what no schedule goes below.
    """
    import time

    import orjson

    from autoscaler.errors import InvalidManifest, OutsideError, UsageError
    from autoscaler.manifests import load_manifests
    from autoscaler.overrides import pairs
    from replay.clairvoyant import figures, notes, optima, slow_hint
    from replay.cli.progress import progress
    from replay.optimum.orders import write_orders
    from replay.optimum.pools import node_optimum
    from replay.plugins import loadable
    from replay.run import doubts
    from replay.scenario import load_scenario, whole_s
    from replay.settings import split
    from replay.traces.registry import format_of, read_trace
    from replay.traces.uses import trace_use
    from replay.world import services

    of_manifest, of_scenario = split(pairs(settings))
    if promised is not None:
        of_manifest["objective.promised"] = promised
    use = trace_use(trace)
    try:
        loaded = load_manifests(list(manifests), of_manifest, policies=loadable())
    except InvalidManifest as error:
        blamed = [fault for fault in error.faults if fault.file == f"--set objective.promised={promised}"]
        if not blamed:
            raise
        raise UsageError(f"--promised {promised}: {blamed[0].message}") from None
    setting = load_scenario(scenario, of_scenario, use)
    series = read_trace(use.path)
    for text in doubts(services(loaded), setting, series):
        click.echo(f"WARNING: {text}", err=True)
    if hint := slow_hint([(series, setting)]):
        click.echo(f"replay: {hint}", err=True)
    began_s = time.perf_counter()
    with progress(f"{series.name}, the optimum") as told:
        found = optima(loaded, setting, series, told)
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OutsideError(f"{output}: {fault.strerror}") from None
        write_orders(output, found[0].orders, found[0].tick_s)
        for one in found if len(found) > 1 else ():
            name = one.key.replace("/", "-")
            write_orders(output.with_name(f"{output.stem}-{name}{output.suffix}"), one.orders, one.tick_s)
    said = notes(loaded, setting, single_requests=format_of(use.path).requests is not None)
    document = {
        "schema": 1,
        "trace": series.name,
        "warmup_s": float(whole_s(setting.warmup)),
        **_figures(found[0]),
        **figures(found),
        "wall_s": round(time.perf_counter() - began_s, 3),
        "notes": said,
        "services": {one.key: _figures(one) for one in found},
    }
    if len(found) > 1:
        document.update(_together(found))
    if as_json:
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    for one in found:
        click.echo(words(one, series.name))
    if any(one.share.shared for one in found) and (together := node_optimum(found)) is not None:
        click.echo(f"all services, whose pools are shared\n{_node_words(together)}")
    for note in said:
        click.echo(f"  note       {note}")
    if output is not None:
        click.echo(f"\nschedule: {output}")


def _figures(one: Optimum) -> dict[str, Any]:
    from replay.clairvoyant import figures

    return {
        "promised_ratio": round(one.promised_ratio, 9),
        "kept": one.kept,
        **figures([one]),
        "pool": one.share.pool,
        "node_wait_hours": round(one.node_wait_hours, 6),
        "work_replica_hours": round(one.work_replica_hours, 6),
        "requests": round(one.requests, 3),
    }


def _together(found: list[Optimum]) -> dict[str, Any]:
    """Of several services: sums, and the promise as the mean weighted with requests, as in a score."""
    requests = sum(one.requests for one in found)
    promised = sum(one.promised_ratio * one.requests for one in found) / requests if requests else found[0].promised_ratio
    return {
        "promised_ratio": round(promised, 9),
        "kept": all(one.kept for one in found),
        "node_wait_hours": round(sum(one.node_wait_hours for one in found), 6),
        "work_replica_hours": round(sum(one.work_replica_hours for one in found), 6),
        "requests": round(requests, 3),
    }


def _node_words(nodes: NodeOptimum) -> str:
    least = nodes.bound_slot_hours
    above = f", {nodes.slot_hours / least - 1:.2%} above the bound" if least > 0 else ""
    return (
        f"  nodes      {nodes.slot_hours:.1f} slot hours{above}: no schedule of replicas and nodes holds fewer than {least:.1f}"
    )


def words(one: Optimum, trace: str) -> str:
    """One service's optimum for people."""
    from replay.optimum.pools import node_optimum

    bound, hours = one.lower_bound_replica_hours, one.replica_hours
    waits = one.node_wait_hours
    # The bound knows nodes at hand only, so what waits for nodes take is no part of the distance.
    above = f", {(hours - waits) / bound - 1:.2%} above the bound" if bound > 0 else ""
    few = "keeps the promise" if one.kept else "is late for as few"
    lines = [
        f"optimum of {one.key} on {trace}",
        f"  promised   {one.promised_ratio:.2%}, {'kept' if one.kept else 'can NOT be kept'}: {one.attained_ratio:.3%} of "
        f"{one.requests:.0f} requests",
        f"  replicas   {hours - waits:.1f} hours{above}; {one.work_replica_hours:.1f} of them pure work",
        f"  node waits {waits:.1f} hours on top, {hours:.1f} in all",
        f"  bound      {bound:.1f} hours: no schedule that {few} costs less",
    ]
    if (nodes := node_optimum([one])) is not None:
        lines.append(_node_words(nodes))
    return "\n".join(lines)
