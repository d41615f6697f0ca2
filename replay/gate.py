"""A gate: what scores must keep, for CI. A YAML list of ``{policy, trace, field, min, max}``; what it misses is told with file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from autoscaler.schema import schema_of
from autoscaler.spec import Base
from autoscaler.structure import check, did_you_mean
from replay.yaml_file import read_yaml


class GateLine(Base):
    """What one or several scores must keep."""

    policy: Annotated[str, Meta(min_length=1, description="As after -p, or '*' for every policy.")]
    field: Annotated[str, Meta(min_length=1, description="A field of the score, such as attained_ratio or wait_s.p99.")]
    trace: Annotated[str, Meta(min_length=1, description="As scores call it, or '*' for every trace.")] = "*"
    min: Annotated[float | None, Meta(description="The least that is allowed.")] = None
    max: Annotated[float | None, Meta(description="The most that is allowed.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The lines of a file, each with its number in it."""

    file: str
    lines: Sequence[tuple[int, GateLine]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A line that is not kept. value: None where there is none; words: why."""

    file: str
    line: int
    policy: str
    trace: str
    field: str
    value: Any
    words: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.policy} on {self.trace}: {self.words}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def load_gate(path: Path) -> Gate:
    """Raises InvalidSetting with every fault, UsageError (no such file), OutsideError."""
    file = read_yaml(path, "Gate")
    items = file.tree if isinstance(file.tree, list) else []
    if not file.faults and not items:
        file.flaw((), file.tree, "a list of {policy, trace, field, min, max} is expected")
    lines: list[tuple[int, GateLine]] = []
    for index, item in enumerate(items):
        made, flaws = check(schema_of(GateLine), item, (index,))
        for flaw in flaws:
            file.flaw(flaw.path, flaw.value, flaw.message)
        if flaws:
            continue
        line = msgspec.convert(made, GateLine)
        if line.min is None and line.max is None:
            file.flaw((index,), None, "min, max or both are needed")
        elif line.min is not None and line.max is not None and line.min > line.max:
            file.flaw((index, "min"), line.min, f"must not be greater than max ({_apart(line.min, line.max)[1]})")
        lines.append((file.line_of((index,)), line))
    file.check()
    return Gate(file=str(path), lines=lines)


def misses(gate: Gate, scores: Sequence[Mapping[str, Any]]) -> list[Miss]:
    """Every line that some score doesn't keep, and every one that speaks of no score at all."""
    return [miss for at, line in gate.lines for miss in _line_misses(gate.file, at, line, scores)]


def _line_misses(file: str, at: int, line: GateLine, scores: Sequence[Mapping[str, Any]]) -> list[Miss]:
    def miss(policy: str, trace: str, value: Any, words: str) -> Miss:
        return Miss(file=file, line=at, policy=policy, trace=trace, field=line.field, value=value, words=words)

    meant = [s for s in scores if line.policy in ("*", s["policy"]) and line.trace in ("*", s["trace"])]
    if not meant:
        there = "; ".join(dict.fromkeys(f"{score['policy']} on {score['trace']}" for score in scores))
        return [miss(line.policy, line.trace, None, f"there is no such score (there are {there})")]
    found = []
    for score in meant:
        value, words = value_of(score, line.field)
        if not words and line.min is not None and value < line.min:
            words = "{} is {}, at least {} is asked for".format(line.field, *_apart(value, line.min))
        if not words and line.max is not None and value > line.max:
            words = "{} is {}, at most {} is allowed".format(line.field, *_apart(value, line.max))
        if words:
            found.append(miss(score["policy"], score["trace"], value, words))
    return found


def _apart(value: float, limit: float) -> tuple[str, str]:
    """Both with six digits, or as many as are needed to tell them apart."""
    for digits in range(6, 18):
        one, other = f"{value:.{digits}g}", f"{limit:.{digits}g}"
        if one != other:
            break
    return one, other


def value_of(score: Mapping[str, Any], field: str) -> tuple[Any, str]:
    """A number of a score by its dotted name, and why there is none."""
    here: Any = score
    rest = field
    while rest:
        # Names may hold dots themselves (forecast.coverage.0.9): the longest one that is there is meant.
        if not isinstance(here, Mapping):
            return None, f"{field} is not given" if here is None else f"{field} is no field of a score"
        name = next((name for name in sorted(here, key=len, reverse=True) if rest == name or rest.startswith(f"{name}.")), None)
        if name is None:
            return None, f"{field} is no field of a score; {did_you_mean(rest, here)}"
        here, rest = here[name], rest[len(name) + 1 :]
    if here is None:
        hint = " (--optimum asks for it)" if field.partition(".")[0] in ("optimum", "cost_ratio", "node_bound_ratio") else ""
        return None, f"{field} is not given{' (the trace holds no demand: open loop)' if score.get('open_loop') else hint}"
    if isinstance(here, bool) or not isinstance(here, (int, float)):
        return None, f"{field} is no number"
    return here, ""
