"""Encode samples as Prometheus remote write 1.0: protobuf in a snappy block.

Three messages and one way to write bytes down: too little for a protobuf compiler and a C library among the tests'
dependencies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

Samples = Sequence[tuple[float, float]]  # (Unix seconds, value), oldest first
Series = tuple[Mapping[str, str], Samples]  # labels, `__name__` among them

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}

# The value with which Prometheus marks the end of a series: a NaN of its own.
STALE_MARKER: float = struct.unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]

_LITERAL_LONGEST = 2**16
_LITERAL_TAG_TWO_LENGTH_BYTES = 61 << 2


def encode(series: Iterable[Series]) -> bytes:
    """The body of a write request."""
    return snappy_block(b"".join(_field(1, _time_series(labels, samples)) for labels, samples in series))


def snappy_block(data: bytes) -> bytes:
    """The snappy block format, all literals: valid, and nothing is compressed."""
    blocks = [_varint(len(data))]
    for start in range(0, len(data), _LITERAL_LONGEST):
        chunk = data[start : start + _LITERAL_LONGEST]
        blocks.append(struct.pack("<BH", _LITERAL_TAG_TWO_LENGTH_BYTES, len(chunk) - 1) + chunk)
    return b"".join(blocks)


def _time_series(labels: Mapping[str, str], samples: Samples) -> bytes:
    # Sorted by name, as the protocol demands.
    encoded = [_field(1, _field(1, name.encode()) + _field(2, labels[name].encode())) for name in sorted(labels)]
    encoded += [_field(2, _sample(time_s, value)) for time_s, value in samples]
    return b"".join(encoded)


def _sample(time_s: float, value: float) -> bytes:
    double, integer = b"\x09", b"\x10"  # field 1, 64 bits; field 2, varint
    return double + struct.pack("<d", value) + integer + _varint(round(time_s * 1000))


def _field(number: int, content: bytes) -> bytes:
    """A field that holds a length and bytes: text, or another message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, least significant first; a negative one as 64 bits in two's complement."""
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
