"""``replay regret``: what other policies would have done on recorded days."""

from __future__ import annotations

from pathlib import Path

import click

from replay.cli.options import jobs_option, json_option, set_option


@click.command(
    "regret",
    epilog="""\b
Example:
  replay run -t replay/standard/traces/surge.csv -o build/days && replay regret build/days -f replay/standard/manifest.yaml -p fixed:replicas=30""",
)
@click.argument("records", type=click.Path(path_type=Path))
@click.option(
    "-f",
    "--manifest",
    "manifests",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Manifest of the services to look at, and of the prices. May be repeated.",
)
@click.option(
    "-s", "--scenario", type=click.Path(path_type=Path), help="How the service is simulated, where the records don't say."
)
@click.option(
    "-p",
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="A candidate; the manifest's own policy where none is given. May be repeated.",
)
@set_option
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The report: one HTML file.")
@jobs_option
@json_option
def command(
    records: Path,
    manifests: tuple[Path, ...],
    scenario: Path | None,
    policies: tuple[str, ...],
    settings: tuple[str, ...],
    output: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """What each candidate would have done on a live controller's recorded days, and what that would have saved.

    RECORDS is a folder of `autoscaler run --records`, or a records.jsonl. Where the records hold the demand, each candidate is simulated on it,
    beside the counts that really ran; in any case its decisions are told that it would have made in Shadow mode.
    """
    import orjson

    from autoscaler.core.model import PolicyRef
    from autoscaler.errors import OutsideError
    from autoscaler.manifests import load_manifests
    from autoscaler.overrides import pairs
    from replay.cli.progress import progress
    from replay.parallel import usual_jobs
    from replay.plugins import loadable, policy_ref
    from replay.regret.compare import regret
    from replay.report.comparison import write_comparison
    from replay.report.room import room_for
    from replay.report.table import regret_table
    from replay.settings import split
    from replay.verify import record_files
    from replay.world import services

    of_manifest, of_scenario = split(pairs(settings))
    loaded = load_manifests(list(manifests), of_manifest, policies=loadable())
    refs: list[PolicyRef | None] = [*map(policy_ref, dict.fromkeys(policies))] or [None]
    runs = len(refs) + 1  # those over the plant, and what ran
    with progress(f"{len(refs)} candidates on recorded days") as told:
        found = regret(
            record_files(records),
            loaded,
            refs,
            scenario=scenario,
            overrides=of_scenario,
            jobs=jobs or usual_jobs(),
            room=room_for(runs, len(services(loaded))) if output is not None else None,
            progress=told,
        )
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_comparison(found.comparison, output, title="What other policies would have done", notes=found.notes)
        except OSError as fault:
            raise OutsideError(f"{output}: {fault.strerror}") from None
    if as_json:
        document = {"schema": 1, "scores": found.comparison.scores, "notes": found.notes}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(regret_table(found.comparison.scores), nl=False)
    for note in found.notes:
        click.echo(note)
    if output is not None:
        click.echo(f"\nreport: {output}")
