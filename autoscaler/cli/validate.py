"""``autoscaler validate``: every fault of manifest files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from autoscaler.cli.output import json_option, print_json


def check_query(query: str, namespace: str) -> str:
    """What is wrong with PromQL, or that it leaves its namespace; "" where nothing is."""
    from autoscaler.adapters.prometheus.promql import QueryRefused, confine

    try:
        confine(query, namespace)
    except QueryRefused as refusal:
        return str(refusal)
    return ""


@click.command("validate", epilog="Example: autoscaler validate deploy/examples/vllm-deployment.yaml")
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option(
    "--set", "settings", metavar="PATH=VALUE", multiple=True, help="Change a field first, e.g. objective.promised=99.9%."
)
@json_option
def command(files: tuple[str, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """Find every fault of manifest FILEs (- is stdin): the field, its file and line, its value and what is allowed.

    Ends with 1 where there are faults; warnings change nothing. Other kinds of objects in the files are passed over.
    """
    from autoscaler.manifests import validate
    from autoscaler.overrides import pairs
    from autoscaler.plugins import installed

    plugins = installed()
    for name, why in plugins.broken.items():
        click.echo(f"policy '{name}' is left out, its plug-in can't be loaded: {why}", err=True)
    # A text is told from a path by its line feed.
    sources = [sys.stdin.read() + "\n" if file == "-" else Path(file) for file in files]
    reading = validate(sources, pairs(settings), plugins.policies, check_query)
    if as_json:
        print_json(
            {
                "valid": not reading.faults,
                "faults": [asdict(fault) for fault in reading.faults],
                "warnings": [asdict(warning) for warning in reading.warnings],
                "manifests": [
                    {
                        "kind": type(manifest).__name__,
                        "namespace": manifest.metadata.namespace if type(manifest).__name__ == "InferenceAutoscaler" else None,
                        "name": manifest.metadata.name,
                    }
                    for manifest in reading.manifests
                ],
                "skipped": reading.skipped,
            }
        )
    else:
        for fault in reading.faults:
            click.echo(str(fault))
        for warning in reading.warnings:
            click.echo(f"warning: {warning}")
        others = f", {_count(reading.skipped, 'object')} of other kinds passed over" if reading.skipped else ""
        click.echo(
            f"{_count(len(reading.faults), 'fault')}, {_count(len(reading.manifests), 'valid manifest')}{others}", err=True
        )
    if reading.faults:
        raise SystemExit(1)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
