"""Running recorded ticks again: the same controller, with ports that give what the records say; any other decision is a difference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from autoscaler.clock import ManualClock
from autoscaler.controller import Controller
from autoscaler.core.model import Fleet, Memory, Outcome, Plan, PoolSpec, Readings, ScalingSpec
from autoscaler.core.policy import PolicyType
from autoscaler.errors import AutoscalerError, OutsideError, UsageError
from autoscaler.ports import Backfill, Tick
from autoscaler.record import (
    SCHEMA,
    decode_bounds,
    decode_budget,
    decode_column,
    decode_draining_lost,
    decode_pause,
    decode_placed,
    decode_pool,
    decode_spec,
    decode_versions,
    encode,
    tick_record,
)
from replay.plugins import installed
from replay.traces.files import refuse_pipe

_PER_SERVICE: Final = ("recommended", "desired", "headroom", "blind", "partial", "limits", "reasons", "planned", "act")


class RecordsError(AutoscalerError):
    """Records that can't be read: file, line, what is wrong."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A decision that came out otherwise. field: of the tick record."""

    file: str
    line: int
    at_s: float
    key: str
    field: str
    recorded: Any
    again: Any

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.key} at {self.at_s:.0f}: {self.field} was {self.recorded!r}, is now {self.again!r}"
        )


@dataclass(slots=True, kw_only=True)
class Verdict:
    """ticks: run again. skipped: could not be (nobody recorded how the engine stood). decisions: ticks × services. cut: files whose last
    line has no end, so that it was left out."""

    files: int = 0
    ticks: int = 0
    skipped: int = 0
    decisions: int = 0
    cut: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def same(self) -> bool | None:
        """None where not one tick was run again: then nothing is known."""
        if self.differences:
            return False
        return True if self.ticks else None


def record_files(path: Path) -> list[Path]:
    """A file, or the rotated files of a directory in the order of their time. Raises UsageError."""
    if path.is_dir():
        found = sorted(path.glob("*.jsonl"))
        if not found:
            raise UsageError(f"{path}: holds no *.jsonl files")
        return found
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    refuse_pipe(path)
    return [path]


def verify(files: Sequence[Path], *, policies: Mapping[str, PolicyType] | None = None, most: int = 100) -> Verdict:
    """Runs the ticks of record files again; stops after `most` differences. policies: the installed ones where left out.

    Raises RecordsError, UsageError (a policy that isn't installed), OutsideError."""
    return asyncio.run(_verify(files, policies, most))


async def _verify(files: Sequence[Path], policies: Mapping[str, PolicyType] | None, most: int) -> Verdict:
    verdict = Verdict(files=len(files), cut=sum(map(ends_cut, files)))
    again: _Again | None = None
    for path in files:
        for line, record in records_of(path):
            try:
                if record["kind"] == "fleet":
                    again = _stand(record, again, policies)
                elif record["kind"] == "tick":
                    if again is None or not again.ready_for(record):
                        verdict.skipped += 1
                        continue
                    found = await again.differences(record, str(path), line)
                    verdict.ticks += 1
                    verdict.decisions += len(record["current"])
                    verdict.differences += found[: most - len(verdict.differences)]
                    if len(verdict.differences) >= most:
                        return verdict
            except (KeyError, TypeError, IndexError, ValueError, msgspec.ValidationError) as fault:
                if isinstance(fault, AutoscalerError):
                    raise
                raise RecordsError(f"{path}:{line}: is no record of schema {SCHEMA} ({type(fault).__name__}: {fault})") from fault
    return verdict


def ends_cut(path: Path) -> bool:
    """Whether a file's last line has no end: it is being written, or its writer was killed in the middle. Raises OutsideError."""
    try:
        with path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None


def cut_words(cut: int) -> str:
    """What is said of `cut` files whose last line was left out."""
    return f"the last line of {cut} {'file' if cut == 1 else 'files'} was cut off in the middle and is left out"


def records_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, record) of a file; a last line without an end (see ``ends_cut``) is left out. Raises RecordsError, OutsideError."""
    try:
        with path.open("rb") as file:
            for line, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    return
                try:
                    record = orjson.loads(text)
                except orjson.JSONDecodeError as fault:
                    raise RecordsError(f"{path}:{line}: is not JSON ({fault})") from None
                if not isinstance(record, dict) or record.get("schema") != SCHEMA:
                    raise RecordsError(f"{path}:{line}: schema {SCHEMA} is expected")
                yield line, record
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None


def _stand(record: Mapping[str, Any], before: _Again | None, policies: Mapping[str, PolicyType] | None) -> _Again | None:
    """The controller as it stood before the tick that follows a fleet record; None where that isn't known."""
    if record["start"] == "continues":
        if before is not None:
            before.change_fleet(record)
        return before
    return None if record["start"] == "unknown" else _Again(record, policies)


class _Again:
    """A controller between two recorded ends."""

    def __init__(self, record: Mapping[str, Any], policies: Mapping[str, PolicyType] | None) -> None:
        self._policies = policies
        self._clock = ManualClock(record["at_s"])
        self._ends = _Ends()
        self.change_fleet(record)
        named = {ref.name for spec in self._ends.specs for ref in spec.policies}
        self._controller = Controller(
            clock=self._clock,
            metrics=self._ends,
            cluster=self._ends,
            policies=installed(named) if policies is None else policies,
            interval_s=record["interval_s"],
            may_act=lambda: self._ends.leading,
            seed=record["seed"],
            budget=decode_budget(record["budget"]),
            shadow=record["shadow"],
        )
        self._state: Mapping[str, Any] | None = record["state"] if record["start"] == "state" else None

    def change_fleet(self, record: Mapping[str, Any]) -> None:
        ends = self._ends
        ends.revision = record["revision"]
        ends.specs = tuple(map(decode_spec, record["services"]))
        ends.pools = tuple(map(decode_pool, record["pools"]))
        ends.memories = {key: msgspec.convert(memory, Memory) for key, memory in record["memories"].items()}

    def ready_for(self, record: Mapping[str, Any]) -> bool:
        return bool(record["revision"] == self._ends.revision)

    async def differences(self, record: Mapping[str, Any], file: str, line: int) -> list[Difference]:
        at_s = record["at_s"]
        self._ends.record = record
        self._ends.leading = record["leading"]
        self._clock.advance_to(at_s)
        tick = await self._tick()
        return list(_compare(record, orjson.loads(encode(tick_record(tick))), self._ends.specs, file, line))

    async def _tick(self) -> Tick:
        if self._state is not None:
            fleet = await self._ends.observe(self._clock.now_s())
            self._controller.engine.prepare(fleet, self._clock.now_s())
            self._controller.engine.load(self._state)
            self._state = None
        return await self._controller.tick()


class _Ends:
    """MetricSource and Cluster in one: what the current record says was seen, and what became of the writes."""

    def __init__(self) -> None:
        self.revision = 0
        self.specs: tuple[ScalingSpec, ...] = ()
        self.pools: tuple[PoolSpec, ...] = ()
        self.memories: dict[str, Memory] = {}
        self.record: Mapping[str, Any] = {}
        self.leading = True

    async def observe(self, at_s: float) -> Fleet:
        record = self.record
        hands_off = np.zeros(len(self.specs), dtype=np.bool_)
        why = {int(row): words for row, words in record["hands_off"].items()}
        hands_off[list(why)] = True
        return Fleet(
            revision=self.revision,
            specs=self.specs,
            current=np.array(record["current"], dtype=np.int64),
            ready=np.array(record["ready"], dtype=np.int64),
            starting=np.array(record["starting"], dtype=np.int64),
            draining=np.array(record["draining"], dtype=np.int64),
            lead_time_s=np.array(record["lead_time_s"], dtype=np.float64),
            node_lead_time_s=np.array(record["node_lead_time_s"], dtype=np.float64),
            hands_off=hands_off,
            hands_off_why=why,
            memories=self.memories,
            pools=self.pools,
            paused=decode_pause(record["paused"]),
            surge=np.array(record["surge"], dtype=np.int64) if "surge" in record else None,
            versions=decode_versions(record),
            pool_nodes=record.get("pool_nodes"),
            placed=decode_placed(record),
            draining_on=decode_placed(record, "draining_on"),
            draining_lost=decode_draining_lost(record),
            staying_lost=decode_placed(record, "staying_lost") or {},
            bounds=decode_bounds(record),
        )

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        return Readings(at_s=at_s, signals={name: decode_column(column) for name, column in self.record["signals"].items()})

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return Backfill()

    async def act(self, fleet: Fleet, plan: Plan, deadline_s: float) -> Outcome:
        return Outcome(
            written=np.array(self.record["written"], dtype=np.int8),
            errors={int(row): words for row, words in self.record["errors"].items()},
        )


def _compare(
    recorded: Mapping[str, Any], again: Mapping[str, Any], specs: Sequence[ScalingSpec], file: str, line: int
) -> Iterator[Difference]:
    at_s = recorded["at_s"]
    for name in _PER_SERVICE:
        if recorded[name] == again[name]:
            continue
        for row, (was, now) in enumerate(zip(recorded[name], again[name], strict=True)):
            if was != now:
                yield Difference(file=file, line=line, at_s=at_s, key=specs[row].key, field=name, recorded=was, again=now)
    if "forecasts" in recorded:  # older records have none
        told, now_told = recorded["forecasts"], again.get("forecasts", [[]] * len(specs))
        for row, (was, now) in enumerate(zip(told, now_told, strict=True)):
            if was != now:
                yield Difference(file=file, line=line, at_s=at_s, key=specs[row].key, field="forecasts", recorded=was, again=now)
    learnt, now_learnt = recorded.get("capacity", {}), again.get("capacity", {})
    for name in learnt.keys() & now_learnt.keys():
        for row, (was, now) in enumerate(zip(learnt[name], now_learnt[name], strict=True)):
            if was != now:
                field = f"capacity.{name}"
                yield Difference(file=file, line=line, at_s=at_s, key=specs[row].key, field=field, recorded=was, again=now)
    roles, now_roles = recorded.get("roles"), again.get("roles")
    if roles is not None and now_roles is not None:  # records that are older than roles have none
        for row, spec in enumerate(specs):
            was, now = ([one["bottleneck"][row], one["words"].get(str(row), "")] for one in (roles, now_roles))
            if was != now:
                yield Difference(file=file, line=line, at_s=at_s, key=spec.key, field="roles", recorded=was, again=now)
    if recorded["nodes"] != again["nodes"]:
        yield Difference(
            file=file, line=line, at_s=at_s, key="pools", field="nodes", recorded=recorded["nodes"], again=again["nodes"]
        )
