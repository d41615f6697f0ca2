"""``replay convert``: a trace in another format."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    "convert",
    epilog="""\b
Example:
  replay convert replay/standard/traces/day.csv.gz -o build/day.json.gz && replay inspect build/day.json.gz""",
)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Packed by its ending (.gz, .zst, .parquet).",
)
@click.option(
    "--to", metavar="FORMAT", help="A format of docs/traces.md, instead of the one that the output's ending stands for."
)
@click.option("--bin", "bin_text", metavar="DURATION", help="Counts of single requests over so long, such as 15s.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME[=SIGNAL]",
    help="Of exports and OpenMetrics: what a series stands for (demand where nothing is said). May be repeated.",
)
@click.option(
    "--columns",
    multiple=True,
    metavar="arrival_s=NAME,…",
    help="Of a CSV of requests: what arrival_s (or arrival_ms, arrival), prompt_tokens and output_tokens are called in it.",
)
def command(
    source: Path, output: Path, to: str | None, bin_text: str | None, metrics: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    """A trace in another format. What is read is told by the file itself, what is written by the ending, or --to."""
    from autoscaler.errors import OutsideError, UsageError
    from autoscaler.spec import duration_s
    from replay.traces.convert import convert, layout_of
    from replay.traces.picks import picks

    bin_s = None
    if bin_text is not None:
        try:
            bin_s = duration_s(bin_text)
        except ValueError as fault:
            raise UsageError(f"--bin {bin_text}: {fault}") from None
        if bin_s <= 0:
            raise UsageError(f"--bin {bin_text}: more than 0s is allowed")
    layout = layout_of(list(columns)) if columns else None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise OutsideError(f"{output.parent}: {fault.strerror}") from None
    written = convert(source, output, to=to, bin_s=bin_s, picks=picks(metrics), layout=layout)
    click.echo(f"{output}: {written}", err=True)
