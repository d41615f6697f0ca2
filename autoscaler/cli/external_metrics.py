"""``autoscaler external-metrics``: the aggregated API server, a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from autoscaler.cli.durations import DurationType
from autoscaler.errors import UsageError

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    "external-metrics",
    epilog="\b\nExample: autoscaler external-metrics --kubeconfig ~/.kube/config --listen 127.0.0.1:6443 "
    "--controller http://127.0.0.1:8080 --tls-cert tls.crt --tls-key tls.key",
)
@click.option("--listen", default="0.0.0.0:6443", show_default=True, metavar="ADDRESS:PORT", help="Where it serves, with TLS.")
@click.option("--controller", "controllers", multiple=True, metavar="URL",
              help="A controller's --listen address; a name of several addresses stands for all of them, and the option may be repeated. "
                   "All are replicas of one controller: what its leader decides is served, and of no other "
                   "[http://inference-autoscaler-controllers:8080].")  # fmt: skip
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Instead of the pod's own account."
)
@click.option("--own-namespace", metavar="NAME", envvar="POD_NAMESPACE", default="inference-autoscaler", show_default=True,
              help="Where its Service lies, and the Secret with its certificates.")  # fmt: skip
@click.option("--service", metavar="NAME", default="inference-autoscaler-external-metrics", show_default=True,
              help="Its Service, for whose name certificates are made, and the name of their Secret.")  # fmt: skip
@click.option("--identity", metavar="NAME", envvar="POD_NAME", help="Its name in logs and towards the API server [host name].")
@click.option("--tls-cert", type=FILE, help="Serve this certificate (PEM, read again when it changes) instead of an own one.")
@click.option("--tls-key", type=FILE, help="Its key.")
@click.option(
    "--client-cert", type=FILE, help="Beside --tls-cert: the certificate that upstreams with identity frontProxy are shown."
)
@click.option("--client-key", type=FILE, help="Its key.")
@click.option("--upstreams", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Other adapters that some metrics are answered by (docs/external-metrics.md).")  # fmt: skip
@click.option("--drain", type=DurationType(at_least_s=0.0), default="10s", show_default=True,
              help="When told to stop: how long it still answers while the endpoints forget it.")  # fmt: skip
@click.option("--share-port", is_flag=True, help="Other processes may listen on the same port (SO_REUSEPORT).")
@click.option("--ca-settle", type=DurationType(at_least_s=0.0), default="60s", show_default=True,
              help="From a new CA's being in the APIService to the first certificate of it.")  # fmt: skip
@click.option("--ca-overlap", type=DurationType(at_least_s=0.0), default="24h", show_default=True,
              help="How long the old CA is trusted after that.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
def command(
    listen: str,
    controllers: tuple[str, ...],
    kubeconfig: Path | None,
    own_namespace: str,
    service: str,
    identity: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
    upstreams: Path | None,
    drain: float,
    share_port: bool,
    ca_settle: float,
    ca_overlap: float,
    log_level: str,
    log_format: Literal["json", "text"],
) -> None:
    """Serve what the controller decides to HPAs, as external.metrics.k8s.io."""
    certificate = _pair("--tls-cert", tls_cert, "--tls-key", tls_key)
    client_certificate = _pair("--client-cert", client_cert, "--client-key", client_key)
    if client_certificate is not None and certificate is None:
        raise UsageError("--client-cert: only beside --tls-cert; without it the server keeps a client certificate of its own")

    from autoscaler.adapters.telemetry.log import set_up
    from autoscaler.external_metrics.assembly import ServerSettings, run
    from autoscaler.listen import parse_listen

    host, port = parse_listen(listen)
    set_up(log_level, log_format)
    settings = ServerSettings(
        kubeconfig=kubeconfig,
        host=host,
        port=port,
        share_port=share_port,
        controllers=controllers or ("http://inference-autoscaler-controllers:8080",),
        own_namespace=own_namespace,
        service=service,
        identity=identity,
        certificate=certificate,
        client_certificate=client_certificate,
        upstreams=upstreams,
        drain_s=drain,
        settle_s=ca_settle,
        overlap_s=ca_overlap,
    )
    # No uvloop here: its transports hand out no ssl object of Python's, and with it no verified chain.
    import asyncio

    asyncio.run(run(settings))


def _pair(first: str, certificate: Path | None, second: str, key: Path | None) -> tuple[Path, Path] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        there, missing = (second, first) if certificate is None else (first, second)
        raise UsageError(f"{there}: {missing} is needed as well")
    for name, file in ((first, certificate), (second, key)):
        if not file.is_file():
            raise UsageError(f"{name}: there is no file {file}")
    return certificate, key
