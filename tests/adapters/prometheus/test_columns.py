"""Merging by pod: buckets that differ, many of them, slots that start again."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.prometheus.answers import Sample, Vector, decode
from autoscaler.adapters.prometheus.columns import Column, HistogramColumn
from autoscaler.adapters.prometheus.pods import SPARE_SLOTS, PodTable
from autoscaler.adapters.prometheus.terms import SeriesLabels
from tests.fakes.prometheus import vector_body

STALE_S = np.full(4, 60.0)


def series(*one: tuple[dict[str, str], float]) -> list[Sample]:
    data = decode(vector_body(one, 1000.0)).data
    assert isinstance(data, Vector)
    return data.result


def pod(name: str, **labels: str) -> dict[str, str]:
    return {"namespace": "team", "pod": name, **labels}


def a_table(*pods: str, rows: tuple[int, ...] = ()) -> PodTable:
    table = PodTable(SeriesLabels())
    table.place({("team", name): rows[i] if rows else 0 for i, name in enumerate(pods)}, 0.0)
    return table


def ages(table: PodTable, at_s: float = 998.0) -> np.ndarray:
    return np.full(len(table) + 8, at_s)


def a_quantile(histograms: dict[str, dict[str, float]], quantile: float) -> float:
    table = a_table(*histograms)
    column = HistogramColumn(1.0)
    samples = [(pod(name, le=le), value) for name, buckets in histograms.items() for le, value in buckets.items()]
    column.take(series(*samples), table, ages(table))
    return float(column.merged(table, 4, 1000.0, STALE_S, np.full(4, quantile)).values[0])


def test_buckets_that_differ_are_merged_on_the_safe_side() -> None:
    """b has no bound at 1: what lay at or below 0.5 there certainly lies below 1; the rest counts only from 2 on."""
    found = a_quantile({"a": {"0.5": 1, "1": 5, "2": 10, "+Inf": 10}, "b": {"0.5": 4, "2": 10, "+Inf": 10}}, 0.5)
    merged = [(0.5, 5.0), (1.0, 9.0), (2.0, 20.0)]
    rank = 10.0
    assert found == pytest.approx(1.0 + (rank - merged[1][1]) / (merged[2][1] - merged[1][1]))


def test_equal_buckets_are_simply_added() -> None:
    one = a_quantile({"a": {"1": 1, "2": 3, "+Inf": 4}, "b": {"1": 5, "2": 6, "+Inf": 6}}, 0.7)
    assert one == pytest.approx(a_quantile({"a": {"1": 6, "2": 9, "+Inf": 10}}, 0.7))


@pytest.mark.parametrize("buckets", [{"1": 1.0, "2": 2.0}, {"": 1.0}, {"much": 1.0, "+Inf": 1.0}, {"1": 1.0, "+Inf": math.nan}])
def test_a_histogram_without_a_usable_last_bucket_is_unknown(buckets: dict[str, float]) -> None:
    table = a_table("a")
    column = HistogramColumn(1.0)
    column.take(series(*((pod("a", le=le), v) for le, v in buckets.items())), table, ages(table))
    merged = column.merged(table, 1, 1000.0, STALE_S, np.full(1, 0.9))
    assert np.isnan(merged.values[0])


def test_many_bounds_fit_and_too_many_do_no_harm() -> None:
    for count in (10, 40, 300, 600):
        table = a_table("a")
        column = HistogramColumn(1.0)
        bounds = [(str(float(number)), float(number)) for number in range(1, count)]
        samples = [(pod("a", le="+Inf"), float(count))] + [(pod("a", le=text), value) for text, value in bounds]
        column.take(series(*samples), table, ages(table))
        merged = column.merged(table, 1, 1000.0, STALE_S, np.full(1, 0.5))
        assert merged.values[0] == pytest.approx(count / 2, rel=0.01)


def test_a_pod_in_a_new_answer_is_replaced_as_a_whole() -> None:
    table = a_table("a")
    column = HistogramColumn(1.0)
    column.take(series((pod("a", le="1"), 5.0), (pod("a", le="+Inf"), 5.0)), table, ages(table))
    column.take(series((pod("a", le="2"), 5.0), (pod("a", le="+Inf"), 5.0)), table, ages(table))
    merged = column.merged(table, 1, 1000.0, STALE_S, np.full(1, 0.5))
    assert merged.values[0] == pytest.approx(1.5), "half of what lies between 1, which nobody is below any more, and 2"


def test_slots_start_again_when_most_are_of_pods_long_gone() -> None:
    table = a_table("a")
    for number in range(SPARE_SLOTS + 10):
        table.slot(("team", f"gone-{number}"))
    assert table.place({("team", "a"): 0, ("team", "b"): 1}, 5.0) is True
    assert len(table) == 2
    assert table.ready.since_s.tolist() == [0.0, 5.0], "how long a pod is ready is not forgotten"


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e6)), min_size=1, max_size=30),
    st.sampled_from(["sum", "mean"]),
)
def test_sums_and_means_are_those_of_the_pods(pods: list[tuple[int, float]], merge: str) -> None:
    names = tuple(f"p{number}" for number in range(len(pods)))
    table = a_table(*names, rows=tuple(row for row, _ in pods))
    column = Column()
    column.take(series(*((pod(name), value) for name, (_, value) in zip(names, pods, strict=True))), table, ages(table))
    merged = column.merged(table, 4, 1000.0, STALE_S, "sum" if merge == "sum" else "mean")
    for row in range(4):
        values = [value for of_row, value in pods if of_row == row]
        if not values:
            assert np.isnan(merged.values[row])
        else:
            expected = math.fsum(values) / (len(values) if merge == "mean" else 1)
            assert merged.values[row] == pytest.approx(expected)
            assert merged.age_s[row] == 2.0


@given(st.lists(st.sampled_from(["good", "nan", "old", "missing", "young"]), min_size=1, max_size=40))
def test_a_sum_is_known_only_if_nearly_all_pods_are(pods: list[str]) -> None:
    """Never less than what the pods that were seen have: a sum is unknown or stands for every pod that has had time to work."""
    names = [f"p{number}" for number in range(len(pods))]
    table = PodTable(SeriesLabels())
    table.place({("team", n): 0 for n, kind in zip(names, pods, strict=True) if kind != "young"}, 0.0)
    table.place({("team", n): 0 for n in names}, 990.0)
    column = Column()
    scraped = ages(table)
    there = [(n, kind) for n, kind in zip(names, pods, strict=True) if kind in ("good", "nan", "old")]
    for name, kind in there:
        scraped[table.slot(("team", name))] = 900.0 if kind == "old" else 998.0
    column.take(series(*((pod(n), math.nan if kind == "nan" else 10.0) for n, kind in there)), table, scraped)
    merged = column.merged(table, 1, 1000.0, STALE_S[:1], "sum")
    good, young = pods.count("good"), pods.count("young")
    expected = len(pods) - young
    if good and expected - good <= 0.1 * expected and good >= young:
        assert merged.values[0] == pytest.approx(10.0 * expected)
    else:
        assert np.isnan(merged.values[0])


def test_label_sets_that_hold_no_pod_belong_to_nobody() -> None:
    table = a_table("a")
    column = Column()
    column.take(series(({}, 5.0), ({"namespace": "team"}, 6.0), (pod("a"), 7.0)), table, ages(table))
    assert column.merged(table, 1, 1000.0, STALE_S, "sum").values[0] == 7.0
    assert json.loads(vector_body([({}, 5.0)], 1.0))["data"]["result"][0]["metric"] == {}
