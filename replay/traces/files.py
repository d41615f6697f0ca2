"""Opening trace files: plain, gzip, Zstandard or Parquet, as a stream of lines, with faults of the outside told apart from faults of the
content; and writing them, whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from autoscaler.errors import OutsideError, UsageError
from replay.traces.error import TraceError
from replay.traces.parquet import as_text, from_text


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """The file's text, unpacked by its ending (.gz, .zst). Raises UsageError, OutsideError, TraceError (not text, not packed)."""
    refuse_pipe(path)
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield cast(IO[str], file)
        elif path.suffix == ".parquet":
            with as_text(path) as file:
                yield file
        elif path.suffix == ".zst":
            import zstandard

            try:
                with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as stream:
                    yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            except zstandard.ZstdError as fault:
                raise TraceError(path, 0, f"is not a whole Zstandard file ({fault})") from None
        else:
            with path.open("r", encoding="utf-8-sig", newline="") as file:
                yield file
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder; name a file in it") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as fault:
        raise TraceError(path, 0, f"is not a whole gzip file ({fault})") from None
    except UnicodeDecodeError as fault:
        raise TraceError(path, 0, f"is not UTF-8 text (byte {fault.start}: {fault.reason})") from None
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror or fault}") from None


def refuse_pipe(path: Path) -> None:
    """Raises UsageError for what can't be read from its start again: the first line tells the format, then all is read."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it says why
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UsageError(f"{path}: a pipe can't be read twice; write it to a file first, and name that")


@contextmanager
def write_text(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of `path` once all is written, packed by its ending. Raises OutsideError."""
    part = path.with_name(f".{path.name}.writing")
    try:
        if path.suffix == ".gz":
            # No name and no time in the header: the same trace gives the same bytes.
            with (
                part.open("wb") as raw,
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
                io.TextIOWrapper(cast(IO[bytes], packed), encoding="utf-8", newline="") as file,
            ):
                yield file
        elif path.suffix == ".zst":
            import zstandard

            with (
                part.open("wb") as raw,
                zstandard.ZstdCompressor(level=6).stream_writer(raw) as stream,
                io.TextIOWrapper(cast(IO[bytes], stream), encoding="utf-8", newline="") as file,
            ):
                yield file
        elif path.suffix == ".parquet":
            with from_text(part) as file:
                yield file
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                yield file
        os.replace(part, path)
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror or fault}") from None
    finally:
        part.unlink(missing_ok=True)


def plain_name(path: Path) -> str:
    """The file's name without packing: ``a.csv.gz`` → ``a.csv``."""
    return path.name.removesuffix(".gz").removesuffix(".zst")


def trace_name(path: Path) -> str:
    """What scores call a trace: its file's name without endings."""
    return plain_name(path).rsplit(".", 1)[0]
