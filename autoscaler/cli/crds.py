"""``autoscaler crds``: the CustomResourceDefinitions."""

from __future__ import annotations

from pathlib import Path

import click

from autoscaler.cli.output import json_option, print_json


@click.command("crds", epilog="Example: autoscaler crds | kubectl apply -f -")
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path), help="Write one file each into this folder instead."
)
@json_option
def command(directory: Path | None, as_json: bool) -> None:
    """Print the CustomResourceDefinitions, made from the manifest types; deploy/crds holds the same."""
    from autoscaler.crds import as_yaml, crds
    from autoscaler.manifest_rules import RULES

    definitions = crds(RULES)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        for definition in definitions:
            file = directory / f"{definition['spec']['names']['plural']}.yaml"
            file.write_text(as_yaml(definition), encoding="utf-8")
            click.echo(f"{file} written", err=True)
    if as_json:
        print_json({"apiVersion": "v1", "kind": "List", "items": definitions})
    elif directory is None:
        click.echo("---\n".join(map(as_yaml, definitions)), nl=False)
