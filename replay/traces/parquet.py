"""Parquet as one more way to pack a table: its rows as lines of CSV, batch by batch, for the readers of the CSV formats.

pyarrow is not among the run-time dependencies (100 MB for one file format) but an extra, `parquet`; it is imported where a file needs it.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from autoscaler.errors import UsageError
from replay.traces.error import TraceError

_BATCH_ROWS: Final = 1 << 15


@contextmanager
def as_text(path: Path) -> Iterator[IO[str]]:
    """The table as CSV text, its column names in the first line. Raises UsageError without pyarrow, TraceError, OSError."""
    parquet = _pyarrow("parquet", path)
    arrow = _pyarrow("lib", path)
    with path.open("rb") as raw:
        try:
            table = parquet.ParquetFile(raw)
            yield io.TextIOWrapper(io.BufferedReader(_Lines(table)), encoding="utf-8", newline="")
        except arrow.ArrowException as fault:
            raise TraceError(path, 0, f"is not a whole Parquet file ({fault})") from None


@contextmanager
def from_text(path: Path) -> Iterator[IO[str]]:
    """A text file to write CSV into; what was written becomes a Parquet file. Raises UsageError without pyarrow."""
    parquet, arrow_csv = _pyarrow("parquet", path), _pyarrow("csv", path)
    with tempfile.TemporaryFile("w+b", dir=path.parent) as raw:
        text = io.TextIOWrapper(cast(IO[bytes], raw), encoding="utf-8", newline="")
        yield text
        text.flush()
        raw.seek(0)
        with arrow_csv.open_csv(raw) as reader, parquet.ParquetWriter(path, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def _pyarrow(module: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ImportError:
        raise UsageError(
            f"{path}: Parquet needs pyarrow, the extra `parquet`: make venv EXTRAS=parquet in a clone, else "
            "pip install 'inference-autoscaler[parquet]'; or convert the file to CSV"
        ) from None


class _Lines(io.RawIOBase):
    """The table's text as a stream of bytes."""

    def __init__(self, table: Any) -> None:
        self._texts = _texts(table)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            text = next(self._texts, None)
            if text is None:
                return 0
            self._left = text.encode()
        part = self._left[: len(buffer)]
        self._left = self._left[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def _texts(table: Any) -> Iterator[str]:
    yield _csv([table.schema_arrow.names])
    for batch in table.iter_batches(batch_size=_BATCH_ROWS):
        # A timestamp's own text has all its nanoseconds; Python's datetime has none.
        columns = [
            [_cell(value) for value in (c.cast("string") if str(c.type).startswith("timestamp") else c).to_pylist()]
            for c in batch.columns
        ]
        yield _csv(zip(*columns, strict=True))


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cast(Sequence[Sequence[str]], rows))
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
