"""Label selectors: what is parsed, what it matches, what is refused and in which words; and all of that as the real API server does it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.external_metrics.selectors import LONGEST, Requirement, SelectorError, parse
from autoscaler.published import NAME_LABEL
from tests.realparts.api import Api, ApiError
from tests.realparts.control_plane import ControlPlane

LABELS = {"app": "llama", "tier": "a", "size": "7", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("   ", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("app=llama", True),
        ("app == llama", True),
        ("app=qwen", False),
        ("app!=qwen", True),
        ("app!=llama", False),
        ("missing!=anything", True),
        ("missing=", False),
        ("empty=", True),
        ("empty=,app", True),
        ("empty in ()", True),
        ("app in (qwen,llama)", True),
        ("app in ( qwen , llama )", True),
        ("app notin (qwen)", True),
        ("missing notin (qwen)", True),
        ("empty in (a,,b)", True),
        ("empty in (,a)", True),
        ("empty in (a,)", True),
        ("empty notin (a,,b)", False),
        ("size>6", True),
        ("size > 7", False),
        ("size<8", True),
        ("missing<8", False),
        ("app>1", False),
        ("app=llama,tier in (a,b),!canary,size>3", True),
        ("app=llama,tier=b", False),
        ("in in (in)", False),
        ("notin", False),
        ("app=in", False),
        ("a-b.c/d_e.F!=x", True),
    ],
)
def test_what_matches(text: str, matches: bool) -> None:
    assert parse(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (",", "character 1 begins ',' where a label or '!' is expected"),
        ("a,", "it ends where a label or '!' is expected"),
        ("a,,b", "character 3 begins ','"),
        ("a b", "character 3 begins 'b' where one of =, ==, !=, in, notin"),
        ("a=b c", "character 5 begins 'c' where ',' or the end is expected"),
        ("a===b", "character 4 begins '=' where a value is expected"),
        ("!a=b", "character 3 begins '='"),
        ("a in b", "character 6 begins 'b' where '(' is expected"),
        ("a in (b", "it ends where ',' or ')' is expected"),
        ("a in (b c)", "character 9 begins 'c'"),
        ("a in (b,(", "character 9 begins '('"),
        ("a>b", "character 3 begins 'b' where a whole number of 64 bits after '>' is expected"),
        ("a>", "it ends where a whole number"),
        ("a<9223372036854775808", "a whole number of 64 bits"),
        ("a>-1", "'-1' at character 3 is not allowed"),
        ("-a", "'-a' at character 1 is not allowed: a label's name has 1 to 63"),
        ("a=-b", "'-b' at character 3 is not allowed: a label's value is empty, or has up to 63"),
        ("A/b", "the part of a label before '/' is a DNS subdomain"),
        ("a/b/c", "DNS subdomain"),
        ("/b", "DNS subdomain"),
        ("a/", "a label's name has 1 to 63"),
        ("x" * 64, "a label's name has 1 to 63"),
        ("a=" + "x" * 64, "a label's value is empty, or has up to 63"),
        ("x" * 254 + "/a", "at most 253"),
        ("a=b\x00", "character 4 is a control character (U+0000)"),
        ("ä=b", "'ä' at character 1 is not allowed"),
        ("a" * (LONGEST + 1), f"it has {LONGEST + 1} characters; at most {LONGEST}"),
    ],
)
def test_what_is_refused_and_how(text: str, words: str) -> None:
    with pytest.raises(SelectorError) as refused:
        parse(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"{NAME_LABEL}=llama", "llama"),
        (f"{NAME_LABEL}==llama,tier=a", "llama"),
        (f"tier,{NAME_LABEL} in (llama)", "llama"),
        (f"{NAME_LABEL} in (llama,qwen)", None),
        (f"{NAME_LABEL}!=llama", None),
        (NAME_LABEL, None),
        ("", None),
    ],
)
def test_a_name_that_it_pins_is_told(text: str, name: str | None) -> None:
    assert parse(text).name == name


def test_it_is_parsed_once() -> None:
    assert parse("app=llama") is parse("app=llama")
    long = ",".join(f"a{place}" for place in range(200))
    assert parse(long) is not parse(long), "long ones would fill the memory"


KEYS = ["a", "b", "in", "notin", "x.io/a"]
VALUES = ["", "1", "7", "42", "in", "Ab-c_d.e"]
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
space = st.sampled_from(["", " "])


@st.composite
def requirements(draw: st.DrawFn) -> str:
    key, gap = draw(st.sampled_from(KEYS)), draw(space)
    match draw(st.sampled_from(["exists", "absent", "sign", "set", "number"])):
        case "exists":
            return key
        case "absent":
            return f"!{gap}{key}"
        case "sign":
            return f"{key}{gap}{draw(st.sampled_from(['=', '==', '!=']))}{gap}{draw(st.sampled_from(VALUES))}"
        case "number":
            return f"{key}{gap}{draw(st.sampled_from('<>'))}{gap}{draw(st.integers(0, 50))}"
        case _:
            values = f"{gap},".join(draw(st.lists(st.sampled_from(VALUES), max_size=3)))
            return f"{key} {draw(st.sampled_from(['in', 'notin']))}{gap}({values})"


well_made = st.lists(requirements(), max_size=3).map(",".join)
TOKENS = [
    *KEYS,
    *VALUES,
    "=",
    "==",
    "!=",
    "!",
    "(",
    ")",
    ",",
    "<",
    ">",
    " ",
    "\t",
    "\n",
    "-",
    "/",
    "A/b",
    "ü",
    "9" * 20,
    "x" * 64,
]
ill_made = st.lists(st.sampled_from(TOKENS), max_size=8).map("".join)


@given(well_made, labels)
def test_all_requirements_hold_or_it_does_not_match(text: str, some: dict[str, str]) -> None:
    selector = parse(text)
    assert selector.matches(some) == all(requirement.holds(some) for requirement in selector.requirements)


@given(st.sampled_from(KEYS), st.frozensets(st.sampled_from(VALUES), min_size=1), labels)
def test_what_is_not_in_is_notin(key: str, values: frozenset[str], some: dict[str, str]) -> None:
    assert Requirement(key, "in", values).holds(some) is not Requirement(key, "notin", values).holds(some)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(SelectorError):
        assert parse(text).text == text


async def test_the_real_api_server_agrees(control_plane: ControlPlane, namespace: str) -> None:
    """Config maps with labels, listed by made selectors: the same ones match, or both refuse."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    objects: dict[str, dict[str, str]] = {}
    selectors: list[str] = []

    # Examples are collected first, since hypothesis is not asynchronous; there is no shrinking, but each is printed where it differs.
    @settings(max_examples=30, database=None)
    @given(labels)
    def draw_labels(some: dict[str, str]) -> None:
        objects[f"one-{len(objects)}"] = some

    @settings(max_examples=300, database=None)
    @given(st.one_of(well_made, ill_made))
    def draw_selectors(text: str) -> None:
        selectors.append(text)

    draw_labels()
    draw_selectors()
    await asyncio.gather(
        *(
            control_plane.api.create(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": some}})
            for name, some in objects.items()
        )
    )
    there = {
        item["metadata"]["name"]: item["metadata"].get("labels", {}) for item in (await control_plane.api.get(path))["items"]
    }
    for text in dict.fromkeys(selectors):
        try:
            mine: set[str] | None = {name for name, some in there.items() if parse(text).matches(some)}
        except SelectorError:
            mine = None
        assert mine == await listed(control_plane.api, path, text), repr(text)


async def listed(api: Api, path: str, selector: str) -> set[str] | None:
    try:
        answer = await api.get(path, labelSelector=selector)
    except ApiError as refused:
        if refused.status == 400:
            return None
        raise
    return {item["metadata"]["name"] for item in answer["items"]}
