"""One value of a YAML text changed in place: comments, order and style of everything else stay as somebody wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from autoscaler.yaml_tree import Path, scalar

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


class CannotEdit(Exception):  # noqa: N818 - says what is the matter; the caller writes the file anew
    """The path leads through something that can't be changed in place."""


def put(text: str, document: int, path: Path, value: Any) -> str:
    """The text with `value` at `path` of its document (counted from 0); mappings that are missing on the way are made.

    What is there already is replaced. Raises CannotEdit."""
    nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    here: Any = nodes[document]
    for depth, step in enumerate(path):
        child = _child(here, step)
        if child is None:
            return _inserted(text, here, path[depth:], value)
        here = child
    return _replaced(text, here, flow(value))


def flow(value: Any) -> str:
    """Plain data in YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and isinstance(scalar(value), str):
        return value
    return json.dumps(value)


def _child(node: Any, step: str | int) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    return None


def _inserted(text: str, node: Any, rest: Path, value: Any) -> str:
    for step in reversed(rest[1:]):
        if not isinstance(step, str):
            raise CannotEdit(f"an item of a list that is not there: {step}")
        value = {step: value}
    entry = f"{flow(rest[0])}: {flow(value)}"
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
        return _replaced(text, node, "{" + entry + "}")
    if not isinstance(node, yaml.MappingNode) or not isinstance(rest[0], str):
        raise CannotEdit(f"there is no mapping to put '{rest[0]}' into")
    if node.flow_style:
        end = node.end_mark.index - 1
        return text[:end].rstrip() + (", " if node.value else "") + entry + text[end:]
    indent = " " * node.value[0][0].start_mark.column
    end = _end(node)
    line_end = text.find("\n", end)
    if line_end < 0:
        return f"{text}\n{indent}{entry}\n"
    return f"{text[:line_end]}\n{indent}{entry}{text[line_end:]}"


def _replaced(text: str, node: Any, new: str) -> str:
    start, end = node.start_mark.index, _end(node)
    if start == end and text[start - 1 : start] == ":":  # `key:` with nothing behind it
        new = f" {new}"
    return text[:start] + new + text[end:]


def _end(node: Any) -> int:
    """Where a node's own text ends; a block's mark lies behind the blank lines and comments that follow."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)
