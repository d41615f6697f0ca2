"""A PromQL syntax tree back into text, in one canonical form, with extra matchers in every selector.

Why not the parser's own printing: what is sent must be read the same way by Prometheus' parser, which is another program than the one
that checked it. So nothing is printed that two parsers could read differently: selectors have no bare names (``{__name__="up"}``), so no
name is taken for a keyword; strings are double-quoted with the fewest escapes; durations are whole milliseconds; operands are in
parentheses. A node or modifier that is not in the list below is refused, never passed through.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

import promql_parser as parser

Node: TypeAlias = Any
"""A node of promql_parser, which has no common typed base."""

MAX_DEPTH: Final = 64
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SET_OPERATORS: Final = ("and", "or", "unless")
_OPERATORS: Final = frozenset(("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", *_SET_OPERATORS))
_AGGREGATIONS: Final = frozenset(
    (
        "sum",
        "min",
        "max",
        "avg",
        "group",
        "stddev",
        "stdvar",
        "count",
        "count_values",
        "bottomk",
        "topk",
        "quantile",
        "limitk",
        "limit_ratio",
    )
)
# Pairs, since the parser's enumerations have no hash.
_MATCHES: Final = (
    (parser.MatchOp.Equal, "="),
    (parser.MatchOp.NotEqual, "!="),
    (parser.MatchOp.Re, "=~"),
    (parser.MatchOp.NotRe, "!~"),
)


class NotPrintable(ValueError):  # noqa: N818 (what happened, not what kind of thing it is)
    """The tree holds something that has no canonical text; says what."""


Matchers: TypeAlias = Callable[[Node], Sequence[tuple[str, str, str]]]
"""The matchers (label, operator, value) that a selector is printed with. Raises to refuse it."""


def text_of(tree: Node, matchers: Matchers) -> str:
    """The canonical text of a tree. Raises NotPrintable, and whatever `matchers` raises."""
    return _Printer(matchers).text(tree, 0)


def own_matchers(selector: Node) -> list[tuple[str, str, str]]:
    """A selector's own matchers, its name included, in a fixed order. Raises NotPrintable for alternatives (``or``)."""
    if selector.matchers.or_matchers:
        raise NotPrintable("'or' between matchers")
    name = [("__name__", "=", selector.name)] if selector.name else []
    return sorted({*name, *((m.name, _match_sign(m.op), m.value) for m in selector.matchers.matchers)})


def quoted(value: str) -> str:
    """A string literal that both parsers read the same way."""
    signs = []
    for sign in value:
        if sign in '"\\':
            signs.append("\\" + sign)
        elif sign < " " or sign == "\x7f":
            signs.append(f"\\u{ord(sign):04x}")
        else:
            signs.append(sign)
    return '"' + "".join(signs) + '"'


def label_name(name: str) -> str:
    """A label's name where it needs no quotes. Raises NotPrintable."""
    if not _NAME.fullmatch(name):
        raise NotPrintable(f"the label name '{name[:64]}', which needs quotes (letters, digits and _ don't)")
    return name


def milliseconds(duration: timedelta) -> str:
    """A duration as PromQL writes it."""
    # timedelta divides exactly, float seconds would not.
    return f"{duration // timedelta(milliseconds=1)}ms"


class _Printer:
    def __init__(self, matchers: Matchers) -> None:
        self._matchers = matchers

    def text(self, node: Node, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise NotPrintable(f"more than {MAX_DEPTH} levels of nesting")
        print_node = _PRINTERS.get(type(node))
        if print_node is None:
            raise NotPrintable(f"a {type(node).__name__}, which is not known here")
        return print_node(self, node, depth + 1)

    def selector(self, node: Node, _depth: int) -> str:
        return self._braces(node) + _when(node)

    def matrix(self, node: Node, _depth: int) -> str:
        selector = node.vector_selector
        return f"{self._braces(selector)}[{milliseconds(node.range)}]{_when(selector)}"

    def subquery(self, node: Node, depth: int) -> str:
        step = milliseconds(node.step) if node.step is not None else ""
        return f"{self.wrapped(node.expr, depth)}[{milliseconds(node.range)}:{step}]{_when(node)}"

    def call(self, node: Node, depth: int) -> str:
        return f"{label_name(node.func.name)}({', '.join(self.text(argument, depth) for argument in node.args)})"

    def aggregation(self, node: Node, depth: int) -> str:
        operator, grouping = str(node.op), ""
        if operator not in _AGGREGATIONS:
            raise NotPrintable(f"the aggregation '{operator}'")
        if node.modifier is not None:
            word = "by" if node.modifier.type == parser.AggModifierType.By else "without"
            grouping = f" {word} ({', '.join(map(label_name, node.modifier.labels))}) "
        parameter = self.text(node.param, depth) + ", " if node.param is not None else ""
        return f"{operator}{grouping}({parameter}{self.text(node.expr, depth)})"

    def binary(self, node: Node, depth: int) -> str:
        operator = str(node.op)
        if operator not in _OPERATORS:
            raise NotPrintable(f"the operator '{operator}'")
        left, right = self.wrapped(node.lhs, depth), self.wrapped(node.rhs, depth)
        return f"{left} {operator}{_matching(node.modifier)} {right}"

    def unary(self, node: Node, depth: int) -> str:
        return "-" + self.wrapped(node.expr, depth)

    def parentheses(self, node: Node, depth: int) -> str:
        return self.wrapped(node.expr, depth)

    def wrapped(self, node: Node, depth: int) -> str:
        """In exactly one pair of parentheses, however many there were: so printing what was printed changes nothing."""
        text = self.text(node, depth)
        bare = isinstance(node, parser.NumberLiteral) and text.startswith("(")
        return text if bare or isinstance(node, parser.ParenExpr) else f"({text})"

    def number(self, node: Node, _depth: int) -> str:
        value = float(node.val)
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Inf" if value > 0 else "(-Inf)"
        return repr(value) if value >= 0 and not (value == 0 and math.copysign(1, value) < 0) else f"({value!r})"

    def string(self, node: Node, _depth: int) -> str:
        return quoted(node.val)

    def _braces(self, selector: Node) -> str:
        matchers = [f"{label_name(label)}{operator}{quoted(value)}" for label, operator, value in self._matchers(selector)]
        return "{" + ",".join(matchers) + "}"


_PRINTERS: Final[dict[type, Callable[[_Printer, Node, int], str]]] = {
    parser.VectorSelector: _Printer.selector,
    parser.MatrixSelector: _Printer.matrix,
    parser.SubqueryExpr: _Printer.subquery,
    parser.Call: _Printer.call,
    parser.AggregateExpr: _Printer.aggregation,
    parser.BinaryExpr: _Printer.binary,
    parser.UnaryExpr: _Printer.unary,
    parser.ParenExpr: _Printer.parentheses,
    parser.NumberLiteral: _Printer.number,
    parser.StringLiteral: _Printer.string,
}


def _when(node: Node) -> str:
    """The @ and offset modifiers."""
    text = ""
    if node.at is not None:
        kind = node.at.type
        if kind == parser.AtModifierType.Start:
            text += " @ start()"
        elif kind == parser.AtModifierType.End:
            text += " @ end()"
        else:
            # From its text: the parser panics when it converts a time before 1970.
            at_s = float(str(node.at).removeprefix("@ "))
            if not 0 < at_s < 1e11:
                raise NotPrintable("@ with a time outside 1970 to 5138")
            text += f" @ {at_s:.3f}"
    if node.offset is not None:
        text += f" offset {milliseconds(node.offset)}"
    return text


def _matching(modifier: Node) -> str:
    if modifier is None:
        return ""
    text = " bool" if modifier.return_bool else ""
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise NotPrintable("'fill', which most servers don't know")
    if modifier.matching is not None:
        word = "on" if modifier.matching.type == parser.LabelModifierType.Include else "ignoring"
        text += f" {word} ({', '.join(map(label_name, modifier.matching.labels))})"
    labels = ", ".join(map(label_name, modifier.group_labels or []))
    if modifier.card == parser.VectorMatchCardinality.ManyToOne:
        text += f" group_left ({labels})"
    elif modifier.card == parser.VectorMatchCardinality.OneToMany:
        text += f" group_right ({labels})"
    return text


def _match_sign(operator: Any) -> str:
    for known, sign in _MATCHES:
        if operator == known:
            return sign
    raise NotPrintable(f"the match operator {operator}")
