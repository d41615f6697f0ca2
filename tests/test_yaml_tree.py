"""YAML is read as kubectl reads it, and every node knows its line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.yaml_tree import documents, scalar, value
from tests.installed_crds import install_crds
from tests.realparts.control_plane import ControlPlane


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("Off", False),
        ("yes", True),
        ("12", 12),
        ("-3", -3),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("-017", -15),
        ("089", 89.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("22:30", "22:30"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T06:00:00Z", "2026-01-31T06:00:00Z"),
        ("99.9%", "99.9%"),
        ("60s", "60s"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars(text: str, expected: Any) -> None:
    assert scalar(text) == expected
    assert type(scalar(text)) is type(expected)


def test_quotes_and_tags() -> None:
    assert value("'5'") == "5"
    assert value("!!str 5") == "5"
    assert value("!!int '5'") == 5
    with pytest.raises(ValueError, match="tag"):
        value("!!python/object:os.system ls")


def test_lines() -> None:
    text = "a: 1\nb:\n  - x\n  - c: |\n      long\n      text\n    d: {e: 1}\n---\n# words\n\nz: 1\n"
    first, second = documents(text)
    assert first.tree == {"a": 1, "b": ["x", {"c": "long\ntext\n", "d": {"e": 1}}]}
    lines = {("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1, "c"): 4, ("b", 1, "d"): 7, ("b", 1, "d", "e"): 7}
    assert {path: first.line_of(path) for path in lines} == lines
    assert first.line_of(("b", 1, "absent", "deeper")) == 4
    assert second.line_of(("z",)) == 11


def test_anchors_and_merge_keys() -> None:
    (document,) = documents("base: &b {x: 1, y: 2}\none:\n  <<: *b\n  y: 3\nmany: {<<: [*b, {z: 4}]}\n")
    assert document.tree["one"] == {"x": 1, "y": 3}
    assert document.tree["many"] == {"x": 1, "y": 2, "z": 4}
    assert document.line_of(("one", "y")) == 4
    assert not document.problems


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "written twice; first in line 1"),
        ("a: [1\n", 1, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: *missing\n", 1, "undefined alias"),
        ("a: &a\n  b: *a\n", 1, "contains itself"),
        ("? [x]\n: 1\n", 1, "a key must be a text"),
        ("a:\n  <<: 5\n", 2, "<< takes a mapping"),
        ("a: \x00\n", 0, "not YAML"),
    ],
)
def test_problems(text: str, line: int, words: str) -> None:
    problems = [problem for document in documents(text) for problem in document.problems]
    assert [problem.line for problem in problems] == [line]
    assert words in problems[0].message


def test_an_alias_bomb_is_refused_at_once() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    problems = [problem for document in documents("\n".join(levels)) for problem in document.problems]
    assert "more than" in problems[-1].message


def test_deep_nesting_is_refused() -> None:
    problems = [problem for document in documents("[" * 20_000) for problem in document.problems]
    assert len(problems) == 1


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN)
def test_what_is_written_is_read(data: Any) -> None:
    # PyYAML leaves `1e3` and `0o7` plain, since they are texts to it; kubectl reads numbers. Quoting all texts avoids that.
    text = yaml.safe_dump(data, default_style='"') if isinstance(data, str) else yaml.dump(data, Dumper=_Quoted)
    (document,) = documents(text)
    assert document.tree == data


class _Quoted(yaml.SafeDumper):
    pass


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


SCALARS = [
    "~",
    "null",
    "true",
    "True",
    "yes",
    "Off",
    "on",
    "y",
    "N",
    "12",
    "-3",
    "+7",
    "1_000",
    "0x1F",
    "0o17",
    "017",
    "-017",
    "089",
    "0b101",
    "1.5",
    "1e3",
    "1E-2",
    ".5",
    "5.",
    "-.5",
    "22:30",
    "1:30:00",
    "2026-01-31",
    "2026-01-31T06:00:00Z",
    "99.9%",
    "60s",
    "1.2.3",
    "0.10",
    "1__0",
    "0x",
    "12e",
    "1_0.5",
    "_1",
    "1_",
    "+.5",
    "nan",
    "'no'",
    "!!str",
    "0777",
    "0o8",
    "1e400",
    "0x_1",
    "99999999999999999999",
]


@pytest.mark.realparts
async def test_scalars_mean_what_they_mean_to_kubectl(control_plane: ControlPlane, namespace: str) -> None:
    await install_crds(control_plane)
    params = "".join(f"      p{number}: {text}\n" for number, text in enumerate(SCALARS))
    text = (
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: InferenceAutoscaler\nmetadata: {name: a}\n"
        "spec:\n  scaleTargetRef: {kind: Deployment, name: a}\n  maxReplicas: 3\n"
        f"  policies:\n  - name: fixed\n    params:\n{params}"
    )
    (document,) = documents(text)
    ours = document.tree["spec"]["policies"][0]["params"]
    code, out, err = await control_plane.kubectl(
        "apply", "--dry-run=server", "-o", "json", "-n", namespace, "-f", "-", input=text
    )
    assert code == 0, err
    theirs = json.loads(out)["spec"]["policies"][0]["params"]
    wrong = {
        f"{text} (p{number})": (ours[f"p{number}"], theirs.get(f"p{number}"))
        for number, text in enumerate(SCALARS)
        if ours[f"p{number}"] != theirs.get(f"p{number}")
        or isinstance(ours[f"p{number}"], bool) != isinstance(theirs.get(f"p{number}"), bool)
    }
    assert not wrong
