"""check_policy finds each way of breaking the contract, and only that one, and nothing in policies that keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscaler.core.contract import check_policy
from autoscaler.core.contract_world import World
from autoscaler.core.model import Floats, Forecast, Ints, Observation, Recommendation
from autoscaler.core.policy import Parameter, Params, Policy, PolicyType, Saved
from autoscaler.core.seen import seen

TARGET = Parameter(
    name="target", kind="float", default=4.0, description="concurrency per replica", minimum=0.5, maximum=100, tunable=True
)


class Sound:
    """Keeps the contract: a smoothed concurrency ÷ target. Learns one number a row; the broken ones below change one thing each."""

    def __init__(self, params: Params, rng: np.random.Generator) -> None:
        self.params = params
        self.rng = rng
        self.mean: Floats = np.full(len(params["target"]), np.nan)

    def observe(self, observation: Observation) -> None:
        now = seen(observation, "concurrency")
        self.mean = np.where(np.isnan(self.mean), now, np.where(np.isnan(now), self.mean, 0.8 * self.mean + 0.2 * now))

    def count(self, observation: Observation) -> Floats:
        return np.ceil(self.mean / self.params["target"])

    def recommend(self, observation: Observation) -> Recommendation:
        mean = self.mean
        return Recommendation(replicas=self.count(observation), why=lambda row: f"about {mean[row]:.3g} in flight")

    def rearrange(self, rows: Ints, params: Params) -> None:
        self.params = params
        self.mean = np.append(self.mean, np.nan)[rows]

    def adopt(self, other: Any, rows: Ints) -> None:
        self.mean = np.where(rows >= 0, other.mean[rows], self.mean)

    def save(self) -> Saved:
        return {"version": 1, "mean": [None if value != value else value for value in self.mean.tolist()]}

    def load(self, state: Saved) -> None:
        if state.get("version") == 1:
            self.mean = np.array([np.nan if value is None else value for value in state["mean"]], dtype=np.float64)


def policy_of(made: Callable[[Params, np.random.Generator], Policy], **changes: Any) -> PolicyType:
    sound = PolicyType(
        name="sound",
        summary="a smoothed concurrency ÷ target",
        parameters=(TARGET,),
        make=made,
        signals=lambda _params: ("concurrency",),
        optional_signals=("queue",),
        lookback_s=60.0,
    )
    return replace(sound, **changes)


# Each class breaks one rule.


class FailsAlways(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        raise KeyError("concurency")


class WritesIntoSignals(Sound):
    def observe(self, observation: Observation) -> None:
        values = observation.signals["concurrency"].values if observation.signals else np.zeros(0)
        values[np.isnan(values)] = 0.0
        super().observe(observation)


class WritesIntoHistory(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        if observation.signals:
            observation.signals["concurrency"].history.last(2)[:] = 0.0
        return super().recommend(observation)


class OneCountForAll(Sound):
    def count(self, observation: Observation) -> Floats:
        return np.array([float(np.nansum(super().count(observation)))])


class WholeNumbers(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        answer = super().recommend(observation)
        return Recommendation(replicas=np.nan_to_num(answer.replicas).astype(np.int64), why=answer.why)


class TransposedForecast(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        times = observation.at_s + np.arange(4.0)
        values = np.zeros((4, 2, len(observation)))
        forecast = Forecast(
            made_at_s=observation.at_s, times_s=times, quantiles=np.array([0.5, 0.9]), values=values, unit="requests/s"
        )
        return replace(super().recommend(observation), forecast=forecast)


class Negative(Sound):
    def count(self, observation: Observation) -> Floats:
        return super().count(observation) - 30.0


class Infinite(Sound):
    def count(self, observation: Observation) -> Floats:
        return np.where(super().count(observation) == 0, np.inf, super().count(observation))


class NegativeHeadroom(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        return replace(super().recommend(observation), headroom=np.full(len(observation), -1.0))


class Speechless(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        return Recommendation(replicas=self.count(observation))


class WordsOnlyForNumbers(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        counts = self.count(observation)
        return Recommendation(replicas=counts, why=lambda row: f"{int(counts[row])} because of the load")


class NeedsSomebody(Sound):
    def observe(self, observation: Observation) -> None:
        super().observe(observation)
        observation.ready.max()  # of no services there is none


class DrawsFromElsewhere(Sound):
    made = 0

    def __init__(self, params: Params, rng: np.random.Generator) -> None:
        super().__init__(params, rng)
        DrawsFromElsewhere.made += 1
        self.number = DrawsFromElsewhere.made

    def count(self, observation: Observation) -> Floats:
        # Only for three rows, so that no other rule sees it.
        lucky = len(self.mean) == 3 and self.number % 2 == 0 and observation.at_s % 300 < 15
        return super().count(observation) + (1.0 if lucky else 0.0)


class CountsItsAnswers(Sound):
    def recommend(self, observation: Observation) -> Recommendation:
        answer = super().recommend(observation)
        self.mean = self.mean * 1.01
        return answer


class RemembersTheQuestion(Sound):
    def __init__(self, params: Params, rng: np.random.Generator) -> None:
        super().__init__(params, rng)
        self.asked_at_s, self.asked = 0.0, 0

    def recommend(self, observation: Observation) -> Recommendation:
        self.asked = self.asked + 1 if observation.at_s == self.asked_at_s else 1
        self.asked_at_s = observation.at_s
        answer = super().recommend(observation)
        return replace(answer, replicas=answer.replicas + (1.0 if self.asked > 1 else 0.0))


class LooksAtTheOthers(Sound):
    def count(self, observation: Observation) -> Floats:
        busiest = np.fmax.reduce(self.mean, initial=0.0)
        return np.where(np.isnan(self.mean), np.nan, np.ceil(busiest / self.params["target"]))

    def rearrange(self, rows: Ints, params: Params) -> None:
        super().rearrange(rows, params)


class ZeroForUnknown(Sound):
    def count(self, observation: Observation) -> Floats:
        return np.nan_to_num(super().count(observation))


class UnknownForIdle(Sound):
    def count(self, observation: Observation) -> Floats:
        return np.where(self.mean == 0, np.nan, super().count(observation))


class ForgetsWhenMoved(Sound):
    def rearrange(self, rows: Ints, params: Params) -> None:
        self.params = params
        self.mean = np.full(len(rows), np.nan)


class LeavesRowsInPlace(Sound):
    def rearrange(self, rows: Ints, params: Params) -> None:
        self.params = params


class NewOnesInheritTheLast(Sound):
    def rearrange(self, rows: Ints, params: Params) -> None:
        self.params = params
        self.mean = self.mean[rows]  # −1 is the last row to numpy


class TakesNothingOver(Sound):
    adopt = None  # type: ignore[assignment]


class TakesOverForAll(Sound):
    def adopt(self, other: Any, rows: Ints) -> None:
        self.mean = other.mean[np.maximum(rows, 0)]


class SavesNothing(Sound):
    def save(self) -> Saved:
        return {"version": 1, "mean": [None] * len(self.mean)}


class SavesArrays(Sound):
    def save(self) -> Saved:
        return {"version": 1, "mean": self.mean}


class SavesNan(Sound):
    def save(self) -> Saved:
        return {**super().save(), "worst": float("nan")}


class TakesAnyState(Sound):
    def load(self, state: Saved) -> None:
        self.mean = np.array([np.nan if value is None else value for value in state["mean"]], dtype=np.float64)


class LooksBack(Sound):
    """Remembers when it saw the most, and forgets it after two minutes; keeps the contract as well."""

    def __init__(self, params: Params, rng: np.random.Generator) -> None:
        super().__init__(params, rng)
        self.most: Floats = np.full(len(self.mean), np.nan)
        self.at_s: Floats = np.full(len(self.mean), np.nan)

    def observe(self, observation: Observation) -> None:
        super().observe(observation)
        higher = ~(self.mean < self.most) | (self.at_s < observation.at_s - 120.0)
        self.most, self.at_s = np.where(higher, self.mean, self.most), np.where(higher, observation.at_s, self.at_s)

    def count(self, observation: Observation) -> Floats:
        return np.ceil(self.most / self.params["target"])

    def rearrange(self, rows: Ints, params: Params) -> None:
        super().rearrange(rows, params)
        self.most, self.at_s = np.append(self.most, np.nan)[rows], np.append(self.at_s, np.nan)[rows]

    def adopt(self, other: Any, rows: Ints) -> None:
        super().adopt(other, rows)
        self.most = np.where(rows >= 0, other.most[rows], self.most)
        self.at_s = np.where(rows >= 0, other.at_s[rows], self.at_s)

    def save(self) -> Saved:
        columns = {"mean": self.mean, "most": self.most, "at_s": self.at_s}
        lists = {name: [None if value != value else value for value in column.tolist()] for name, column in columns.items()}
        return {"version": 1, **lists}

    def load(self, state: Saved) -> None:
        super().load(state)
        if state.get("version") == 1:
            for name in ("most", "at_s"):
                column = np.array([np.nan if value is None else value for value in state[name]], dtype=np.float64)
                setattr(self, name, column)

    def shift(self, by_s: float) -> None:
        self.at_s = self.at_s + by_s


class FailsToShift(LooksBack):
    def shift(self, by_s: float) -> None:
        raise RuntimeError("what clock?")


class ShiftsNothing(LooksBack):
    def shift(self, by_s: float) -> None:
        pass


class ShiftsTheOtherWay(LooksBack):
    def shift(self, by_s: float) -> None:
        super().shift(-by_s)


class RemembersForAll(Sound):
    """Recalls into every row what was one's."""

    def remember(self, row: int) -> str:
        return repr(float(self.mean[row]) + 30.0)

    def recall(self, row: int, text: str) -> None:
        self.mean = np.full_like(self.mean, float(text))


class FailsAtForeignMemory(Sound):
    def remember(self, row: int) -> str:
        return repr(float(self.mean[row]))

    def recall(self, row: int, text: str) -> None:
        self.mean[row] = float(text)


class FailsAtTheMinimum(Sound):
    def __init__(self, params: Params, rng: np.random.Generator) -> None:
        super().__init__(params, rng)
        if (params["target"] == 0.5).any():
            raise ZeroDivisionError("target − 0.5")


BROKEN: list[tuple[type[Sound], str]] = [
    (FailsAlways, "runs"),
    (WritesIntoSignals, "only reads"),
    (WritesIntoHistory, "only reads"),
    (OneCountForAll, "shape"),
    (WholeNumbers, "shape"),
    (TransposedForecast, "shape"),
    (Negative, "counts"),
    (Infinite, "counts"),
    (NegativeHeadroom, "counts"),
    (Speechless, "words"),
    (WordsOnlyForNumbers, "words"),
    (NeedsSomebody, "empty"),
    (DrawsFromElsewhere, "determinism"),
    (CountsItsAnswers, "only reads"),
    (RemembersTheQuestion, "only reads"),
    (ZeroForUnknown, "unknown"),
    (UnknownForIdle, "idle"),
    (ForgetsWhenMoved, "rearrange"),
    (NewOnesInheritTheLast, "rearrange"),
    (LeavesRowsInPlace, "rearrange"),
    (TakesNothingOver, "adopt"),
    (TakesOverForAll, "adopt"),
    (FailsToShift, "shift"),
    (ShiftsNothing, "shift"),
    (ShiftsTheOtherWay, "shift"),
    (SavesNothing, "save and load"),
    (SavesArrays, "save and load"),
    (SavesNan, "save and load"),
    (RemembersForAll, "remember"),
    (FailsAtForeignMemory, "remember"),
    (TakesAnyState, "foreign state"),
    (FailsAtTheMinimum, "extremes"),
]


def test_a_sound_policy_has_no_findings() -> None:
    assert check_policy(policy_of(Sound)) == []
    assert check_policy(policy_of(LooksBack)) == []


@pytest.mark.parametrize(("broken", "rule"), BROKEN, ids=[broken.__name__ for broken, _ in BROKEN])
def test_each_fault_is_found_and_only_that(broken: type[Sound], rule: str) -> None:
    findings = check_policy(policy_of(broken))
    assert [finding.rule for finding in findings] == [rule], "\n".join(map(str, findings))
    assert len(findings[0].words) > 20


def test_a_row_that_looks_at_the_others_is_found() -> None:
    # Moving rows to another company changes its counts as well, so two rules speak.
    assert "alone" in [finding.rule for finding in check_policy(policy_of(LooksAtTheOthers))]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": (TARGET, TARGET)}, "declared twice"),
        ({"parameters": (replace(TARGET, maximum=None),)}, "no range to search"),
        ({"parameters": (replace(TARGET, search=(5, 5)),)}, "which is no range"),
        ({"parameters": (replace(TARGET, search=(0.4, 5)),)}, "beyond what is allowed"),
        ({"parameters": (replace(TARGET, search=(0, 1), search_of="held", log_scale=True),)}, "can't begin at 0"),
        ({"parameters": (replace(TARGET, search=(1, 5), step=1, log_scale=True),)}, "none of them together with log_scale"),
        ({"parameters": (replace(TARGET, default=1000.0),)}, "0.5 to 100"),
        ({"parameters": (replace(TARGET, minimum=200.0),)}, "lies above"),
        ({"parameters": (replace(TARGET, description=""),)}, "no description"),
        ({"parameters": (replace(TARGET, name="per-replica"),)}, "can't be written"),
        ({"parameters": (replace(TARGET, default=None),)}, "needs it"),
        ({"signals": lambda _params: ("concurency",)}, "does not exist"),
        ({"lookback_s": -1.0}, "negative"),
        ({"lookback_s": 60.0, "settle_s": 90.0}, "between 0 and lookback_s 60"),
        ({"summary": ""}, "summary"),
    ],
)
def test_a_faulty_declaration_is_found_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    findings = check_policy(policy_of(FailsAlways, **changes))
    assert [finding.rule for finding in findings] == ["declaration"]
    assert words in findings[0].words


def test_required_parameters_are_given_by_the_caller() -> None:
    assert check_policy(policy_of(Sound, parameters=(replace(TARGET, default=None),)), {"target": 4.0}) == []


def test_in_the_made_world_a_service_looks_the_same_in_any_company() -> None:
    many, one = World(("demand", "utilization"), (0, 1, 2), 60.0), World(("demand", "utilization"), (2,), 60.0)
    for together, alone in zip(many.ticks(9), one.ticks(9), strict=True):
        for name in ("demand", "utilization"):
            assert together.signals[name].values[2] == alone.signals[name].values[0]
            np.testing.assert_array_equal(together.signals[name].history.last(5)[2], alone.signals[name].history.last(5)[0])
        assert together.current[2] == alone.current[0]


def test_what_the_made_world_hands_out_cannot_be_written_to() -> None:
    (observation,) = World(("demand",), (0, 1), 60.0).ticks(1)
    signal = observation.signals["demand"]
    for array in (signal.values, signal.age_s, signal.state, signal.history.last(1), observation.current, observation.slots):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 1
