"""The examples of docs/policies.md are what a stranger copies: they run, and keep the contract."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.policies.observations import Services

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FUNCTION, BATCHED, TEST = BLOCKS


@pytest.mark.parametrize("policy", [FUNCTION, BATCHED], ids=["function", "batched"])
def test_an_example_passes_the_test_that_stands_beside_it(policy: str) -> None:
    names: dict[str, Any] = {"__name__": "half_full"}
    exec(policy, names)
    exec(TEST, names)
    names["test_it_keeps_the_contract"]()


def test_both_examples_ask_for_the_same() -> None:
    answers = []
    for block in (FUNCTION, BATCHED):
        names: dict[str, Any] = {"__name__": "half_full"}
        exec(block, names)
        answers.append(
            Services(names["POLICY"], [{}, {"fill": 0.8}]).see(running=[30.0, 100.0], queue=[3.0, 9.0]).replicas.tolist()
        )
    assert answers[0] == answers[1] == [3, 5]


def test_every_shipped_policy_has_its_section() -> None:
    for entry in entry_points(group="inference_autoscaler.policies"):
        if entry.value.startswith("policies."):
            assert f"\n## {entry.name}\n" in PAGE
