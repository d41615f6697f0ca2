"""``schedule``: counts by time from a file, such as the clairvoyant schedule of ``replay optimum`` or a run's own schedule.csv.

The file is read once, when the policy is made. Its seconds count from the first tick that the policy sees (in a replay: the trace's
start), unless `start_s` says when they began. Before the first line the policy can't tell; after the last one that line stays.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved

TIME_COLUMN = "at_s"
COUNT_COLUMNS = ("replicas", "desired")
"""`replicas` where there is one; a run's schedule.csv calls its counts `desired`."""
_MOST_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """A file's lines: from times_s[i] on, counts[i]."""

    times_s: tuple[float, ...]
    counts: tuple[int, ...]


def read_plan(path: str) -> tuple[Plan, list[str]]:
    """A schedule file and its faults in words, each with its line (none: the plan is usable)."""
    times: list[float] = []
    counts: list[int] = []
    faults: list[str] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]
            count_column = next((name for name in COUNT_COLUMNS if name in header), "")
            if TIME_COLUMN not in header or not count_column:
                return Plan((), ()), [
                    f"{path}:1: the first line names the columns: '{TIME_COLUMN}' and one of {' or '.join(COUNT_COLUMNS)}"
                ]
            time_at, count_at = header.index(TIME_COLUMN), header.index(count_column)
            for cells in lines:
                if not cells:
                    continue
                fault = _read_line(cells, time_at, count_at, times, counts)
                if fault:
                    faults.append(f"{path}:{lines.line_num}: {fault}")
                if len(faults) == _MOST_FAULTS:
                    break
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return Plan((), ()), [f"{path}: can't be read: {getattr(error, 'strerror', None) or error}"]
    if not times and not faults:
        faults.append(f"{path}: has no counts below its first line")
    return Plan(tuple(times), tuple(counts)), faults


def _read_line(cells: Sequence[str], time_at: int, count_at: int, times: list[float], counts: list[int]) -> str:
    """Appends one line's values; returns its fault in words."""
    if len(cells) <= max(time_at, count_at):
        return f"has {len(cells)} cells, but the first line names more"
    time_text, count_text = cells[time_at].strip(), cells[count_at].strip()
    try:
        at_s = float(time_text)
    except ValueError:
        at_s = float("nan")
    if not np.isfinite(at_s):
        return f"{TIME_COLUMN}: '{time_text}' is not a number of seconds"
    if times and at_s <= times[-1]:
        return f"{TIME_COLUMN}: {time_text} does not come after {times[-1]:g} above it"
    try:
        count = float(count_text)
    except ValueError:
        count = float("nan")
    if not (count >= 0 and count.is_integer()):
        return f"'{count_text}' is not a whole number of replicas, 0 or more"
    times.append(at_s)
    counts.append(int(count))
    return ""


class Schedule:
    """Follows a plan a row. Learns only when it began: _start_s (n,), NaN before the first tick."""

    def __init__(self, params: Params) -> None:
        self._plans: dict[str, Plan] = {}
        self._take(params)
        self._start_s: Floats = self._given_start_s.copy()

    def _take(self, params: Params) -> None:
        self._files: list[str] = params["file"].tolist()
        given = params["start_s"]
        self._given_start_s: Floats = np.where(given > 0, given, np.nan)
        for path in self._files:
            if path not in self._plans:
                plan, faults = read_plan(path)
                if faults:
                    raise ValueError("; ".join(faults))
                self._plans[path] = plan
        self._groups: list[tuple[Plan, float, Ints]] | None = None

    def observe(self, observation: Observation) -> None:
        if self._groups is None:
            self._start_s = np.where(np.isnan(self._start_s), observation.at_s, self._start_s)
            self._groups = self._grouped()

    def _grouped(self) -> list[tuple[Plan, float, Ints]]:
        """Rows that follow the same file from the same moment: one search serves them all."""
        groups: dict[tuple[str, float], list[int]] = {}
        for row, (path, start_s) in enumerate(zip(self._files, self._start_s.tolist(), strict=True)):
            groups.setdefault((path, start_s), []).append(row)
        return [(self._plans[path], start_s, np.array(rows, dtype=np.int64)) for (path, start_s), rows in groups.items()]

    def recommend(self, observation: Observation) -> Recommendation:
        replicas = np.full(len(self._files), np.nan)
        room = np.zeros(len(self._files))
        at_s, pooled = observation.at_s, observation.pooled
        for plan, start_s, rows in self._groups or ():
            line = bisect_right(plan.times_s, at_s - start_s) - 1
            if line < 0:
                continue
            replicas[rows] = plan.counts[line]
            if pooled is not None and (mine := rows[pooled[rows]]).size:
                # Known long before: nodes for it are there when it comes. Lead times are those of few pools.
                leads_s, lead = np.unique(observation.node_lead_time_s[mine], return_inverse=True)
                ends = [bisect_right(plan.times_s, at_s - start_s + lead_s) for lead_s in leads_s.tolist()]
                most = np.array([max(plan.counts[line:end]) for end in ends])
                room[mine] = most[lead] - plan.counts[line]

        def why(row: int) -> str:
            plan, since_s = self._plans[self._files[row]], at_s - float(self._start_s[row])
            line = bisect_right(plan.times_s, since_s) - 1
            if line < 0:
                return f"{self._files[row]} begins at {plan.times_s[0]:g} s, and it is {since_s:.0f} s: no count yet"
            return f"{self._files[row]} plans {plan.counts[line]} from {plan.times_s[line]:g} s on (it is {since_s:.0f} s)"

        return Recommendation(replicas=replicas, headroom=None if pooled is None else room, why=why)

    def rearrange(self, rows: Ints, params: Params) -> None:
        old = self._start_s
        self._take(params)
        kept = rearranged(old, rows)
        self._start_s = np.where(np.isnan(self._given_start_s), kept, self._given_start_s)

    def save(self) -> Saved:
        return {"version": 1, "start_s": plain(self._start_s)}

    def load(self, state: Saved) -> None:
        if state.get("version") == 1 and len(state["start_s"]) == len(self._files):
            self._start_s = floats(state["start_s"])
            self._groups = None if np.isnan(self._start_s).any() else self._grouped()


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    return [f"file: {fault}" for fault in read_plan(str(params["file"]))[1]]


POLICY = PolicyType(
    name="schedule",
    summary="counts by time, from a file",
    parameters=(
        Parameter(
            name="file",
            kind="str",
            default=None,
            description=f"CSV with the columns {TIME_COLUMN} (rising seconds) and replicas; a run's schedule.csv is taken too (its desired column)",
        ),
        Parameter(
            name="start_s",
            kind="float",
            default=0.0,
            description="the moment at which the file's seconds begin; 0: the first tick",
            unit="Unix seconds",
            minimum=0,
        ),
    ),
    make=lambda params, _rng: Schedule(params),
    counts_starting=True,
    source="none: a given plan",
    check=_check,
)
