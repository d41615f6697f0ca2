"""Durations on the command line, spelt as in manifests."""

from __future__ import annotations

import click


class DurationType(click.ParamType[float]):
    """``15s``, ``1m30s`` → seconds."""

    name = "duration"

    def __init__(self, at_least_s: float = 0.5) -> None:
        self._at_least_s = at_least_s

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from autoscaler.spec import duration_s

        try:
            seconds = duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < self._at_least_s:
            self.fail(f"{value} is too short; {self._at_least_s * 1000:g}ms or longer", param, ctx)
        return seconds
