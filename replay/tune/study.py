"""A study's file (SQLite): every score that was paid for, so that an interrupted search goes on as if nothing had happened.

The search itself is never stored: it is seeded, so it asks for the same batches again, and what is known of them is taken from here. Tables:
``setting (name, value)`` what the study is of, ``batches (service, batch, scores)`` what the search reads, ``trials (service, number, values,
pruned, cost_per_h, attained_ratio, actions_per_h)`` for people.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from autoscaler.errors import OutsideError, UsageError
from replay.tune.batch import Batch
from replay.tune.trial import Trial

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (service TEXT, batch TEXT, scores BLOB NOT NULL, PRIMARY KEY (service, batch));
CREATE TABLE IF NOT EXISTS trials (service TEXT, number INTEGER, "values" TEXT, pruned INTEGER, cost_per_h REAL, attained_ratio REAL,
  actions_per_h REAL, PRIMARY KEY (service, number));
"""


class Study:
    """setting: what scores depend on, by a name for people. Raises UsageError where the file holds a study of something else (anew: such a
    file is begun again instead), OutsideError where it can't be used."""

    def __init__(self, path: Path, setting: Mapping[str, str], *, anew: bool = False) -> None:
        self.path = path
        self._open()
        try:
            known = dict(self._file.execute("SELECT name, value FROM setting").fetchall())
            other = [name for name, value in setting.items() if known.get(name, value) != value]
            if known and other:
                if not anew:
                    raise UsageError(
                        f"{path}: is a study with another {' and '.join(other)}; name another file with --study, or remove this one"
                    )
                self.remove()
                self._open()
                known = {}
            if not known:
                self._file.executemany("INSERT INTO setting VALUES (?, ?)", setting.items())
                self._file.commit()
        except sqlite3.Error as fault:
            raise OutsideError(f"{path}: is no study that can be used: {fault}") from None

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self.path)
            self._file.executescript(_TABLES)
        except (OSError, sqlite3.Error) as fault:
            raise OutsideError(f"{self.path}: is no study that can be used: {fault}") from None

    def known(self, service: str, batch: Batch) -> list[dict[str, Any]] | None:
        """The scores of a batch that was played."""
        row = self._file.execute("SELECT scores FROM batches WHERE service = ? AND batch = ?", (service, _key(batch))).fetchone()
        if row is None:
            return None
        found: list[dict[str, Any]] = orjson.loads(row[0])
        return found

    def keep(self, service: str, batch: Batch, scores: Sequence[Mapping[str, Any]]) -> None:
        """At once and for good: a search may end at any moment."""
        with self._file:
            self._file.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?)", (service, _key(batch), orjson.dumps(list(scores)))
            )

    def begin(self, service: str) -> None:
        """Forgets which trials there were, not what they cost."""
        with self._file:
            self._file.execute("DELETE FROM trials WHERE service = ?", (service,))

    def note(self, service: str, trials: Sequence[Trial]) -> None:
        rows = []
        for one in trials:
            found = one.standing
            figures = (None,) * 3 if found is None else (found.cost_per_h, found.attained_ratio, found.actions_per_h)
            rows.append((service, one.number, orjson.dumps(dict(one.values)).decode(), int(one.pruned), *figures))
        with self._file:
            self._file.executemany("INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def trials(self) -> int:
        """How many trials of all services are noted."""
        (count,) = self._file.execute("SELECT count(*) FROM trials").fetchone()
        return int(count)

    def close(self) -> None:
        self._file.close()

    def drop_if_empty(self) -> None:
        """Leaves no file where nothing was paid for: there is nothing to go on from."""
        (count,) = self._file.execute("SELECT count(*) FROM batches").fetchone()
        if not count:
            self.remove()

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def _key(batch: Batch) -> str:
    return hashlib.sha256(batch.words().encode()).hexdigest()
