"""A small PromQL evaluator over samples in memory: what the presets' queries and simple own ones need, by Prometheus' own rules.

Instant selectors look back five minutes and end at a stale marker; ``rate`` and ``delta`` extrapolate as promql/functions.go does; results
with the same labels twice are an error, as there. The contract tests run the same questions on the real one.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import promql_parser as parser

LOOKBACK_S = 300.0
STALE = struct.unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]

LabelSet: TypeAlias = frozenset[tuple[str, str]]
Vector: TypeAlias = dict[LabelSet, float]


class QueryError(Exception):
    """What Prometheus calls an execution error."""


def is_stale_marker(value: float) -> bool:
    return struct.pack("<d", value) == struct.pack("<d", STALE)


@dataclass
class Series:
    labels: dict[str, str]
    samples: list[tuple[float, float]] = field(default_factory=list)


class Evaluator:
    """Evaluates a query at a moment over some series."""

    def __init__(self, series: Iterable[Series], at_s: float) -> None:
        self._series = list(series)
        self._at_s = at_s

    def value(self, promql: str) -> Vector | float:
        found: Vector | float = self._value(parser.parse(promql))
        return found

    def _value(self, node: Any) -> Any:
        match type(node).__name__:
            case "ParenExpr":
                return self._value(node.expr)
            case "NumberLiteral":
                return float(node.val)
            case "StringLiteral":
                return str(node.val)
            case "UnaryExpr":
                value = self._value(node.expr)
                return -value if isinstance(value, float) else {k: -v for k, v in value.items()}
            case "VectorSelector":
                return {frozenset(s.labels.items()): sample[1] for s, sample in self._instant(node)}
            case "Call":
                return self._call(node)
            case "AggregateExpr":
                return self._aggregate(node)
            case "BinaryExpr":
                return self._binary(node)
            case other:
                raise QueryError(f"the fake does not evaluate {other}")

    def _matching(self, selector: Any) -> list[Series]:
        found = []
        for series in self._series:
            if selector.name and series.labels.get("__name__") != selector.name:
                continue
            if all(_matches(m, series.labels.get(m.name, "")) for m in selector.matchers.matchers):
                found.append(series)
        return found

    def _instant(self, selector: Any) -> list[tuple[Series, tuple[float, float]]]:
        found = []
        at_s = self._at_s - (0.0 if selector.offset is None else selector.offset.total_seconds())
        for series in self._matching(selector):
            past = [sample for sample in series.samples if at_s - LOOKBACK_S < sample[0] <= at_s]
            if past and not is_stale_marker(past[-1][1]):
                found.append((series, past[-1]))
        return found

    def _call(self, node: Any) -> Any:
        name, args = node.func.name, node.args
        if name == "time":
            return self._at_s
        if name == "timestamp":
            return _unique((_without(s.labels, ("__name__",)), sample[0]) for s, sample in self._instant(args[0]))
        if name in ("rate", "delta"):
            window_s = args[0].range.total_seconds()
            rates = []
            for series in self._matching(args[0].vector_selector):
                value = _extrapolated(series.samples, self._at_s, window_s, counter=name == "rate")
                if value is not None:
                    rates.append((_without(series.labels, ("__name__",)), value / (window_s if name == "rate" else 1.0)))
            return _unique(rates)
        if name == "clamp_max":
            most = self._value(args[1])
            return _unique((_without(dict(k), ("__name__",)), min(v, most)) for k, v in self._value(args[0]).items())
        if name == "vector":
            return {frozenset(): self._value(args[0])}
        if name == "scalar":
            vector = self._value(args[0])
            return next(iter(vector.values())) if len(vector) == 1 else math.nan
        if name == "label_replace":
            vector, target, replacement, source, pattern = (self._value(argument) for argument in args)
            replaced = []
            for labels, value in vector.items():
                found = re.fullmatch(pattern, dict(labels).get(source, ""))
                new = dict(labels)
                if found:
                    new[target] = found.expand(re.sub(r"\$(\d)", r"\\\1", replacement))
                replaced.append((frozenset((k, v) for k, v in new.items() if v), value))
            return _unique(replaced)
        raise QueryError(f"the fake does not know the function {name}")

    def _aggregate(self, node: Any) -> Vector:
        groups: dict[LabelSet, list[float]] = {}
        names = tuple(node.modifier.labels) if node.modifier is not None else ()
        by = node.modifier is None or node.modifier.type == parser.AggModifierType.By
        for labels, value in self._value(node.expr).items():
            group = frozenset((k, v) for k, v in labels if k in names) if by else _without(dict(labels), (*names, "__name__"))
            groups.setdefault(group, []).append(value)
        return {group: _AGGREGATIONS[str(node.op)](values) for group, values in groups.items()}

    def _binary(self, node: Any) -> Any:
        left, right, operator = self._value(node.lhs), self._value(node.rhs), str(node.op)
        if isinstance(left, float) and isinstance(right, float):
            return _arithmetic(operator, left, right)
        if isinstance(right, float):
            return _unique((_without(dict(k), ("__name__",)), _arithmetic(operator, v, right)) for k, v in left.items())
        if isinstance(left, float):
            return _unique((_without(dict(k), ("__name__",)), _arithmetic(operator, left, v)) for k, v in right.items())
        key = _matching_key(node.modifier)
        if operator == "or":
            present = {key(k) for k in left}
            return {**left, **{k: v for k, v in right.items() if key(k) not in present}}
        if operator == "unless":
            present = {key(k) for k in right}
            return {k: v for k, v in left.items() if key(k) not in present}
        of_right = {key(k): v for k, v in right.items()}
        return _unique((key(k), _arithmetic(operator, v, of_right[key(k)])) for k, v in left.items() if key(k) in of_right)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


_AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "avg": _mean,
    "count": lambda values: float(len(values)),
}


def _matching_key(modifier: Any) -> Any:
    if modifier is None or modifier.matching is None:
        return lambda labels: _without(dict(labels), ("__name__",))
    names = tuple(modifier.matching.labels)
    if modifier.matching.type == parser.LabelModifierType.Include:
        return lambda labels: frozenset((k, v) for k, v in labels if k in names)
    return lambda labels: _without(dict(labels), (*names, "__name__"))


def _matches(matcher: Any, value: str) -> bool:
    if matcher.op == parser.MatchOp.Equal:
        return bool(value == matcher.value)
    if matcher.op == parser.MatchOp.NotEqual:
        return bool(value != matcher.value)
    found = re.fullmatch(matcher.value, value) is not None
    return found if matcher.op == parser.MatchOp.Re else not found


def _arithmetic(operator: str, left: float, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            if right == 0:
                return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
            return left / right
        case _:
            raise QueryError(f"the fake does not know the operator {operator}")


def _without(labels: Mapping[str, str], names: Sequence[str]) -> LabelSet:
    return frozenset((k, v) for k, v in labels.items() if k not in names)


def _unique(pairs: Iterable[tuple[LabelSet, float]]) -> Vector:
    found: Vector = {}
    for labels, value in pairs:
        if labels in found:
            raise QueryError("vector cannot contain metrics with the same labelset")
        found[labels] = value
    return found


def _extrapolated(samples: Sequence[tuple[float, float]], at_s: float, window_s: float, *, counter: bool) -> float | None:
    """The increase over the window as extrapolatedRate works it out."""
    start_s = at_s - window_s
    inside = [s for s in samples if start_s <= s[0] <= at_s and not is_stale_marker(s[1])]
    if len(inside) < 2:
        return None
    increase = inside[-1][1] - inside[0][1]
    if counter:
        increase += sum(a[1] for a, b in itertools.pairwise(inside) if b[1] < a[1])
    to_start_s, to_end_s = inside[0][0] - start_s, at_s - inside[-1][0]
    sampled_s = inside[-1][0] - inside[0][0]
    mean_s = sampled_s / (len(inside) - 1)
    if counter and increase > 0 and inside[0][1] >= 0:
        to_start_s = min(to_start_s, sampled_s * inside[0][1] / increase)
    threshold_s = 1.1 * mean_s
    covered_s = sampled_s
    covered_s += to_start_s if to_start_s < threshold_s else mean_s / 2
    covered_s += to_end_s if to_end_s < threshold_s else mean_s / 2
    return increase * covered_s / sampled_s
