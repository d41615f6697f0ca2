"""What is made by ``maker`` is what its class makes; what ``chosen`` picks is what numpy's where picks; a ``constant`` calculates as the number, and
so does what stands ``beside`` columns."""

from __future__ import annotations

from dataclasses import field, fields

import numpy as np
import pytest

from autoscaler.core.constant import constant
from autoscaler.core.model import Readings
from autoscaler.core.rows import beside, chosen
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


@pytest.mark.parametrize("services", [0, 1, 3])
def test_what_stands_beside_columns_calculates_as_a_column(services: int) -> None:
    rng = np.random.Generator(np.random.PCG64(services))
    values, columns = rng.normal(size=services), rng.normal(size=(services, 4))
    np.testing.assert_array_equal(columns - beside(values), columns - values[:, None])
    np.testing.assert_array_equal(np.maximum(columns, beside(values)), np.maximum(columns, values[:, None]))


def test_a_constant_calculates_as_the_number_and_stays_it() -> None:
    values = np.array([1.7, np.nan, -3.0])
    made = constant(0.1)
    np.testing.assert_array_equal(values * made, values * 0.1)
    np.testing.assert_array_equal(np.maximum(made, values), np.maximum(0.1, values))
    with pytest.raises(ValueError, match="read-only"):
        made += 1.0
