"""What is made by ``maker`` is what its class makes; what ``chosen`` picks is what numpy's where picks."""

from __future__ import annotations

from dataclasses import field, fields

import numpy as np
import pytest

from autoscaler.core.model import Readings
from autoscaler.core.rows import chosen
from autoscaler.core.value import maker, tick_value


@tick_value
class Measured:
    at_s: float
    name: str = "none"
    seen: list[int] = field(default_factory=list)


def test_a_maker_fills_fields_and_defaults_as_the_class_does() -> None:
    make = maker(Measured)
    for made in (make(at_s=1.0), Measured(at_s=1.0)):
        assert type(made) is Measured
        assert [getattr(made, one.name) for one in fields(Measured)] == [1.0, "none", []]
    assert make(at_s=1.0).seen is not make(at_s=1.0).seen
    given = [3]
    assert make(at_s=2.0, name="all", seen=given).seen is given
    assert maker(Readings)(at_s=1.0, signals={}).why("demand", 0) == ""


def test_a_maker_refuses_what_the_class_refuses() -> None:
    make = maker(Measured)
    with pytest.raises(TypeError, match="at_s"):
        make()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown"):
        make(at_s=1.0, unknown=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("where", [[True, True], [False, False], [True, False]])
def test_chosen_is_where(where: list[bool]) -> None:
    then, otherwise = np.array([1.0, np.nan]), np.array([3.0, 4.0])
    mask = np.array(where)
    np.testing.assert_array_equal(chosen(mask, then, otherwise), np.where(mask, then, otherwise))
    assert chosen(np.zeros(2, dtype=np.bool_), then, otherwise) is otherwise
    assert chosen(np.ones(2, dtype=np.bool_), then, otherwise) is then
