"""``replay compare``: policies × traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replay.cli.options import jobs_option, json_option, manifest_option, scenario_option, set_option, traces_option

if TYPE_CHECKING:
    from replay.compare import TraceSetting
    from replay.traces.uses import TraceUse


@click.command(
    "compare",
    epilog="""\b
Example:
  replay compare -t replay/standard/traces/day.csv.gz -p reactive -p target:signal=concurrency -p fixed:replicas=30 -o build/compare.html""",
)
@manifest_option
@scenario_option
@traces_option
@click.option(
    "-p",
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="A policy of `autoscaler policies`; the manifest's own where none is given. May be repeated.",
)
@set_option
@click.option("--optimum", is_flag=True, help="The clairvoyant optimum of each trace beside them.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The report: one HTML file.")
@click.option(
    "--gate", "gate_file", type=click.Path(path_type=Path), help="What the scores must keep (YAML); exit code 1 where they don't."
)
@jobs_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    manifests: tuple[Path, ...],
    scenario: Path,
    traces: tuple[str, ...],
    policies: tuple[str, ...],
    settings: tuple[str, ...],
    optimum: bool,
    output: Path | None,
    gate_file: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Every policy on every trace: what each costs, what each keeps of its promise.

    Without -p the manifest's own policy is tried. On a trace of signals without a demand only the counts that each policy would have run can
    be told. A gate file is a list of {policy, trace, field, min, max}; policy and trace may be '*'.
    """
    import orjson

    from autoscaler.core.model import PolicyRef
    from autoscaler.errors import OutsideError
    from autoscaler.manifests import load_manifests
    from autoscaler.overrides import pairs
    from replay.clairvoyant import notes, slow_hint
    from replay.cli.progress import progress
    from replay.compare import SCHEMA, TraceSetting, compare, labels
    from replay.gate import load_gate, misses
    from replay.parallel import usual_jobs
    from replay.plugins import loadable, policy_ref
    from replay.report.comparison import write_comparison
    from replay.report.room import room_for
    from replay.report.table import OPEN_LOOP, comparison_table
    from replay.scenario import load_scenario
    from replay.settings import split
    from replay.traces.registry import read_any
    from replay.traces.series import CountSeries
    from replay.traces.uses import trace_use
    from replay.world import services

    of_manifest, of_scenario = split(pairs(settings))
    loaded = load_manifests(list(manifests), of_manifest, policies=loadable())
    refs: list[PolicyRef | None] = [*map(policy_ref, dict.fromkeys(policies))] or [None]
    uses = [trace_use(trace) for trace in traces]
    gate = None if gate_file is None else load_gate(gate_file)
    tried = [
        TraceSetting(path=use.path, label=label, scenario=load_scenario(scenario, of_scenario, use))
        for use, label in zip(uses, labels(uses), strict=True)
    ]
    for note in sorted({note for one in tried for note in notes(loaded, one.scenario, single_requests=False)}) if optimum else ():
        click.echo(f"replay: {note}", err=True)
    counted = ((series, one.scenario) for one in tried if isinstance(series := read_any(one.path), CountSeries))
    if optimum and (hint := slow_hint(counted)):
        click.echo(f"replay: {hint}", err=True)
    runs = len(tried) * len(refs)
    with progress(f"{len(refs)} policies on {len(tried)} traces") as told:
        comparison = compare(
            loaded,
            tried,
            refs,
            jobs=jobs or usual_jobs(),
            room=room_for(runs, len(services(loaded))) if output is not None else None,
            optimum=optimum,
            progress=told,
        )
    for text in comparison.warnings:
        click.echo(f"WARNING: {text}", err=True)
    for trace in comparison.open_loop if optimum else ():
        click.echo(f"replay: {trace}: holds no demand, so it has no optimum", err=True)
    missed = [] if gate is None else misses(gate, comparison.scores)
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            made = _how_made(manifests, scenario, settings, tried, uses, comparison.scores)
            notes_on = [f"{trace} was played open-loop: {OPEN_LOOP}." for trace in comparison.open_loop]
            write_comparison(
                comparison, output, notes=notes_on, missed=[str(miss) for miss in missed], gated=gate is not None, made=made
            )
        except OSError as fault:
            raise OutsideError(f"{output}: {fault.strerror}") from None
    if as_json:
        judged = {"met": not missed, "missed": [miss.as_json() for miss in missed]}
        document = {"schema": SCHEMA, "scores": comparison.scores, "gate": None if gate is None else judged}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(comparison_table(comparison.scores), nl=False)
        if gate is not None:
            click.echo(f"\ngate: {'NOT met' if missed else f'met ({len(gate.lines)} lines)'}")
        if output is not None:
            click.echo(f"\nreport: {output}")
    for miss in missed:
        click.echo(miss, err=True)
    if missed:
        ctx.exit(1)


def _how_made(
    manifests: Sequence[Path],
    scenario: Path,
    settings: Sequence[str],
    tried: Sequence[TraceSetting],
    uses: Sequence[TraceUse],
    scores: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What the report says of itself, a line for the whole and one for each trace; names of files, no folders."""
    from importlib.metadata import version

    score_of = {score["trace"]: score for score in scores}
    files = ", ".join(path.name for path in manifests)
    given = ", ".join(settings) or "none"
    lines = [f"replay compare {version('inference-autoscaler')}; manifest {files}; scenario {scenario.name}; settings: {given}"]
    for one, use in zip(tried, uses, strict=True):
        own = ", ".join(f"{key}={value}" for key, value in use.settings.items()) or "none"
        lines.append(f"{one.label}: {_rates(score_of[one.label], one.scenario.plant)}; settings of its own: {own}")
    return lines


def _rates(score: Mapping[str, Any], plant: str) -> str:
    """What became of the recorded rates."""
    if score.get("open_loop"):
        return "open loop; readings as recorded"
    factor = score["scale_factor"]
    return f"plant {plant}; recorded rates × {'a factor for each service' if factor is None else f'{factor:.4g}'}"
