"""One value changes, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.yaml_tree import documents
from replay.tune.yaml_edit import CannotEdit, flow, put

BLOCK = """\
# top
spec:
  policies:   # which
    - name: target
      params:
        signal: concurrency  # in flight
        target: 20   # of 32

  # below
  max: 3
---
spec: {policies: [{name: a}], empty: {}, nothing: }
"""


def trees(text: str) -> list[Any]:
    return [document.tree for document in documents(text)]


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (0, ("spec", "policies", 0, "params", "target"), 22.5),
        (0, ("spec", "policies", 0, "params", "tolerance"), 0.1),
        (0, ("spec", "policies", 0, "more"), {"a": 1}),
        (0, ("spec", "policies"), [{"name": "b", "params": {"x": 1.5}}]),
        (0, ("spec", "policies", 0, "params"), {"signal": "demand"}),
        (0, ("spec", "new", "deep"), "9"),
        (0, ("spec", "max"), 4),
        (1, ("spec", "policies", 0, "params", "x"), 1e-07),
        (1, ("spec", "empty", "x"), True),
        (1, ("spec", "nothing", "x"), None),
    ],
)
def test_the_text_means_the_same_with_one_value_changed(document: int, path: tuple[str | int, ...], value: Any) -> None:
    made = put(BLOCK, document, path, value)
    expected = trees(BLOCK)
    here: Any = expected[document]
    for step in path[:-1]:
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}
        here = here[step]
    here[path[-1]] = value
    assert trees(made) == expected
    replaced_whole = path in (("spec", "policies"), ("spec", "policies", 0, "params"))
    for comment in ("# top", "# which", "# below", *(() if replaced_whole else ("# in flight", "# of 32"))):
        assert made.count(comment) == 1, made


def test_a_text_without_a_last_line_feed() -> None:
    assert put("spec:\n  a: 1", 0, ("spec", "b"), 2) == "spec:\n  a: 1\n  b: 2\n"


def test_what_can_t_be_done_in_place() -> None:
    for path in (("spec", "max", "x"), ("spec", "policies", 4, "x"), ("spec", "x", 0, "y")):
        with pytest.raises(CannotEdit):
            put(BLOCK, 0, path, 1)


@pytest.mark.parametrize("value", ["on", "1e3", "22:30", "a b", "x: y", "", "null", "llama-2", 3, 2.5, True, None, 1e-07])
def test_flow_is_read_back(value: Any) -> None:
    (document,) = documents(f"key: {flow(value)}")
    assert document.tree == {"key": value}
    assert type(document.tree["key"]) is type(value)
