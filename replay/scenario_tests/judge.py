"""What a run shows against what a test expects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from replay.gate import value_of
from replay.scenario_tests.drive import Run, Seen
from replay.scenario_tests.load import Expectation, Test


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An expectation that isn't met. at_s: from the test's start, None where it is the score's. said: the decision's words then."""

    file: str
    line: int
    test: str
    at_s: float | None
    field: str
    expected: str
    got: str
    said: str = ""

    def __str__(self) -> str:
        when = "in the score" if self.at_s is None else f"at {moment(self.at_s)}"
        words = f"{self.file}:{self.line}: {self.test}: {when} {self.field} is {self.got}, expected {self.expected}"
        return f"{words}\n    {self.said}" if self.said else words

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def moment(at_s: float) -> str:
    """Seconds as a duration of the manifest's kind: ``1h2m30s``."""
    hours, rest = divmod(round(at_s), 3600)
    minutes, seconds = divmod(rest, 60)
    text = "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number)
    return text or "0s"


def judge(test: Test, run: Run) -> list[Failure]:
    """Every expectation that isn't met, each at the first tick that shows it, in the file's order."""
    found = [failure for expected in test.expectations for failure in _judged(test, expected, run)]
    for field, (allowed, line) in test.score.items():
        value, words = value_of(run.score, field)
        if words or value not in allowed:
            got = words or f"{value:g}"
            found.append(
                Failure(file=test.file, line=line, test=test.name, at_s=None, field=field, expected=str(allowed), got=got)
            )
    return found


def _judged(test: Test, expected: Expectation, run: Run) -> Iterator[Failure]:
    ticks = _ticks(expected, run)

    def failure(field: str, seen: Seen, wanted: str, got: str) -> Failure:
        line = expected.lines.get(field, expected.line)
        return Failure(
            file=test.file,
            line=line,
            test=test.name,
            at_s=seen.at_s,
            field=field,
            expected=wanted,
            got=got,
            said=seen.words,
        )

    for name, allowed in expected.counts.items():
        wrong = next((seen for seen in ticks if seen.counts[name] not in allowed), None)
        if wrong is not None:
            got = wrong.counts[name]
            yield failure(name, wrong, str(allowed), "not known" if got != got else f"{got:g}")
    for name, flag in expected.flags.items():
        wrong = next((seen for seen in ticks if seen.flags[name] != flag), None)
        if wrong is not None:
            yield failure(name, wrong, str(flag).lower(), str(not flag).lower())
    if expected.limits is not None:
        wanted = set(expected.limits)
        wrong = next((s for s in ticks if (bool(s.limits) if not wanted else not wanted <= set(s.limits))), None)
        if wrong is not None:
            yield failure("limits", wrong, ", ".join(expected.limits) or "none", ", ".join(wrong.limits) or "none")
    if expected.reason:
        wrong = next((seen for seen in ticks if expected.reason not in seen.words), None)
        if wrong is not None:
            yield failure("reason", wrong, f"…{expected.reason}…", "another")


def _ticks(expected: Expectation, run: Run) -> Sequence[Seen]:
    """The ticks from `from` to `to`; of a moment between two ticks the one before it."""
    first = int(expected.from_s // run.interval_s)
    last = int(expected.to_s // run.interval_s)
    if expected.from_s != expected.to_s:
        first = -int(-expected.from_s // run.interval_s)
    return run.seen[expected.service][first : max(last, first) + 1]
