"""Runs benchmarks, prints a table, writes build/bench.json."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import tests.benchmarks as package
from tests.benchmarks.registry import BENCHMARKS, ONLY_NAMED, Figure

OUTPUT = Path("build/bench.json")


def main(chosen: list[str]) -> int:
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("bench_"):
            importlib.import_module(f"{package.__name__}.{module.name}")
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(sorted(BENCHMARKS))}", file=sys.stderr)
        return 2
    figures: dict[str, Figure] = {}
    failed = False
    for name in chosen or sorted(BENCHMARKS.keys() - ONLY_NAMED):
        if name in figures:
            continue
        began = time.perf_counter()
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            figures.update(BENCHMARKS[name]())
        except Exception as error:  # one broken benchmark must not hide the others' figures
            failed = True
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    show(figures)
    write(figures)
    return 1 if failed else 0


def show(figures: dict[str, Figure]) -> None:
    table = Table("figure", "value", "unit", "goal", "detail")
    for name, figure in figures.items():
        detail = ", ".join(f"{key} {short(value)}" for key, value in figure.detail.items())
        table.add_row(name, f"{figure.value:.4g}", figure.unit, figure.goal, detail)
    Console(width=160).print(table)


def short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {short(item)}" for key, item in value.items()) + "}"
    return str(value)


def write(figures: dict[str, Figure]) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    known.update(
        {name: {"value": figure.value, "unit": figure.unit, "detail": dict(figure.detail)} for name, figure in figures.items()}
    )
    OUTPUT.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
