"""``autoscaler run``: the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from autoscaler.cli.durations import DurationType


@click.command(
    "run",
    epilog="\b\nExample: autoscaler run --prometheus http://127.0.0.1:9090 --shadow --no-leader-election --listen 127.0.0.1:8080",
)
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Instead of the pod's own account."
)
@click.option("--prometheus", metavar="URL", help="The default Prometheus [http://prometheus-operated.monitoring.svc:9090].")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Prometheus servers, credentials, labels (docs/signals.md).",
)
@click.option("--interval", type=DurationType(), default="15s", show_default=True, help="Time between two ticks.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    help="Serve this namespace only; may be repeated [all]. Then pools' planned nodes are shown, but not written.",
)
@click.option("--shadow", is_flag=True, help="Scale nothing, whatever the manifests' modes say.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS:PORT", help="Page, API, metrics, health.")
@click.option(
    "--records", type=click.Path(file_okay=False, path_type=Path), help="Write a record of every tick into this folder."
)
@click.option("--no-leader-election", is_flag=True, help="Act without a Lease: only where nobody else runs.")
@click.option("--own-namespace", metavar="NAME", envvar="POD_NAMESPACE", default="inference-autoscaler", show_default=True,
              help="Where the Lease and the pause switch lie.")  # fmt: skip
@click.option("--identity", metavar="NAME", envvar="POD_NAME", help="Name in the Lease [host name].")
@click.option("--max-added", type=click.IntRange(min=0), help="Replicas that one tick may add over all objects [no limit].")
@click.option("--max-removed", type=click.IntRange(min=0), help="Replicas that one tick may remove over all objects [no limit].")
@click.option("--seed", type=int, default=0, show_default=True, help="For policies that draw numbers.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
def command(
    kubeconfig: Path | None,
    prometheus: str | None,
    config: Path | None,
    interval: float,
    namespaces: tuple[str, ...],
    shadow: bool,
    listen: str,
    records: Path | None,
    no_leader_election: bool,
    own_namespace: str,
    identity: str | None,
    max_added: int | None,
    max_removed: int | None,
    seed: int,
    log_level: str,
    log_format: Literal["json", "text"],
) -> None:
    """Run the controller until it is told to stop (SIGTERM, SIGINT)."""
    from autoscaler.adapters.telemetry.log import set_up
    from autoscaler.cli.run_options import load_configuration, prometheus_settings
    from autoscaler.cli.running import RunSettings, run
    from autoscaler.core.allocation import ChangeBudget

    set_up(log_level, log_format)
    configuration = load_configuration(config)
    settings = RunSettings(
        kubeconfig=kubeconfig,
        prometheus=prometheus_settings(configuration, prometheus, namespaces),
        interval_s=interval,
        namespaces=namespaces,
        shadow=shadow,
        listen=listen,
        records=records,
        elect=not no_leader_election,
        own_namespace=own_namespace,
        identity=identity,
        budget=ChangeBudget(add=max_added, remove=max_removed),
        seed=seed,
    )
    try:
        import uvloop
    except ImportError:
        import asyncio

        asyncio.run(run(settings))
    else:
        uvloop.run(run(settings))
