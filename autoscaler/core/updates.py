"""Which targets are being updated: replicas of another version take the place of those that are there.

Each replacement disturbs what is seen of a service for a while. What the replica that left had counted is missing until the others' rates have
risen, means over pods mix two versions, and where fewer are ready than were asked for, requests wait that will not wait later. So
within ``SETTLES_S`` after a replacement nothing is taken away (``constraints``). The count itself is the target's ``spec.replicas``, and an
update changes no wish. An update that stands still (a canary that is looked at for hours, a version that does not start) is no reason to
hold anything.

A replacement is one version's gain that is another's loss. Shares tell nothing of it: they move with the count, and with every replica that is
not ready for a moment. So ready replicas are compared, by version, with those that are taken to be there (`held`, below): what is missing of
them may come back at any time, and no more of them is there than the count asks for. Of a change, the part that the count explains (fewer
where it fell, more where some were missing) is taken in as it comes; what is then left on both sides is a replacement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoscaler.core.lately import Lately
from autoscaler.core.model import Bools, Fleet, Ints, Versions

SETTLES_S: Final = 300.0
"""As long as HPA's own window for shrinking, and longer than the metrics' windows."""
_ONE: Final = 1.0 - 1e-6
"""A replica, but for the rounding of shares."""


class Updates:
    """Of n services. replaced: when a replica last was by one of another version."""

    def __init__(self) -> None:
        self.replaced = Lately(SETTLES_S)
        self._held: list[dict[str, float]] = []
        """By row: replicas that are taken to be there, by version. Of a single one it is as many as are asked for, whatever stands here."""
        self._several: set[int] = set()
        """Rows that hold several versions: with them the count matters, too."""
        self._fleet: Fleet | None = None
        self._versions: tuple[Versions, ...] | None = None

    def rearrange(self, rows: Ints) -> None:
        """Row i becomes what row rows[i] was, or one that was never looked at (−1)."""
        self.replaced.rearrange(rows, SETTLES_S)
        self._hold([self._held[row] if row >= 0 else {} for row in rows.tolist()])

    def look(self, fleet: Fleet, at_s: float) -> Bools | None:
        """Rows (n,) in which replicas were replaced lately; None: nowhere."""
        if fleet is not self._fleet and fleet.versions is not None:
            rows = range(len(fleet)) if fleet.versions is not self._versions else sorted(self._several)
            self._fleet, self._versions = fleet, fleet.versions
            for row in rows:
                self._compare(row, fleet.versions[row], fleet, at_s)
        return self.replaced.look(at_s)

    def _compare(self, row: int, versions: Versions, fleet: Fleet, at_s: float) -> None:
        held = self._held[row]
        if not versions or (len(versions) == len(held) == 1 and versions[0][0] in held):
            return  # where nothing is ready, nothing is known
        now, count = {version: share * int(fleet.ready[row]) for version, share in versions}, float(fleet.current[row])
        if not held:
            self._take(row, now)
            return
        after = _followed(dict.fromkeys(held, count) if len(held) == 1 else held, now, count)
        if after is None:
            self.replaced.mark(row, at_s)
        self._take(row, now if after is None else after)

    def _take(self, row: int, held: dict[str, float]) -> None:
        self._held[row] = held
        (self._several.add if len(held) > 1 else self._several.discard)(row)

    def _hold(self, held: list[dict[str, float]]) -> None:
        self._held = held
        self._several = {row for row, one in enumerate(held) if len(one) > 1}
        self._fleet = self._versions = None

    def recall(self, row: int, replaced_at_s: float, at_s: float) -> None:
        """What a status remembers; a clock that was ahead of ours holds no longer than a replacement now."""
        self.replaced.mark(row, min(replaced_at_s, at_s))

    def memory(self, row: int, at_s: float) -> float | None:
        """What the status should remember: when a replica was last replaced, None where nothing is held by that any more."""
        replaced_at_s = float(self.replaced.at_s[row])
        return replaced_at_s if at_s - replaced_at_s < SETTLES_S else None

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.replaced.shift(by_s)

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"replaced_at_s": self.replaced.save(), "held": [[list(pair) for pair in one.items()] for one in self._held]}

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of as many services."""
        self.replaced.load(state["replaced_at_s"])
        self._hold([{str(version): float(count) for version, count in one} for one in state["held"]])


def version_words(versions: Sequence[Sequence[Any]]) -> str:
    """Versions (pairs as in ``Versions``) and their shares, "" where nothing is known."""
    shares = sorted(versions, key=lambda pair: -pair[1])
    return " and ".join(f"{share:.0%} of version {version or 'unknown'}" for version, share in shares)


def _followed(held: Mapping[str, float], now: Mapping[str, float], count: float) -> dict[str, float] | None:
    """What is held, with what the count explains of what has changed (of each version in proportion to its change); None where one
    version has gained what another has lost."""
    changes = {version: now.get(version, 0.0) - held.get(version, 0.0) for version in sorted({*held, *now})}
    gained = sum(by for by in changes.values() if by > 0.0)
    lost = -sum(by for by in changes.values() if by < 0.0)
    missing = count - sum(held.values())
    came, went = min(gained, max(missing, 0.0)), min(lost, max(-missing, 0.0))
    if min(gained - came, lost - went) >= _ONE:
        return None
    part = {True: came / gained if gained else 0.0, False: went / lost if lost else 0.0}
    after = {version: held.get(version, 0.0) + part[by > 0.0] * by for version, by in changes.items()}
    return {version: there for version, there in after.items() if there > 1.0 - _ONE}
