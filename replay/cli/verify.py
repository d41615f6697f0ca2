"""``replay verify``: recorded ticks, run again."""

from __future__ import annotations

from pathlib import Path

import click

from replay.cli.options import json_option


@click.command(
    "verify",
    epilog="""\b
Example:
  replay run -t replay/standard/traces/surge.csv -o build/replay && replay verify build/replay""",
)
@click.argument("records", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(ctx: click.Context, records: Path, as_json: bool) -> None:
    """Runs recorded ticks again and prints every decision that differs.

    RECORDS is a records.jsonl of `replay run`, or a folder of files that `autoscaler run --records` wrote. Exit code 1 where a decision
    differs, and where no tick could be run again.
    """
    import orjson

    from replay.verify import cut_words, record_files, verify

    verdict = verify(record_files(records))
    if as_json:
        document = {
            "schema": 1,
            "same": verdict.same,
            "files": verdict.files,
            "ticks": verdict.ticks,
            "skipped": verdict.skipped,
            "cut": verdict.cut,
            "decisions": verdict.decisions,
            "differences": [
                {
                    "file": d.file,
                    "line": d.line,
                    "at_s": d.at_s,
                    "service": d.key,
                    "field": d.field,
                    "recorded": d.recorded,
                    "again": d.again,
                }
                for d in verdict.differences
            ],
        }
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        for difference in verdict.differences:
            click.echo(difference)
        skipped = f", {verdict.skipped} skipped (how the engine stood before them is not recorded)" if verdict.skipped else ""
        cut = f"; {cut_words(verdict.cut)}" if verdict.cut else ""
        if verdict.same is None:
            click.echo(f"nothing is verified: no tick could be run again{skipped}{cut}")
        else:
            outcome = "all the same" if verdict.same else "NOT the same"
            click.echo(f"{verdict.decisions} decisions in {verdict.ticks} ticks: {outcome}{skipped}{cut}")
    if not verdict.same:
        ctx.exit(1)
