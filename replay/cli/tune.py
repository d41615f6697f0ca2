"""``replay tune``: the best parameters on a training part, judged on a held-out part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from replay.cli.options import jobs_option, json_option, manifest_option, scenario_option, set_option, traces_option

if TYPE_CHECKING:
    from replay.tune.study import Study


@click.command(
    "tune",
    epilog="""\b
Example:
  replay tune -t replay/standard/traces/day.csv.gz --trials 32 -o build/tuned.yaml""",
)
@manifest_option
@scenario_option
@traces_option
@click.option("-p", "--policy", metavar="NAME[:KEY=VALUE,…]", help="Tune this policy, instead of the manifest's own ones.")
@click.option("--trials", type=click.IntRange(min=1), default=128, show_default=True, help="Candidates to try, for each service.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the search. The same seed, the same result."
)
@click.option(
    "--generation",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    help="Candidates that are tried before the next ones are thought of; more of them keep more processes busy, in batches of 8.",
)
@click.option(
    "--held-out",
    default="33.3%",
    show_default=True,
    metavar="SHARE",
    help="The last share of each trace, which the search never sees.",
)
@click.option(
    "--margin",
    default="25%",
    show_default=True,
    metavar="SHARE",
    help="Of the lateness that is promised at most, left unused in training.",
)
@click.option("--range", "ranges", multiple=True, metavar="POLICY.PARAM=LOW..HIGH", help="Search here instead. May be repeated.")
@click.option("--keep", "kept", multiple=True, metavar="POLICY.PARAM", help="Leave this parameter as it is. May be repeated.")
@set_option
@jobs_option
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A Dask cluster's scheduler, such as tcp://HOST:8786, to play there. The outcome is the same.",
)
@click.option(
    "--study",
    "study_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What was tried is kept in this file (SQLite), and taken from it when it is there. Left out: OUTPUT.study, until all is done.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The tuned manifest.")
@json_option
def command(
    manifests: tuple[Path, ...],
    scenario: Path,
    traces: tuple[str, ...],
    policy: str | None,
    trials: int,
    seed: int,
    generation: int,
    held_out: str,
    margin: str,
    ranges: tuple[str, ...],
    kept: tuple[str, ...],
    settings: tuple[str, ...],
    jobs: int | None,
    scheduler: str | None,
    study_file: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """The best parameters of the manifest's policies on recorded traffic: the cheapest that keep the promise.

    They are searched on the first part of each trace and judged on the rest, beside the manifest as it is. Interrupted, the same command goes
    on where it was.
    """
    import orjson

    from autoscaler.overrides import pairs
    from replay.cli.progress import progress
    from replay.plugins import policy_ref
    from replay.tune.asked import Asked, ranges_of, share_of
    from replay.tune.run import prepared, tune
    from replay.tune.study import Study
    from replay.tune.words import words

    asked = Asked(
        manifests=manifests,
        scenario=scenario,
        traces=traces,
        settings=pairs(settings),
        policy=None if policy is None else policy_ref(policy),
        trials=trials,
        seed=seed,
        generation=generation,
        held_out_ratio=share_of("--held-out", held_out),
        margin_ratio=share_of("--margin", margin),
        ranges=ranges_of(ranges),
        kept=kept,
    )
    loaded = asked.loaded()
    for text in loaded.doubts():
        click.echo(f"WARNING: {text}", err=True)
    services = prepared(loaded)
    study = Study(study_file or Path(f"{output}.study"), loaded.fingerprints(), anew=study_file is None)
    try:
        with progress(f"{trials} candidates") as told:
            outcome = tune(loaded, services, study, output=output, jobs=jobs, scheduler=scheduler, progress=told)
    except KeyboardInterrupt:
        _interrupted(study)
        raise click.exceptions.Exit(3) from None
    finally:
        study.drop_if_empty()
        study.close()
    if study_file is None:
        study.remove()
    if as_json:
        click.echo(orjson.dumps(outcome.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n\n".join(words(result) for result in outcome.results))
        click.echo(f"\nwritten: {output}")
    for result in outcome.results:
        for text in result.notes:
            click.echo(f"note: {result.service}: {text}", err=True)
        for text in result.warnings:
            click.echo(f"WARNING: {result.service}: {text}", err=True)


def _interrupted(study: Study) -> None:
    click.echo(
        f"interrupted; {study.trials()} candidates are kept in {study.path}; the same command goes on from there", err=True
    )
