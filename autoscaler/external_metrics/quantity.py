"""Numbers as Kubernetes writes quantities, in its canonical form.

A whole mantissa and the largest suffix that loses nothing: 0, 1500m, 100, 1k, 2500, 400u (apimachinery, pkg/api/resource/quantity.go).

Precision: to the nearest nano, which is the finest that a quantity holds. Nearest, and of the shortest decimal that means the float: an HPA
reads a quantity's milli value and rounds it **up**, so that the noise of 3.0000000000000004 would be a replica too many.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

_SUFFIXES: Final = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_NANO: Final = 9
_LARGEST_MILLI: Final = 2**63 - 1
_NANOS_PER_MILLI: Final = 10**6
# 2⁶³ milli are 2.5e25 nano: a context of Decimal's own 28 digits would do, one of our own stays what it is.
_EXACT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)


def quantity_text(value: float) -> str:
    """`value` as a canonical quantity. Raises ValueError for NaN and infinity, and where the value in milli does not fit 64 bits, which is
    what an HPA calculates with (``Quantity.MilliValue``)."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that a quantity can hold")
    whole = int(value)
    nanos = whole * 10**_NANO if whole == value else _nanos_of(value)
    if -(-abs(nanos) // _NANOS_PER_MILLI) > _LARGEST_MILLI:
        raise ValueError(f"{value} is too large for a quantity: its thousandfold must fit 64 bits")
    return _canonical(nanos)


def _nanos_of(value: float) -> int:
    return int(Decimal(repr(value)).scaleb(_NANO, _EXACT).to_integral_value(context=_EXACT))


def _canonical(nanos: int) -> str:
    if nanos == 0:
        return "0"
    step = 0
    while nanos % 1000 == 0:
        nanos //= 1000
        step += 1
    return f"{nanos}{_SUFFIXES[step]}"
