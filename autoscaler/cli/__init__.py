"""The command ``autoscaler``. Each command is a file of its own, imported only when it is called, so that --help answers at once.

Exit codes: 0 fine · 1 judged bad · 2 wrong usage · 3 something outside failed.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

import click

from autoscaler.errors import AutoscalerError

_COMMANDS: Final = {
    "demo": "The real controller on an embedded plant, with a live page and a score.",
    "run": "The controller.",
    "external-metrics": "The external metrics API, for HPAs that follow the decisions.",
    "validate": "Find every fault of manifest files.",
    "explain": "Why this many replicas: each step from signals to plan.",
    "policies": "The installed policies and their parameters.",
    "crds": "Print the CustomResourceDefinitions.",
}


class Commands(click.Group):
    """Finds commands by name in ``autoscaler.cli.<name>`` (an object called ``command``) and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if _exists(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS or not _exists(cmd_name):
            return None
        module = _module(cmd_name)
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as fault:
            return _unavailable(cmd_name, fault.name or module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutoscalerError as fault:
            click.echo(str(fault), err=True)
            ctx.exit(fault.exit_code)
        except BrokenPipeError:
            raise  # the reader went away, as `| head` does; click ends quietly
        except OSError as fault:
            click.echo(f"{fault.filename or 'system'}: {fault.strerror or fault}", err=True)
            ctx.exit(3)


def _module(name: str) -> str:
    return f"{__name__}.{name.replace('-', '_')}"


def _exists(name: str) -> bool:
    """Whether this version has the command. Looks for the file without running it."""
    return importlib.util.find_spec(_module(name)) is not None


def _unavailable(name: str, missing: str) -> click.Command:
    """Stands in for a command whose parts are not installed: says so when it is called, also when asked for help."""

    @click.command(name, context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def command(rest: tuple[str, ...]) -> None:
        del rest
        raise AutoscalerError(f"autoscaler {name}: not available here, the module '{missing}' is not installed")

    return command


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: autoscaler demo --for 10m",
)
@click.version_option(package_name="inference-autoscaler", prog_name="autoscaler")
def main() -> None:
    """Autoscaler for GPU inference services on Kubernetes."""
