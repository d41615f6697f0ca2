"""Own PromQL, confined to one namespace.

A tenant writes a query into a manifest, and the controller runs it with its own rights. So every selector in it gets the matcher
``namespace="<the object's own>"``; nothing that reads series may be without it. What is refused, each with its reason:

- matchers on the namespace label other than the own one, spelt exactly (``=~``, ``!=``, another value), and ``or`` between matchers;
- ``info()``, which looks up further series by itself;
- what the printer does not know, quoted label names included; ranges and subqueries beyond what one tick may cost;
- results that are no instant vector and no scalar.

The rewritten text is parsed again, and the query is refused unless each selector found there carries exactly the matcher (defence in
depth: it would take the same mistake in the printer and in the check). ``label_replace`` and ``label_join`` may write any label, the
namespace too: they change what a series is called after it was selected, so they are no way out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import promql_parser as parser

from autoscaler.adapters.prometheus.promql_text import (
    MAX_DEPTH,
    Node,
    NotPrintable,
    label_name,
    own_matchers,
    text_of,
)

MAX_LENGTH: Final = 4096
MAX_SELECTORS: Final = 32
MAX_RANGE: Final = timedelta(days=31)
MAX_OFFSET: Final = timedelta(days=366)
MAX_SUBQUERY_POINTS: Final = 11_000
DEFAULT_SUBQUERY_STEP: Final = timedelta(seconds=15)
PART_LABEL: Final = "autoscaler_part"
VALUE_PART: Final = "value"


MEANS: Final = frozenset({"rate", "increase", "delta", "avg_over_time"})
"""Functions whose value is a mean over their range, or as good as one."""


class QueryRefused(ValueError):  # noqa: N818 (what happened, not what kind of thing it is)
    """The query can't be used; the text says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class ConfinedQuery:
    """A query that reads one namespace only.

    promql: the canonical text. scalar: True where it gives a scalar, else an instant vector. live_selectors: its selectors as instant
    selectors, without those that look at the past on purpose (offset, @): what its age is told from.
    """

    promql: str
    scalar: bool
    live_selectors: tuple[str, ...]
    span_s: float = math.nan
    """Over how many seconds its value is a mean: the range of its `rate`, `increase`, `delta` or `avg_over_time`, NaN where it has none, another
    function of a range, or several ranges."""

    def with_age(self) -> str:
        """One query for the value and its age: the result's series with the label ``autoscaler_part="value"``, and for each live selector
        one series whose value is the time of the newest sample it saw.

        Why: an instant selector also returns samples that are five minutes old and does not say so; a parameter that shortens that exists
        only in some servers. One text stays one query."""
        value = f"vector({self.promql})" if self.scalar else self.promql
        parts = [f'label_replace({value}, "{PART_LABEL}", "{VALUE_PART}", "", "")']
        parts += [
            f'label_replace(max(timestamp({selector})), "{PART_LABEL}", "{number}", "", "")'
            for number, selector in enumerate(self.live_selectors)
        ]
        return " or ".join(parts)


def confine(text: str, namespace: str, label: str = "namespace") -> ConfinedQuery:
    """The query that `text` is when it sees only series with `label` = `namespace`. Raises QueryRefused."""
    if not namespace:
        raise QueryRefused("there is no namespace to confine the query to")
    if len(text) > MAX_LENGTH:
        raise QueryRefused(f"the query has {len(text)} characters; {MAX_LENGTH} are allowed")
    with _as_refusals():
        return _confined(text, namespace, label)


def _confined(text: str, namespace: str, label: str) -> ConfinedQuery:
    tree = parser.parse(text)
    _check_cost(tree)
    matcher = (label_name(label), "=", namespace)

    def confined(selector: Node) -> list[tuple[str, str, str]]:
        matchers = own_matchers(selector)
        for matched, operator, value in matchers:
            if matched == label and (operator, value) != ("=", namespace):
                raise QueryRefused(
                    f"the matcher {matched}{operator}'{value[:64]}': a query sees only its own namespace, '{namespace}'; leave it out"
                )
        return sorted({*matchers, matcher})

    live = dict.fromkeys(text_of(selector, confined) for selector in selectors_of(tree) if is_live(selector))
    query = ConfinedQuery(text_of(tree, confined), _is_scalar(tree), tuple(live), _span_s(tree))
    _check_confined(query.promql, matcher)
    _check_confined(query.with_age(), matcher)
    if text_of(parser.parse(query.promql), own_matchers) != query.promql:
        raise QueryRefused("the query reads differently after being confined")
    return query


def _span_s(tree: Node) -> float:
    nodes = list(_nodes(tree))
    ranges = {_seconds(node.range) for node in nodes if isinstance(node, parser.MatrixSelector)}
    calls = {node.func.name for node in nodes if isinstance(node, parser.Call) and any(map(_is_range, node.args))}
    return ranges.pop() if len(ranges) == 1 and calls <= MEANS else math.nan


def _is_range(node: Node) -> bool:
    return isinstance(node, parser.MatrixSelector | parser.SubqueryExpr)


def is_live(selector: Node) -> bool:
    """Whether a selector looks at now."""
    return selector.at is None and selector.offset is None


@contextmanager
def _as_refusals() -> Iterator[None]:
    """Whatever a query makes the parser do ends as QueryRefused: a manifest must never take the controller down."""
    try:
        yield
    except QueryRefused:
        raise
    except NotPrintable as error:
        raise QueryRefused(f"the query holds {error}") from None
    except RecursionError:
        raise QueryRefused(f"the query holds more than {MAX_DEPTH} levels of nesting") from None
    except (ValueError, OverflowError) as error:
        raise QueryRefused(f"not PromQL: {str(error)[:300]}") from None
    except BaseException as error:
        # A panic in the parser's Rust comes as a BaseException of its own, which no `except Exception` stops.
        if type(error).__name__ != "PanicException":
            raise
        raise QueryRefused("the query holds something that the parser can't stand") from None


def selectors_of(tree: Node) -> Iterator[Node]:
    """Every VectorSelector of a tree, those inside matrix selectors included. Raises QueryRefused for a node that is not known."""
    for node in _nodes(tree):
        if isinstance(node, parser.VectorSelector):
            yield node
        elif isinstance(node, parser.MatrixSelector):
            yield node.vector_selector


def _check_confined(promql: str, matcher: tuple[str, str, str]) -> None:
    """Reads the rewritten text again, with nothing known about how it was made."""
    for selector in selectors_of(parser.parse(promql)):
        if [m for m in own_matchers(selector) if m[0] == matcher[0]] != [matcher]:
            raise QueryRefused("the query can't be confined to its namespace")


def _nodes(tree: Node) -> Iterator[Node]:
    """Every node, by our own walk: the parser's leaves out the insides of matrix selectors."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(_children(node))


def _check_cost(tree: Node) -> None:
    selectors = 0
    for selector in selectors_of(tree):
        selectors += 1
        _check_offset(selector.offset)
    if selectors > MAX_SELECTORS:
        raise QueryRefused(f"the query has {selectors} selectors; {MAX_SELECTORS} are allowed")
    _check_subqueries(tree, 1.0, 0)
    for node in _nodes(tree):
        if isinstance(node, parser.MatrixSelector) and node.range > MAX_RANGE:
            raise QueryRefused(f"a range of {node.range.days} days; at most {MAX_RANGE.days} are allowed")
        if isinstance(node, parser.Call) and node.func.name == "info":
            raise QueryRefused("info() looks up series of all namespaces; join with the info metric yourself")


def _check_subqueries(node: Node, points: float, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise QueryRefused(f"the query holds more than {MAX_DEPTH} levels of nesting")
    if isinstance(node, parser.SubqueryExpr):
        _check_offset(node.offset)
        step = node.step if node.step is not None else DEFAULT_SUBQUERY_STEP
        points *= max(_seconds(node.range) / _seconds(step), 1.0)
        if points > MAX_SUBQUERY_POINTS or _seconds(node.range) > _seconds(MAX_RANGE):
            raise QueryRefused(
                f"subqueries of {points:.0f} points; at most {MAX_SUBQUERY_POINTS} (nested ones multiplied) "
                f"over at most {MAX_RANGE.days} days are allowed"
            )
    for child in _children(node):
        _check_subqueries(child, points, depth + 1)


def _children(node: Node) -> list[Node]:
    if isinstance(node, parser.Call):
        return list(node.args)
    if isinstance(node, parser.AggregateExpr):
        return [node.expr] if node.param is None else [node.expr, node.param]
    if isinstance(node, parser.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, parser.UnaryExpr | parser.ParenExpr | parser.SubqueryExpr):
        return [node.expr]
    if isinstance(node, parser.VectorSelector | parser.MatrixSelector | parser.NumberLiteral | parser.StringLiteral):
        return []
    raise QueryRefused(f"the query holds a {type(node).__name__}, which is not known here")


def _seconds(duration: timedelta | None) -> float:
    if duration is None:
        raise QueryRefused("a subquery without a range")
    return duration.total_seconds()


def _check_offset(offset: timedelta | None) -> None:
    if offset is not None and abs(offset) > MAX_OFFSET:
        raise QueryRefused(f"an offset of more than {MAX_OFFSET.days} days")


def _is_scalar(node: Node) -> bool:
    """Whether the result is a scalar; raises QueryRefused where it is neither scalar nor instant vector."""
    if isinstance(node, parser.ParenExpr | parser.UnaryExpr):
        return _is_scalar(node.expr)
    if isinstance(node, parser.NumberLiteral):
        return True
    if isinstance(node, parser.VectorSelector | parser.AggregateExpr):
        return False
    if isinstance(node, parser.BinaryExpr):
        # Evaluated on both sides: each must be a type of its own right.
        left, right = _is_scalar(node.lhs), _is_scalar(node.rhs)
        return left and right
    if isinstance(node, parser.Call):
        if node.func.return_type == parser.ValueType.Scalar:
            return True
        if node.func.return_type == parser.ValueType.Vector:
            return False
    if isinstance(node, parser.MatrixSelector | parser.SubqueryExpr):
        raise QueryRefused("the query gives a range of values; wrap it, for example in avg_over_time(…)")
    raise QueryRefused("the query gives no number; it must give a scalar or an instant vector")
