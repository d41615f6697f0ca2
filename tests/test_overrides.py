"""Dotted overrides reach into manifests and plain trees, and say clearly where they can't."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler import spec
from autoscaler.errors import UsageError
from autoscaler.overrides import apart_from, below, override, pairs, steps
from autoscaler.schema import schema_of

SCHEMA = schema_of(spec.InferenceAutoscalerSpec)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("objective.promised", "99.9%", {"objective": {"promised": "99.9%"}}),
        ("objective.promised", "0.999", {"objective": {"promised": "0.999"}}),
        ("maxReplicas", "12", {"maxReplicas": 12}),
        ("leadTime.measured", "false", {"leadTime": {"measured": False}}),
        ("policies.0.params.target", "0.8", {"policies": [{"name": "reactive", "params": {"target": 0.8}}]}),
        ("policies[0].name", "target", {"policies": [{"name": "target"}]}),
        ("policies.1.name", "fixed", {"policies": [{"name": "reactive"}, {"name": "fixed"}]}),
        ("behavior.scaleDown.policies", "[]", {"behavior": {"scaleDown": {"policies": []}}}),
        ("schedules.0.start", "08:00", {"schedules": [{"start": "08:00"}]}),
        ("signals.presets", "[sglang, dcgm]", {"signals": {"presets": ["sglang", "dcgm"]}}),
    ],
)
def test_with_a_schema(path: str, text: str, expected: dict[str, Any]) -> None:
    tree: dict[str, Any] = {}
    override(tree, path, text, SCHEMA)
    if path.startswith("behavior"):
        assert tree["behavior"]["scaleDown"]["policies"] == []
        assert tree["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    else:
        for key, part in expected.items():
            assert tree[key] == part or tree[key] == {**tree[key], **part}


def test_null_takes_away() -> None:
    tree: dict[str, Any] = {"pause": {}, "policies": [{"name": "a"}, {"name": "b"}]}
    override(tree, "pause", "null", SCHEMA)
    override(tree, "policies.0", "null", SCHEMA)
    assert tree == {"policies": [{"name": "b"}]}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("objectve.promised", "did you mean 'objective'"),
        ("objective.promise", "did you mean 'promised'"),
        ("policies.5.name", "no item of a list of 1"),
        ("policies.first.name", "no item of a list"),
        ("maxReplicas.deeper", "nothing below"),
        ("objective..promised", "an empty step"),
    ],
)
def test_paths_that_do_not_exist(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        override({"maxReplicas": 3}, path, "1", SCHEMA)


def test_without_a_schema() -> None:
    tree: dict[str, Any] = {"nodes": {"start": "180s"}}
    override(tree, "nodes.start", "0s")
    override(tree, "noise", "false")
    override(tree, "list.0.x", "1")
    assert tree == {"nodes": {"start": "0s"}, "noise": False, "list": [{"x": 1}]}
    with pytest.raises(UsageError, match="not YAML"):
        override(tree, "noise", "[1")


def test_pairs_and_prefixes() -> None:
    given = pairs(["scenario.warmup=2d", "objective.promised=99.9%", "scenario.nodes.start=0s", "x=a=b"])
    assert below(given, "scenario") == {"warmup": "2d", "nodes.start": "0s"}
    assert apart_from(given, "scenario") == {"objective.promised": "99.9%", "x": "a=b"}
    assert steps("policies[0].params.x") == ("policies", 0, "params", "x")
    for wrong in ("objective.promised", "=5"):
        with pytest.raises(UsageError, match="PATH=VALUE"):
            pairs([wrong])
