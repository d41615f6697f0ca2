"""Format ``mooncake``: JSONL with ``timestamp`` (ms from the recording's start), ``input_length``, ``output_length``; more keys (hash_ids) are
passed over.

Source: Mooncake's traces (FAST'25), README: arrivals were recorded in steps of 3 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Final

import msgspec
import numpy as np

from replay.traces.blocks import MOST_TOKENS, RequestBlock
from replay.traces.error import TraceError
from replay.traces.files import open_text
from replay.traces.format import Format
from replay.traces.request_csv import nanos_of

_BLOCK_BYTES: Final = 1 << 22
_KEYS: Final = ("timestamp", "input_length", "output_length")
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _Line(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0, le=9e12)]
    input_length: _Tokens
    output_length: _Tokens


def _matches(header: str) -> bool:
    return header.startswith("{") and all(re.search(rf'"{key}"\s*:', header) for key in _KEYS)


def read_mooncake(path: Path) -> Iterator[RequestBlock]:
    """Raises TraceError."""
    decoder = msgspec.json.Decoder(_Line)
    line = 1
    origin_s: int | None = None
    with open_text(path) as file:
        while lines := file.readlines(_BLOCK_BYTES):
            found = []
            for number, text in enumerate(lines, line):
                if text.isspace():
                    continue
                try:
                    found.append(decoder.decode(text))
                except msgspec.DecodeError as fault:
                    raise TraceError(path, number, _words(text, fault)) from None
            line += len(lines)
            if not found:
                continue
            millis = np.array([one.timestamp for one in found])
            if origin_s is None:
                origin_s = int(millis[0] // 1000)
            yield RequestBlock(
                origin_s=origin_s,
                times_s=millis / 1e3 - origin_s,
                prompt_tokens=np.array([one.input_length for one in found], dtype=np.int32),
                output_tokens=np.array([one.output_length for one in found], dtype=np.int32),
            )


def _words(text: str, fault: msgspec.DecodeError) -> str:
    try:
        line: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return f"is no JSON: {fault} (is: {text.strip()[:60]!r})"
    key = re.search(r"\$\.(\w+)", str(fault))
    if isinstance(line, dict) and key is not None:
        what = "milliseconds, 0 or more," if key[1] == "timestamp" else "a whole number of tokens, 0 or more,"
        return f"{key[1]}: {what} is expected (is: {line.get(key[1])!r})"
    missing = [name for name in _KEYS if not isinstance(line, dict) or name not in line]
    return f"an object with {', '.join(_KEYS)} is expected; {', '.join(missing)} is missing"


def write_mooncake(blocks: Iterator[RequestBlock], file: IO[str]) -> None:
    """Times in whole milliseconds, rounded down."""
    for nanos, prompt, output in nanos_of(blocks, absolute=False):
        millis = (nanos // 1_000_000).tolist()
        file.write(
            "".join(
                f'{{"timestamp": {at}, "input_length": {into}, "output_length": {out}}}\n'
                for at, into, out in zip(millis, prompt.tolist(), output.tolist(), strict=True)
            )
        )


FORMAT = Format(
    name="mooncake",
    summary="JSONL timestamp (ms),input_length,output_length: Mooncake",
    matches=lambda _path, header: _matches(header),
    requests=read_mooncake,
    write_requests=write_mooncake,
)
