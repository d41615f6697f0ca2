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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            from autoscaler.structure import did_you_mean

            ctx.fail(f"there is no command '{args[0]}'; {did_you_mean(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutoscalerError as error:
            click.echo(f"replay: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # the reader went away, as `| head` does; click ends quietly
        except OSError as fault:
            # Commands name the files that they can't read or write; without a name it is mostly a full disk behind stdout.
            click.echo(f"replay: {fault.filename or 'system'}: {fault.strerror or fault}", err=True)
            ctx.exit(3)
        except KeyboardInterrupt:
            click.echo("replay: stopped", err=True)
            # As a shell tells it of a program that Ctrl-C ended: 1 would be "judged bad".
            ctx.exit(130)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Example:
  replay run -t replay/standard/traces/day.csv.gz -p reactive -o build/replay""",
)
@click.version_option(package_name="inference-autoscaler", prog_name="replay")
def main() -> None:
    """Any policy on recorded traffic, by the controller's own decision code."""
