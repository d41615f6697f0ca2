"""The command line of ``replay``. Each command lives in a file of its own, loaded when it is called."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from autoscaler.errors import AutoscalerError

_COMMANDS: Final = {
    "run": "replay.cli.run",
    "compare": "replay.cli.compare",
    "optimum": "replay.cli.optimum",
    "tune": "replay.cli.tune",
    "test": "replay.cli.test",
    "regret": "replay.cli.regret",
    "verify": "replay.cli.verify",
    "inspect": "replay.cli.inspect",
    "convert": "replay.cli.convert",
    "record": "replay.cli.record",
}


class _Commands(click.Group):
    """Loads a command's file when it is asked for, and turns errors into words and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutoscalerError as error:
            click.echo(f"replay: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="inference-autoscaler", prog_name="replay")
def main() -> None:
    """Any policy on recorded traffic, by the controller's own decision code.

    \b
    Example:
      replay run -t replay/standard/traces/day.csv.gz -p reactive -o build/replay
    """
