"""Prometheus' JSON, decoded into types.

Label sets stay raw bytes (``msgspec.Raw``): Prometheus writes the same series with the same bytes every time, so the bytes are the
key under which the reader remembers what the series belongs to, and no label is parsed twice. All types are outside the garbage
collector (gc=False): they hold no cycles, and tracking 100,000 of them costs more than decoding them.

Values are texts in JSON. ``NaN``, ``+Inf`` and ``-Inf`` become the floats of that name; it is the reader that calls them unknown,
because only it knows what the number was for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
from msgspec import Raw, Struct, field

from autoscaler.adapters.prometheus.problems import Unparsable
from autoscaler.core.model import Floats


class Sample(Struct, gc=False, frozen=True):
    """One series now. metric: its label set as JSON bytes. value: (time of the evaluation, value as text); None where the series is a
    native histogram, which no query of ours asks for."""

    metric: Raw
    value: tuple[float, str] | None = None


class Row(Struct, gc=False, frozen=True):
    """One series over time. points: JSON of what `values` gives. It stays raw because an answer of a million samples would else be decoded
    in one go, and all ticks would stand still meanwhile."""

    metric: Raw
    points: Raw = field(name="values", default=Raw(b"[]"))

    @classmethod
    def of(cls, metric: Raw, values: Sequence[tuple[float, str]]) -> Row:
        return cls(metric=metric, points=Raw(msgspec.json.encode(values)))

    @property
    def values(self) -> list[tuple[float, str]]:
        """(time, value as text), rising times, gaps left out. Raises Unparsable."""
        try:
            return _POINTS.decode(self.points)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unparsable(f"a series' samples are not Prometheus' JSON: {error}") from None


class Vector(Struct, gc=False, frozen=True, tag_field="resultType", tag="vector"):
    """An instant vector."""

    result: list[Sample]


class Scalar(Struct, gc=False, frozen=True, tag_field="resultType", tag="scalar"):
    """A scalar: (time, value as text)."""

    result: tuple[float, str]


class Matrix(Struct, gc=False, frozen=True, tag_field="resultType", tag="matrix"):
    """Series over time."""

    result: list[Row]


class Text(Struct, gc=False, frozen=True, tag_field="resultType", tag="string"):
    """A string; no signal is one."""

    result: tuple[float, str]


Data: TypeAlias = Vector | Scalar | Matrix | Text


class Answer(Struct, gc=False, frozen=True, rename="camel"):
    """A whole answer. data is None exactly where status is ``error``."""

    status: str
    data: Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []
    infos: list[str] = []


_DECODER: Final = msgspec.json.Decoder(Answer)
_POINTS: Final = msgspec.json.Decoder(list[tuple[float, str]])
_LABELS: Final = msgspec.json.Decoder(dict[str, str])


def decode(body: bytes) -> Answer:
    """Raises Unparsable where it is not an answer of the query API."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The message of msgspec names the place and the expected type, never the content.
        raise Unparsable(f"the answer ({len(body)} bytes) is not Prometheus' JSON: {error}") from None


def labels_of(metric: bytes) -> dict[str, str]:
    """The label set of a series. Raises Unparsable."""
    try:
        return _LABELS.decode(metric)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unparsable("a series' label set is not one") from None


def numbers(texts: Sequence[str]) -> Floats:
    """Values (m,) of m texts. Raises Unparsable where one is not a number."""
    try:
        return np.array([float(text) for text in texts], dtype=np.float64)
    except ValueError:
        raise Unparsable("a sample's value is not a number") from None
