"""Who is beaten by nobody, and who is taken."""

from __future__ import annotations

import numpy as np

from replay.tune.front import best_first, chosen, front, ranks
from replay.tune.trial import Standing, Trial, needed_ratio


def at(cost: float, attained: float, actions: float = 1.0) -> Standing:
    return Standing(cost_per_h=cost, attained_ratio=attained, actions_per_h=actions)


def trials(*standings: Standing) -> list[Trial]:
    return [Trial(number=number, values={"x": float(number)}, standing=one) for number, one in enumerate(standings)]


def test_ranks_agree_with_a_plain_count_of_who_beats_whom() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    made = [at(*rng.integers(0, 4, 3).astype(float) / (1, 8, 1)) for _ in range(40)]

    def beats(one: Standing, other: Standing) -> bool:
        return one.objectives != other.objectives and all(a <= b for a, b in zip(one.objectives, other.objectives, strict=True))

    found = ranks(made)
    left, rank = set(range(len(made))), 0
    while left:
        now = {place for place in left if not any(beats(made[other], made[place]) for other in left)}
        assert {place for place in left if found[place] == rank} == now
        left, rank = left - now, rank + 1


def test_the_cheapest_with_the_margin_is_taken() -> None:
    needed = needed_ratio(0.995, 0.25)
    assert round(needed, 9) == 0.99625
    made = trials(at(10, 0.9951), at(11, 0.9963, 9), at(11, 0.9963, 2), at(12, 0.9999), at(5, 0.9))
    assert chosen(made, needed, 0.995).number == 2, "of the two at 11 the calmer one"
    assert chosen(made[:1], needed, 0.995).number == 0, "the promise without the margin"
    assert chosen(trials(at(5, 0.9), at(9, 0.95)), needed, 0.995).number == 1, "else the one that attains most"


def test_one_that_was_left_behind_is_never_taken_nor_shown() -> None:
    early = Trial(number=7, values={}, standing=at(1, 1.0), pruned=True)
    broken = Trial(number=8, values={}, faults=("not together",))
    made = [early, broken, *trials(at(10, 0.999))]
    assert chosen(made, 0.995, 0.995).number == 0
    assert [trial.number for trial in front(made, 0.995)] == [0]


def test_the_front_keeps_the_promise_and_is_sorted_by_cost() -> None:
    made = trials(at(12, 0.999, 5), at(10, 0.996, 5), at(11, 0.996, 5), at(9, 0.9, 5), at(12, 0.999, 4), at(10, 0.996, 5))
    assert [trial.number for trial in front(made, 0.995)] == [1, 4]
    assert [trial.number for trial in front(trials(at(2, 0.5), at(1, 0.4)), 0.995)] == [1, 0], "nobody keeps it: all are shown"


def test_the_better_half_is_those_that_keep_then_those_that_lack_least() -> None:
    made = [at(9, 0.9), at(10, 0.997), at(20, 0.997, 2.0), at(8, 0.98)]
    assert best_first(made, 0.99625) == [1, 2, 3, 0]
