"""``replay record``: a trace out of a running Prometheus."""

from __future__ import annotations

from pathlib import Path

import click

from replay.cli.options import STANDARD


@click.command(
    "record",
    epilog="""\b
Example:
  replay record --prometheus http://127.0.0.1:9090 -f deploy/examples/vllm-deployment.yaml --from -7d --to now -o build/week.csv.gz""",
)
@click.option("--prometheus", metavar="URL", help="The Prometheus to ask; without it the one of --config.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Servers, credentials, labels: the file of `autoscaler run --config` (docs/signals.md).",
)
@click.option(
    "-f",
    "--manifest",
    "manifests",
    type=click.Path(path_type=Path),
    multiple=True,
    default=(STANDARD / "manifest.yaml",),
    show_default="the standard scenario's",
    help="Manifest of the service: its presets and queries say what is recorded.",
)
@click.option("--service", metavar="NAMESPACE/NAME", help="Which one, where the manifest holds several.")
@click.option("--from", "from_text", required=True, metavar="T", help="2026-01-31T06:00:00Z, Unix seconds, or -7d (before now).")
@click.option("--to", "to_text", required=True, metavar="T", help="The same, or now.")
@click.option("--step", default="15s", show_default=True, metavar="DURATION", help="Between two moments; whole seconds.")
@click.option(
    "--chunk", default="2h", show_default=True, metavar="DURATION", help="Asked for at a time; less where that is too much."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The trace; packed by its ending (.gz, .zst).",
)
@click.option("--restart", is_flag=True, help="Begin anew where an earlier recording was interrupted.")
def command(
    prometheus: str | None,
    config: Path | None,
    manifests: tuple[Path, ...],
    service: str | None,
    from_text: str,
    to_text: str,
    step: str,
    chunk: str,
    output: Path,
    restart: bool,
) -> None:
    """A service's signals out of a running Prometheus, as the controller would have read them.

    A long range is asked for in chunks. When it is interrupted (or Prometheus goes away), the same command goes on where it was. What was
    not there, or stale, is a gap in the trace.
    """
    from autoscaler.clock import SystemClock
    from autoscaler.errors import OutsideError, UsageError
    from autoscaler.manifests import load_manifests
    from autoscaler.spec import duration_s
    from replay.cli.moments import moment
    from replay.cli.progress import progress
    from replay.plan_of_recording import Recording, discard, wanted
    from replay.plugins import loadable
    from replay.record import prometheus_of, record, service_of, sources

    def seconds(flag: str, text: str) -> float:
        try:
            found = duration_s(text)
        except ValueError as fault:
            raise UsageError(f"{flag} {text}: {fault}") from None
        if found < 1 or found != int(found):
            raise UsageError(f"{flag} {text}: whole seconds, 1s or more, are allowed")
        return found

    step_s, chunk_s = int(seconds("--step", step)), seconds("--chunk", chunk)
    now_s = SystemClock().now_s()
    spec = service_of(load_manifests(list(manifests), {}, policies=loadable()), service)
    found = sources(spec, prometheus_of(config, prometheus))
    asked = wanted(
        service=spec.key,
        url=found.server.url,
        from_text=from_text,
        to_text=to_text,
        from_s=moment("--from", from_text, now_s),
        to_s=min(moment("--to", to_text, now_s), now_s),
        step_s=step_s,
        signals=found.signals,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise OutsideError(f"{output.parent}: {fault.strerror}") from None
    if restart:
        discard(output)
    recording = Recording(output, asked, chunk_s)
    if recording.resumed:
        click.echo(f"going on after {recording.rows} of {recording.length} moments", err=True)
    try:
        with progress(f"{spec.key} from {found.server.url}") as told:
            record(found, recording, told)
    except (OutsideError, KeyboardInterrupt) as fault:
        if isinstance(fault, KeyboardInterrupt):
            click.echo("interrupted", err=True)
        recording.drop_if_empty()
        kept = f"{recording.rows} of {recording.length} moments are recorded; the same command goes on from there"
        click.echo(kept if recording.rows else "nothing was recorded", err=True)
        if isinstance(fault, KeyboardInterrupt):
            raise click.exceptions.Exit(3) from None
        raise
    never = recording.never_recorded()
    if len(never) == len(found.signals):
        recording.drop()
        raise OutsideError(
            f"{found.server.url}: holds nothing of {spec.key} then; are its pods called after {spec.target}, "
            "and are the labels namespace and pod (docs/signals.md)?"
        )
    written = recording.finish()
    click.echo(
        f"{output}: {written}, {asked.length} moments" + (f"; never recorded: {', '.join(never)}" if never else ""), err=True
    )
