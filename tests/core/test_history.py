"""The ring of past values against a plain list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.history import Floats, History

values = st.one_of(st.floats(-1e9, 1e9), st.just(float("nan")))


@st.composite
def pushed(draw: st.DrawFn) -> tuple[int, int, list[tuple[float, list[float]]]]:
    rows = draw(st.integers(0, 3))
    length = draw(st.integers(1, 6))
    gaps = draw(st.lists(st.floats(0.1, 100), max_size=20))
    columns = [(at, draw(st.lists(values, min_size=rows, max_size=rows))) for at in np.cumsum(gaps).tolist()]
    return rows, length, columns


def filled(rows: int, length: int, columns: list[tuple[float, list[float]]]) -> History:
    history = History(rows, length)
    for at_s, column in columns:
        history.push(at_s, np.array(column))
    return history


def as_columns(columns: list[tuple[float, list[float]]], rows: int) -> Floats:
    return np.array([column for _, column in columns], dtype=float).reshape(len(columns), rows).T


@given(pushed(), st.integers(0, 8))
def test_the_newest_columns_are_those_of_a_list(case: tuple[int, int, list[tuple[float, list[float]]]], asked: int) -> None:
    rows, length, columns = case
    history = filled(*case)
    kept = columns[-length:]
    wanted = kept[len(kept) - min(asked, len(kept)) :]
    assert history.filled == len(kept)
    np.testing.assert_array_equal(history.last(asked), as_columns(wanted, rows))
    np.testing.assert_array_equal(history.times_s(asked), [at for at, _ in wanted])


@given(pushed(), st.floats(-10, 2500))
def test_since_a_moment(case: tuple[int, int, list[tuple[float, list[float]]]], moment: float) -> None:
    rows, length, columns = case
    wanted = [column for column in columns[-length:] if column[0] > moment]
    np.testing.assert_array_equal(filled(*case).since(moment), as_columns(wanted, rows))


@given(pushed(), st.data())
def test_rearranged_rows_keep_their_past_and_go_on(
    case: tuple[int, int, list[tuple[float, list[float]]]], data: st.DataObject
) -> None:
    rows, length, _ = case
    history = filled(*case)
    order = data.draw(st.lists(st.integers(-1, rows - 1), max_size=5))
    other = history.rearranged(np.array(order, dtype=np.int64))
    before = history.last(length).copy()
    expected = np.array([np.full(history.filled, np.nan) if row < 0 else before[row] for row in order])
    np.testing.assert_array_equal(other.last(length), expected.reshape(len(order), history.filled))
    other.push(1e6, np.zeros(len(order)))
    assert other.times_s(1).tolist() == [1e6]
    np.testing.assert_array_equal(history.last(length), before, err_msg="the old one is untouched")


@given(pushed(), st.data())
def test_selected_rows_read_the_same_history(case: tuple[int, int, list[tuple[float, list[float]]]], data: st.DataObject) -> None:
    rows, length, _ = case
    history = filled(*case)
    picked = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=4) if rows else st.just([])), dtype=np.int64)
    part = history.select(picked)
    np.testing.assert_array_equal(part.last(length), history.last(length)[picked])
    np.testing.assert_array_equal(part.times_s(length), history.times_s(length))
    np.testing.assert_array_equal(part.since(50.0), history.since(50.0)[picked])
    assert part.filled == history.filled


def test_a_window_is_a_view_not_a_copy() -> None:
    history = History(2, 4)
    for at_s in range(7):
        history.push(float(at_s), np.full(2, float(at_s)))
    window = history.last(4)
    assert window.base is not None
    assert window[0].tolist() == [3, 4, 5, 6]


def test_a_history_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one column"):
        History(1, 0)


NAN = float("nan")


def test_a_row_takes_over_a_past_and_the_others_keep_theirs() -> None:
    ours = filled(2, 5, [(30.2, [1.0, NAN]), (45.2, [2.0, 7.0])])
    theirs = filled(1, 5, [(0.0, [10.0]), (15.0, [11.0]), (30.0, [12.0])])
    ours.adopt(theirs, np.array([-1, 0]))
    assert ours.times_s(9).tolist() == [0.0, 15.0, 30.2, 45.2]
    np.testing.assert_array_equal(ours.last(9), [[NAN, NAN, 1.0, 2.0], [10.0, 11.0, 12.0, 7.0]])


def test_what_is_unknown_there_does_not_replace_what_is_known_here() -> None:
    ours = filled(1, 3, [(15.0, [5.0]), (30.0, [6.0])])
    ours.adopt(filled(1, 3, [(15.0, [NAN]), (30.0, [9.0])]), np.array([0]))
    np.testing.assert_array_equal(ours.last(3), [[5.0, 9.0]])


@given(pushed(), pushed())
def test_taking_over_keeps_order_length_and_everybody_else(
    mine: tuple[int, int, list[tuple[float, list[float]]]], other: tuple[int, int, list[tuple[float, list[float]]]]
) -> None:
    ours, theirs = filled(*mine), filled(*other)
    rows = np.array([row if row < other[0] and row != 0 else -1 for row in range(mine[0])], dtype=np.int64)
    times_s, before = ours.times_s(99).tolist(), ours.last(99).copy()
    ours.adopt(theirs, rows)
    after_s = ours.times_s(99).tolist()
    assert after_s == sorted(after_s)
    assert len(after_s) <= ours.length
    assert after_s[len(after_s) - len(times_s) :] == times_s
    kept = ours.last(len(times_s))[rows < 0]
    np.testing.assert_array_equal(kept, before[rows < 0])


@given(pushed(), st.floats(-1e6, 1e6))
def test_a_clock_that_was_set_moves_all_times(made: tuple[int, int, list[tuple[float, list[float]]]], by_s: float) -> None:
    history = filled(*made)
    times_s = history.times_s(99).copy()
    history.shift(by_s)
    np.testing.assert_array_equal(history.times_s(99), times_s + by_s)
