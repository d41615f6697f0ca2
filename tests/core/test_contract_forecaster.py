"""check_forecaster finds each way to break the contract, and nothing in a forecaster that keeps it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest

from autoscaler.core.contract_forecaster import check_forecaster
from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats, Ints


class Last(Kept):
    """The last known rate: keeps the contract."""

    last: Floats

    def fresh(self, n: int) -> dict[str, Column]:
        return {"last": np.full(n, np.nan)}

    def observe(self, moment: Moment) -> None:
        self.last = np.where(moment.logs == moment.logs, moment.logs, self.last)

    def forecast(self) -> Floats:
        return self.last[:, None]


class Flat(Last):
    def forecast(self) -> Floats:
        return self.last


class Whole(Last):
    def forecast(self) -> Any:
        return np.nan_to_num(self.last[:, None]).astype(np.int64)


class Guessing(Last):
    def forecast(self) -> Floats:
        return np.nan_to_num(self.last[:, None], nan=0.0)


class Rates(Last):
    def forecast(self) -> Floats:
        return np.asarray(np.exp(self.last[:, None]) * 10)


class Learning(Last):
    def forecast(self) -> Floats:
        self.last = self.last + 0.01
        return self.last[:, None]


class Random(Last):
    seeds = count()

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.more = 0.01 * next(self.seeds)

    def forecast(self) -> Floats:
        return self.last[:, None] + self.more


class Crowd(Last):
    def forecast(self) -> Floats:
        return self.last[:, None] + 0.001 * len(self.last)


class Average(Last):
    """Learns, to have something that a fault can lose."""

    def observe(self, moment: Moment) -> None:
        before = np.where(self.last == self.last, self.last, moment.logs)
        self.last = np.where(moment.logs == moment.logs, before + 0.01 * (moment.logs - before), self.last)


class Rooted(Average):
    def rearrange(self, rows: Ints) -> None:
        self.last = np.resize(self.last, len(rows))


class Alone(Average):
    def adopt(self, other: Any, rows: Ints) -> None:
        return None


class Greedy(Average):
    def adopt(self, other: Any, rows: Ints) -> None:
        self.last = other.last[rows]


class Forgetful(Average):
    def load(self, state: Any) -> None:
        return None


class Scribbler(Last):
    def observe(self, moment: Moment) -> None:
        moment.logs[:] = 0.0


class Unsaved(Last):
    def save(self) -> dict[str, Any]:
        return {"last": self.last}


def kind_of(make: Callable[[int], Any]) -> ForecasterType:
    return ForecasterType(name="stranger", summary="a stranger's", experts=("last",), make=make)


@pytest.mark.parametrize("make", [Last, Average])
def test_nothing_is_found_in_what_keeps_it(make: Callable[[int], Any]) -> None:
    assert check_forecaster(kind_of(make)) == []


@pytest.mark.parametrize(
    ("make", "rule", "words"),
    [
        (Flat, "shape", "float64 (0,) for 0 services"),
        (Whole, "shape", "int64"),
        (Scribbler, "shape", "writes into the moment"),
        (Guessing, "unknown", "never known"),
        (Rates, "logarithms", "natural logarithms of requests/s are wanted"),
        (Learning, "only reads", "asked twice"),
        (Random, "repeats", "different forecasts"),
        (Crowd, "alone", "among others"),
        (Rooted, "moves", "does not move"),
        (Alone, "takes over", "something else than that one"),
        (Greedy, "takes over", "changes a row that stays"),
        (Forgetful, "survives", "after save and load"),
        (Unsaved, "survives", "TypeError"),
    ],
)
def test_each_way_to_break_it_is_found(make: Callable[[int], Any], rule: str, words: str) -> None:
    found = {finding.rule: finding.words for finding in check_forecaster(kind_of(make))}
    assert words in found[rule]


def test_a_declaration_without_names_is_found() -> None:
    (finding,) = check_forecaster(ForecasterType(name="none", summary="none", experts=(), make=Last))
    assert finding.rule == "declaration"
