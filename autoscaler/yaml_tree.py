"""YAML text to plain data that remembers the line of every node, read as kubectl reads it.

kubectl's reader differs from PyYAML's constructors: ``22:30`` and ``2026-01-31`` are texts, ``1e3`` is a number, a key may not come twice.
A file must mean the same here and there, so scalars are resolved by kubectl's rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]

_PLAIN: Final = "plain"
_MOST_NODES: Final = 200_000
_WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_MOST_DIGITS: Final = 67
"""Sign, prefix and 64 binary digits; what is longer is a number only if it is one with a fraction."""
_WHOLE: Final = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_NUMBER: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong with the text itself. line: 1-based, 0 where not known."""

    line: int
    path: Path
    value: str
    message: str


@dataclass(slots=True, kw_only=True)
class Document:
    """One document of a file: its plain data, the line (1-based) of each node by path, and what is wrong with it."""

    tree: Any = None
    line: int = 1
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """The line of a node, or of the closest one around it that is written."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return self.line


def documents(text: str) -> Iterator[Document]:
    """The documents of a text, up to the first fault of syntax, which comes as a problem of a last document without data."""
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            document = Document(line=node.start_mark.line + 1)
            document.tree = _Reader(document).read(node, (), ())
            yield document
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        words = ", ".join(filter(None, (fault.context, fault.problem)))
        # What is never closed is missed behind the last line.
        yield _broken(min(mark.line + 1, max(1, len(text.splitlines()))) if mark else 0, words)
    except yaml.YAMLError as fault:
        yield _broken(0, str(fault).splitlines()[0])
    except RecursionError:
        yield _broken(0, "nested too deeply")


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if "_" in text[:1]:
        return text
    digits = text.replace("_", "")
    if _WHOLE.fullmatch(text) and len(digits) <= _MOST_DIGITS:
        sign, digits = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
        if re.fullmatch("0[0-7]+", digits):
            digits = f"0o{digits[1:]}"
        whole = int(sign + digits, 0)
        return whole if -(2**63) <= whole < 2**64 else float(whole)
    if _NUMBER.fullmatch(digits) and math.isfinite(number := float(digits)):
        return number
    return text


def value(text: str) -> Any:
    """The value of a YAML text of one node, such as a flag's. Raises ValueError."""
    found = list(documents(text))
    problems = [problem.message for document in found for problem in document.problems]
    if problems or len(found) > 1:
        raise ValueError("; ".join(problems) or "one value is expected")
    return found[0].tree if found else None


def _broken(line: int, words: str) -> Document:
    return Document(line=line, problems=[Problem(line=line, path=(), value="", message=f"not YAML: {words}")])


class _Loader(yaml.SafeLoader):
    """Composes nodes and says of each scalar only whether it was plain, quoted or tagged."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


class _Reader:
    """Turns nodes into plain data and notes lines and problems in a document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def read(self, node: yaml.Node, path: Path, inside: tuple[int, ...]) -> Any:
        # An alias is the anchor's very node: it may lead back to itself, and a few of them may stand for billions.
        self._count += 1
        if id(node) in inside:
            return self._problem(node, path, "an alias that contains itself is not allowed")
        if self._count > _MOST_NODES:
            raise yaml.YAMLError(f"more than {_MOST_NODES} values, aliases counted as often as they are used")
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        inside = (*inside, id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index), inside) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, path, inside)

    def _mapping(self, node: yaml.MappingNode, path: Path, inside: tuple[int, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == _PLAIN and key_node.value == "<<":
                merged.append((key_node, value_node))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a key must be a text")
                continue
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in made:
                self._problem(key_node, (*path, key), f"written twice; first in line {first_line[key]}", key)
                continue
            first_line[key] = self._document.lines.setdefault((*path, key), line)
            made[key] = self.read(value_node, (*path, key), inside)
        for key_node, value_node in merged:
            found = self.read(value_node, path, inside)
            for mapping in found if isinstance(found, list) else [found]:
                if isinstance(mapping, dict):
                    made = {**mapping, **made}
                else:
                    self._problem(key_node, path, "<< takes a mapping or a list of mappings")
        return made

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        if node.tag == _PLAIN:
            return scalar(node.value)
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind in ("int", "float", "bool", "null"):
            return scalar(node.value)
        if kind != "str":
            self._problem(node, path, f"the tag '{node.tag}' is not allowed")
        return node.value

    def _problem(self, node: yaml.Node, path: Path, message: str, value: str = "") -> None:
        self._document.problems.append(Problem(line=node.start_mark.line + 1, path=path, value=value, message=message))
