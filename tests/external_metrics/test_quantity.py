"""Quantities: exact to the nano, canonical as the real API server writes them, and never made of what is no number."""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.external_metrics.quantity import quantity_text
from tests.realparts.control_plane import ControlPlane

SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
LARGEST = 9223372036854774.0
"""The largest float whose thousandfold fits 64 bits."""


def decimal_of(quantity: str) -> Decimal:
    found = re.fullmatch(r"(-?[0-9]+)([a-zA-Z]?)", quantity)
    assert found is not None, quantity
    with localcontext() as context:
        context.prec = 60
        return Decimal(found[1]).scaleb(SUFFIXES[found[2]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.5, "1500m"),
        (100.0, "100"),
        (1000.0, "1k"),
        (2500.0, "2500"),
        (0.0004, "400u"),
        (1e-9, "1n"),
        (4e-10, "0"),
        (0.1 + 0.2, "300m"),
        (3.0000000000000004, "3"),
        (1e15, "1P"),
        (100000000.1, "100000000100m"),
        (-2.5, "-2500m"),
        (LARGEST, "9223372036854774"),
    ],
)
def test_canonical(value: float, text: str) -> None:
    assert quantity_text(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 9223372036854776.0, -9223372036854776.0, 1e18, 1e300])
def test_what_no_hpa_can_calculate_with_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"quantity"):
        quantity_text(value)


@given(st.floats(-LARGEST, LARGEST))
def test_is_the_nearest_nano_and_canonical(value: float) -> None:
    text = quantity_text(value)
    with localcontext() as context:
        context.prec = 60
        nearest = Decimal(repr(value)).quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN)
        assert decimal_of(text) == nearest
        assert abs(decimal_of(text) - Decimal(value)) <= Decimal("5e-10") + Decimal(math.ulp(value))
    mantissa, suffix = re.fullmatch(r"(-?[0-9]+)([a-zA-Z]?)", text).groups()  # type: ignore[union-attr]
    assert int(mantissa) % 1000 != 0 or (suffix == "" and mantissa == "0"), "a larger suffix would have lost nothing"


@given(st.floats(0, 1e12))
def test_what_an_hpa_makes_of_it_is_never_a_milli_too_many(value: float) -> None:
    """``MilliValue`` rounds up. Noise below half a nano must not become a milli."""
    milli = math.ceil(decimal_of(quantity_text(value)) * 1000)
    assert Decimal(repr(value)) * 1000 - Decimal("5e-7") <= milli < Decimal(repr(value)) * 1000 + 1


async def test_the_api_server_writes_them_so(control_plane: ControlPlane, namespace: str) -> None:
    """The targets of an HPA come back from the API server in canonical form, whatever form they were given in."""
    values = [
        1.5,
        100.0,
        1000.0,
        2500.0,
        0.0004,
        1e-9,
        123456.789,
        0.3,
        1e6,
        1.1e6,
        1e9,
        1e12,
        1e15,
        7.25e14,
        LARGEST,
        100000000.1,
    ]
    values += [9.0 ** (power / 2) / 7 for power in range(-16, 30)]
    made = await control_plane.api.create(
        f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers?dryRun=All",
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "oracle"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "oracle"},
                "maxReplicas": 2,
                "metrics": [
                    {
                        "type": "External",
                        "external": {
                            "metric": {"name": "m"},
                            "target": {"type": "AverageValue", "averageValue": f"{nanos(value)}n"},
                        },
                    }
                    for value in values
                ],
            },
        },
    )
    written = [metric["external"]["target"]["averageValue"] for metric in made["spec"]["metrics"]]
    assert written == [quantity_text(value) for value in values]


def nanos(value: float) -> int:
    """A form that is hardly ever the canonical one."""
    with localcontext() as context:
        context.prec = 60
        return int(Decimal(repr(value)).scaleb(9).to_integral_value(ROUND_HALF_EVEN))
