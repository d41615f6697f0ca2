"""A tenant's PromQL reads the tenant's namespace and nothing else, however it is written."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import promql_parser as parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.adapters.prometheus.promql import ConfinedQuery, QueryRefused, confine, selectors_of
from autoscaler.adapters.prometheus.promql_text import own_matchers, quoted, text_of
from autoscaler.adapters.prometheus.wiring import check_signals
from autoscaler.spec import Query, Signals
from tests.fakes.promql import Evaluator, Series

MINE = ("namespace", "=", "mine")


def assert_confined(query: ConfinedQuery) -> None:
    for text in (query.promql, query.with_age(), *query.live_selectors):
        for selector in selectors_of(parser.parse(text)):
            assert [m for m in own_matchers(selector) if m[0] == "namespace"] == [MINE]


@pytest.mark.parametrize(
    "query",
    [
        "up",
        'up{namespace="mine"}',
        'up{"namespace"="mine"}',
        "up{job=`a`}",
        '{__name__=~".+"}',
        '{__name__="up",__name__=~"u.*"}',
        "rate(up[5m])",
        "max_over_time(sum(rate(up[1m]))[10m:30s])",
        "max_over_time(max_over_time(up[5m:1m])[10m:1m])",
        "a / on(x) group_left(y) b",
        "a * ignoring(x) group_right() b",
        "a and b or c unless d",
        'label_replace(up, "namespace", "other", "", "")',
        'label_join(up, "namespace", "", "x", "y")',
        'sum by (namespace) (label_replace(a, "namespace", "$1", "pod", "(.*)")) + b',
        "absent(up) + absent_over_time(up[5m])",
        "up @ 1600000000 + up offset 1w + rate(up[5m] @ end() offset -5m)",
        "scalar(up) + time()",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
        'count_values("namespace", up)',
        "topk(3, up) + bottomk(1, up) + quantile(0.5, up)",
        "-up ^ 2 ^ 3",
        "sum(up) > bool 1",
        "vector(1) + sum(up)",
        ":tensorflow:serving:request_count",
        'up{a="\\"} or up{b=\\""}',
        'up{a=`"} or secret{b="`}',
        "up{a='\"} or secret{b=\"'}",
        'up{a="\\x22} or secret{b=\\x22"}',
        'up{a="\\\\"}',
        "up # } or secret{",
        "up{a='\\n\\t\\u0000\\u2028'}",
        "sum(sum)",
        "1 + 2",
    ],
)
def test_what_may_be_asked_is_confined(query: str) -> None:
    confined = confine(query, "mine")
    assert_confined(confined)
    # Confining what is confined changes nothing: the printed form is stable.
    assert confine(confined.promql, "mine").promql == confined.promql


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ('up{namespace="other"}', "only its own namespace"),
        ('up{namespace=~"mine|other"}', "only its own namespace"),
        ('up{namespace=~"mine"}', "only its own namespace"),
        ('up{namespace!="mine"}', "only its own namespace"),
        ('up{namespace!~"x"}', "only its own namespace"),
        ('up{namespace=""}', "only its own namespace"),
        ('up{"namespace"="other"}', "only its own namespace"),
        ('up{namespace="mine",namespace="other"}', "only its own namespace"),
        ('rate(up{namespace="other"}[5m])', "only its own namespace"),
        ('max_over_time(up{namespace="other"}[5m:1m])', "only its own namespace"),
        ('sum(up) + on() sum(up{namespace="other"})', "only its own namespace"),
        ('up{namespace="mine" or namespace="other"}', "'or'"),
        ('up{a="b" or c="d"}', "'or'"),
        ("info(up)", "info()"),
        ("sum(info(up))", "info()"),
        ('info(up, {__name__="x"})', "info()"),
        ("up[5m]", "range of values"),
        ("up[5m:1m]", "range of values"),
        ('"text"', "no number"),
        ("sum(", "not PromQL"),
        ("", "not PromQL"),
        ("}{", "not PromQL"),
        ("unknown_function(up)", "not PromQL"),
        ("a + fill(0) b", "fill"),
        ('{"a.label"="x"}', "quotes"),
        ("(" * 1000 + "up" + ")" * 1000, "nesting"),
        ("-" * 3000 + "up", "nesting"),
        ("abs(" * 700 + "up" + ")" * 700, "nesting"),
        ("+".join(["up"] * 33), "33 selectors"),
        ("x" * 5000, "5000 characters"),
        ("max_over_time(up[30d:1s])", "points"),
        ("max_over_time(max_over_time(up[1d:1m])[1d:1m])", "points"),
        ("rate(up[100d])", "range of 100 days"),
        ("up offset 20y", "offset"),
        ("up @ -5", "@"),
        ("up @ 1e300", ""),
        ("up offset 99999999999y", ""),
        ("up[99999999999999y]", ""),
        ("rate(up[5m] @ -1)", "@"),
    ],
)
def test_what_may_not_be_asked_is_refused_with_the_reason(query: str, why: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        confine(query, "mine")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("query", "span_s"),
    [
        ("sum(rate(hits[1m]))", 60.0),
        ("sum(increase(hits[90s])) / 90", 90.0),
        ("sum(rate(a[2m])) + sum(rate(b[2m]))", 120.0),
        ("avg_over_time(depth[5m])", 300.0),
        ("sum(rate(a[2m])) + sum(rate(b[1m]))", None),
        ("sum(irate(hits[1m]))", None),
        ("max_over_time(depth[5m])", None),
        ("max_over_time(sum(rate(hits[1m]))[10m:])", None),
        ("sum(depth)", None),
    ],
)
def test_the_span_of_a_mean_is_told_from_its_range(query: str, span_s: float | None) -> None:
    found = confine(query, "team").span_s
    assert found == span_s if span_s is not None else math.isnan(found)


def test_the_label_may_be_called_otherwise() -> None:
    confined = confine('up{namespace="anything"}', "mine", "kubernetes_namespace")
    assert 'kubernetes_namespace="mine"' in confined.promql
    with pytest.raises(QueryRefused):
        confine('up{kubernetes_namespace="other"}', "mine", "kubernetes_namespace")


def test_scalars_and_vectors_are_told_apart() -> None:
    assert confine("1 + time()", "mine").scalar
    assert confine("scalar(up)", "mine").scalar
    assert not confine("1 + up", "mine").scalar
    assert not confine("vector(1)", "mine").scalar


def test_ages_come_from_the_selectors_that_look_at_now() -> None:
    query = confine("sum(rate(a[5m])) / sum(b offset 1w) + max_over_time(c[5m:1m])", "mine")
    assert sorted(query.live_selectors) == ['{__name__="a",namespace="mine"}', '{__name__="c",namespace="mine"}']


def test_a_manifest_is_told_which_query_is_wrong() -> None:
    signals = Signals(queries=[Query(signal="queue", query="sum(up)"), Query(signal="demand", query='up{namespace="x"}')])
    faults = check_signals(signals, "mine")
    assert [path for path, _ in faults] == ["signals.queries[1].query"]


# ---------------------------------------------------------------- properties

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", "`", "'", "\n", '"} or secret{a="', '\\"', "{", "}", "#", "\x00", "namespace", "other"]
)
names = st.sampled_from(["up", "secret", "sum", "by", "a:b", "__name__", "inf", "offset"])
labels = st.sampled_from(["job", "pod", "namespace", "__name__", "le", "x_1"])
operators = st.sampled_from(["=", "!=", "=~", "!~"])


def a_string(value: str) -> st.SearchStrategy[str]:
    quotings = [quoted(value)]
    if "`" not in value and "\r" not in value:
        quotings.append(f"`{value}`")
    return st.sampled_from(quotings)


matchers = st.tuples(labels, operators, st.sampled_from(["mine", "other", "", ".*"]) | texts).flatmap(
    lambda m: a_string(m[2]).map(lambda value: f"{m[0]}{m[1]}{value}")
)
selectors = st.tuples(names | st.just(""), st.lists(matchers, max_size=3), st.sampled_from([",", " or "])).map(
    lambda s: f"{s[0]}{{{s[2].join(s[1])}}}"
)
whens = st.sampled_from(["", " offset 5m", " offset -1h", " @ 1600000000", " @ end()", " @ start() offset 1m"])


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, whens).map(lambda t: f"max_over_time(({t[0]})[10m:1m]{t[1]})"),
        st.tuples(inner, inner, st.sampled_from(["+", "and", "or", "unless on(pod)", "/ ignoring(le)", "== bool"])).map(
            lambda t: f"({t[0]}) {t[2]} ({t[1]})"
        ),
        st.tuples(st.sampled_from(["sum", "max by (namespace)", "avg without (pod)", "count"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(inner, texts.flatmap(a_string), texts.flatmap(a_string)).map(
            lambda t: f'label_replace({t[0]}, "namespace", {t[1]}, "pod", {t[2]})'
        ),
        inner.map(lambda t: f"absent({t})"),
        inner.map(lambda t: f"scalar({t})"),
        inner.map(lambda t: f"-({t})"),
    )


expressions = st.recursive(
    st.tuples(selectors, whens).map("".join) | st.tuples(selectors, whens).map(lambda t: f"rate({t[0]}[5m]{t[1]})"),
    deeper,
    max_leaves=6,
)


@settings(max_examples=500)
@given(expressions)
def test_no_expression_gets_out(query: str) -> None:
    try:
        confined = confine(query, "mine")
    except QueryRefused:
        return
    assert_confined(confined)
    assert len(list(selectors_of(parser.parse(confined.promql)))) == len(list(selectors_of(parser.parse(query))))


@settings(max_examples=500)
@given(st.text(max_size=80) | st.text(alphabet='up{}[]()"`\\=~!,or 5m:@-+#namespace', max_size=60))
def test_any_text_is_confined_or_refused(text: str) -> None:
    with contextlib.suppress(QueryRefused):
        assert_confined(confine(text, "mine"))


@settings(max_examples=200)
@given(expressions)
def test_what_is_asked_stays_the_same_but_for_the_namespace(query: str) -> None:
    """On series of the own namespace alone, the confined query says what the query said."""
    series = [
        Series({"__name__": name, "namespace": "mine", "pod": pod}, [(970.0, 1.0), (985.0, 2.0), (1000.0, 4.0)])
        for name in ("up", "secret", "sum", "by")
        for pod in ("a", "b")
    ]
    try:
        confined = confine(query, "mine").promql
    except QueryRefused:
        return
    assert outcome(series, query) == outcome(series, confined)


def outcome(series: list[Series], query: str) -> str:
    try:
        found = Evaluator(series, 1000.0).value(query)
    except Exception as error:  # what neither the fake nor Prometheus evaluates
        return type(error).__name__
    return repr(found if isinstance(found, float) else sorted((sorted(k), repr(v)) for k, v in found.items()))


@given(texts)
def test_a_string_is_read_as_it_was_written(text: str) -> None:
    tree: Any = parser.parse(f"up{{a={quoted(text)}}}")
    assert tree.matchers.matchers[0].value == text
    assert text_of(tree, own_matchers) == f'{{__name__="up",a={quoted(text)}}}'
