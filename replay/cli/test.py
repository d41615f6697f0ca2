"""``replay test``: scenario files with series and expectations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from replay.cli.options import json_option


@click.command(
    "test",
    epilog="""\b
Example:
  replay test replay/standard/tests""",
)
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCENARIO_TEST…")
@json_option
@click.pass_context
def command(ctx: click.Context, places: tuple[Path, ...], as_json: bool) -> None:
    """Scenario tests, as `promtool test rules` runs them for rules.

    SCENARIO_TEST is a YAML file or a folder of them. Exit code 1 where an expectation isn't met or a file is faulty; each is told with its
    line. docs/replay.md has the format, replay/standard/tests examples.
    """
    import orjson

    from autoscaler.errors import AutoscalerError, InvalidManifest, UsageError
    from replay.scenario_tests.drive import run_test
    from replay.scenario_tests.judge import judge
    from replay.scenario_tests.load import faults_of, load_tests

    files: list[Path] = []
    for place in places:
        found = sorted([*place.glob("*.yaml"), *place.glob("*.yml")]) if place.is_dir() else [place]
        if not found:
            raise UsageError(f"{place}: holds no *.yaml files")
        files += found
    told: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    for file in files:
        try:
            tests = load_tests(file)
        except InvalidManifest as error:
            faults += faults_of(error)
            click.echo(str(error), err=True)
            continue
        failed = 0
        for test in tests:
            try:
                failures = judge(test, run_test(test))
            except AutoscalerError as error:
                raise UsageError(f"{test.file}:{test.line}: {test.name}: {error}") from None
            failed += bool(failures)
            for failure in failures:
                click.echo(str(failure), err=True)
            told.append(
                {
                    "file": test.file,
                    "line": test.line,
                    "name": test.name,
                    "passed": not failures,
                    "failures": [failure.as_json() for failure in failures],
                }
            )
        if not as_json:
            click.echo(f"{file}: {f'{failed} of {len(tests)} FAILED' if failed else f'{len(tests)} passed'}")
    passed = sum(one["passed"] for one in told)
    if as_json:
        document = {"schema": 1, "passed": passed, "failed": len(told) - passed, "faults": faults, "tests": told}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    if faults or passed < len(told):
        ctx.exit(1)
