"""Somebody else sets a target's replica count: noticed, reported, and not fought.

Who set a count is written in the object's managedFields by the API server itself, so our own writes are known again after a restart and
on standby processes. A foreign write keeps us off for `hold_s`, twice as long with each repetition (a GitOps tool that sets its number
again and again), at most a day; a change of the manifest, which is its owner's word, ends it at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoscaler.adapters.kubernetes.moments import time_text
from autoscaler.adapters.kubernetes.pod_index import TargetKey
from autoscaler.adapters.kubernetes.reasons import Reason, because
from autoscaler.adapters.kubernetes.scale import FIELD_MANAGER
from autoscaler.adapters.kubernetes.targets import Target

HOLD_S = 600.0
LONGEST_HOLD_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignWrite:
    """The last foreign write of one target."""

    writer: str
    replicas: int
    at_s: float
    until_s: float
    repetition: int

    def words(self) -> str:
        return because(
            Reason.ForeignWriter,
            f"{self.writer} set spec.replicas to {self.replicas} at {time_text(self.at_s)}; no writes before {time_text(self.until_s)}"
            " unless the manifest changes",
        )


class ForeignWriters:
    """Foreign writes by target."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._writes: dict[TargetKey, ForeignWrite] = {}

    def saw_change(self, key: TargetKey, old: Target, new: Target, at_s: float) -> bool:
        """Takes in a change of a target that we are to scale. True where it was a foreign write of its count."""
        if old.uid != new.uid or old.replicas == new.replicas or new.replicas is None or new.writer == FIELD_MANAGER:
            return False
        self._note(key, new, at_s)
        return True

    def saw_first(self, key: TargetKey, target: Target, last_scaled_at_s: float | None) -> bool:
        """Takes in a target as a start of ours finds it: a foreign write where we had scaled it and somebody else owns the count since."""
        if last_scaled_at_s is None or target.replicas is None or target.writer in ("", FIELD_MANAGER):
            return False
        if target.written_at_s <= last_scaled_at_s or key in self._writes:
            return False
        self._note(key, target, target.written_at_s)
        return True

    def of(self, key: TargetKey, at_s: float) -> ForeignWrite | None:
        """The foreign write that keeps us off this target now."""
        write = self._writes.get(key)
        return write if write is not None and at_s < write.until_s else None

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`: what is to be waited for takes as long as before."""
        for key, write in self._writes.items():
            self._writes[key] = replace(write, at_s=write.at_s + by_s, until_s=write.until_s + by_s)

    def forgive(self, key: TargetKey) -> None:
        """The manifest changed, or the target is gone."""
        self._writes.pop(key, None)

    def _note(self, key: TargetKey, target: Target, at_s: float) -> None:
        before = self._writes.get(key)
        # Peace for as long as it lasted, and it counts from one again.
        again = before is not None and at_s < before.until_s + (before.until_s - before.at_s)
        repetition = before.repetition + 1 if before is not None and again else 1
        hold_s = min(LONGEST_HOLD_S, self._hold_s * 2.0 ** (repetition - 1))
        assert target.replicas is not None
        self._writes[key] = ForeignWrite(
            writer=target.writer or "somebody",
            replicas=target.replicas,
            at_s=at_s,
            until_s=at_s + hold_s,
            repetition=repetition,
        )
