"""``autoscaler policies``: what is installed, with parameters, defaults and allowed values; and the forecasters below `predictive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.output import console, json_option, print_json

if TYPE_CHECKING:
    from autoscaler.core.discovery import Discovered
    from autoscaler.core.forecaster import ForecasterType
    from autoscaler.core.policy import Parameter, PolicyType
    from autoscaler.plugins import Installed


@click.command("policies", epilog="Example: autoscaler policies target")
@click.argument("names", metavar="[NAME…]", nargs=-1)
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """The installed policies (or those NAMEd), also those that others installed: parameters, defaults, allowed values. Without a NAME
    the forecasters, too, of which `predictive` makes its forecast."""
    from autoscaler.core.discovery import discover_forecasters
    from autoscaler.errors import UsageError
    from autoscaler.plugins import installed
    from autoscaler.structure import did_you_mean

    found = installed()
    for name in names:
        if name not in found.policies and name not in found.broken:
            raise UsageError(f"no policy '{name}' is installed; {did_you_mean(name, found.policies)}")
    chosen = {name: policy for name, policy in found.policies.items() if not names or name in names}
    forecasters = discover_forecasters()
    if as_json:
        print_json(
            {
                "policies": [_document(policy, found) for policy in chosen.values()],
                "broken": found.broken,
                "forecasters": [_forecaster(one, forecasters) for one in forecasters.kinds.values()],
                "broken_forecasters": forecasters.broken,
            }
        )
        return
    for policy in chosen.values():
        _print(policy, found)
    for name, why in found.broken.items():
        click.echo(f"{name}: left out, its plug-in can't be loaded: {why}", err=True)
    if not names:
        _print_forecasters(forecasters)
        for name, why in forecasters.broken.items():
            click.echo(f"forecaster {name}: left out, its plug-in can't be loaded: {why}", err=True)


def _document(policy: PolicyType, found: Installed) -> dict[str, Any]:
    return {
        "name": policy.name,
        "summary": policy.summary,
        "package": found.packages.get(policy.name, ""),
        "source": policy.source,
        "alone": policy.alone,
        "lookback_s": policy.lookback_s,
        "interval_s": policy.interval_s,
        "optional_signals": list(policy.optional_signals),
        "parameters": [
            {
                "name": parameter.name,
                "kind": parameter.kind,
                "default": parameter.default,
                "required": parameter.required,
                "unit": parameter.unit,
                "minimum": parameter.minimum,
                "maximum": parameter.maximum,
                "choices": list(_choices(parameter)),
                "description": parameter.description,
                "tunable": parameter.tunable,
                "search": _search(parameter),
            }
            for parameter in policy.parameters
        ],
    }


def _forecaster(one: ForecasterType, found: Discovered[ForecasterType]) -> dict[str, Any]:
    return {
        "name": one.name,
        "summary": one.summary,
        "package": found.packages[one.name],
        "source": one.source,
        "experts": list(one.experts),
    }


def _search(parameter: Parameter) -> dict[str, Any] | None:
    """Where a tuner looks: `of` says in which measure low and high are (docs/policies.md)."""
    if not parameter.tunable or parameter.kind not in ("float", "int"):
        return None
    low, high = parameter.search or (parameter.minimum, parameter.maximum)
    if parameter.search_of == "bounds":
        low = high = None
    return {"low": low, "high": high, "of": parameter.search_of, "log_scale": parameter.log_scale, "step": parameter.step}


def _searched(parameter: Parameter) -> str:
    found = _search(parameter)
    if found is None:
        return "any of them" if parameter.tunable else ""
    if found["of"] == "bounds":
        return "minReplicas to maxReplicas"
    share = "× held by a replica" if found["of"] == "held" else ""
    steps = f"by {found['step']:g}" if found["step"] else ""
    return " ".join(filter(None, (f"{found['low']:g} to {found['high']:g}", share, steps)))


def _choices(parameter: Parameter) -> tuple[str, ...]:
    from autoscaler.core.signals import SIGNALS

    return parameter.choices or (tuple(SIGNALS) if parameter.kind == "signal" else ())


def _from(package: str) -> str:
    from rich.markup import escape

    from autoscaler.core.discovery import OURS

    return "" if package == OURS else f" [dim]from {escape(package)}[/]"


def _print_forecasters(found: Discovered[ForecasterType]) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    out = console()
    out.print("[bold]Forecasters[/]  whose experts predictive weighs for every service")
    for one in found.kinds.values():
        words = f"[bold]{escape(one.name)}[/]{_from(found.packages[one.name])}  {escape(one.summary)}"
        out.print(Padding(words, (0, 0, 0, 2), expand=False))
        out.print(Padding(f"[dim]{escape(', '.join(one.experts))}[/]", (0, 0, 0, 4), expand=False))


def _print(policy: PolicyType, found: Installed) -> None:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    out = console()
    where = _from(found.packages.get(policy.name, ""))
    floor = "" if policy.alone else " [dim](only a floor: stands beside another policy)[/]"
    out.print(f"[bold]{escape(policy.name)}[/]{where}{floor}  {escape(policy.summary)}", soft_wrap=True)
    if policy.source:
        out.print(Padding(f"[dim]{escape(policy.source)}[/]", (0, 0, 0, 2), expand=False))
    if policy.parameters:
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        for head in ("parameter", "default", "allowed", "tuned in", "meaning"):
            table.add_column(head, overflow="fold")
        for parameter in policy.parameters:
            default = "needed" if parameter.required else _shown(parameter.default)
            table.add_row(
                *map(escape, (parameter.name, default, _allowed(parameter), _searched(parameter), parameter.description))
            )
        out.print(Padding(table, (0, 0, 0, 2), expand=False))
    out.print()


def _allowed(parameter: Parameter) -> str:
    if parameter.kind == "bool":
        return "true, false"
    if parameter.kind == "signal" and not parameter.choices:
        return "a signal"
    if parameter.choices:
        return ", ".join(parameter.choices)
    if parameter.kind == "str":
        return "a text"
    low = "" if parameter.minimum is None else f"{parameter.minimum:g}"
    high = "" if parameter.maximum is None else f"{parameter.maximum:g}"
    whole = "whole numbers" if parameter.kind == "int" else "numbers"
    if not low and not high:
        bounds = whole
    elif low and high:
        bounds = f"{low} to {high}"
    else:
        bounds = f"{low} or more" if low else f"{high} or less"
    return f"{bounds} {parameter.unit}".strip()


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value) or '""'
