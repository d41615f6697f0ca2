"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
STANDARD: Final = Path(__file__).resolve().parent.parent / "standard"


def manifest_option(function: F) -> F:
    return click.option(
        "-f",
        "--manifest",
        "manifests",
        type=click.Path(path_type=Path),
        multiple=True,
        default=(STANDARD / "manifest.yaml",),
        show_default="the standard scenario's",
        help="Manifest with InferenceAutoscaler and AcceleratorPool objects, as kubectl apply takes it. May be repeated.",
    )(function)


def scenario_option(function: F) -> F:
    return click.option(
        "-s",
        "--scenario",
        type=click.Path(path_type=Path),
        default=STANDARD / "scenario.yaml",
        show_default="the standard scenario",
        help="How the service is simulated.",
    )(function)


def set_option(function: F) -> F:
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="PATH=VALUE",
        help="Changes a value: scenario.PATH of the scenario, any other path below spec of the manifest. May be repeated.",
    )(function)


def trace_option(function: F) -> F:
    return click.option(
        "-t",
        "--trace",
        required=True,
        metavar="TRACE[:KEY=VALUE,…]",
        help="Recorded traffic (plain, .gz, .zst); KEY=VALUE: settings of the scenario for this trace, such as smoothing=15m.",
    )(function)


def traces_option(function: F) -> F:
    return click.option(
        "-t",
        "--trace",
        "traces",
        required=True,
        multiple=True,
        metavar="TRACE[:KEY=VALUE,…]",
        help="Recorded traffic; KEY=VALUE: settings of the scenario for this trace. May be repeated.",
    )(function)


def jobs_option(function: F) -> F:
    return click.option(
        "--jobs", type=click.IntRange(min=1), help="Processes; as many as cores where left out. The outcome is the same."
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else.")(function)
