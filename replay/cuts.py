"""What the joint plan took from whom: by service and by the limit that did (a full pool, a quota, the budget of changes), since the warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autoscaler.core.model import Fleet, Plan

_HOUR_S: Final = 3600.0


@dataclass(slots=True)
class Cut:
    """replica_s: replicas wished and not planned, times how long. lasted_s: how long. most: replicas at once; why: the limit's words when it
    first took so many. made_room: replicas that ran and were told to leave for others."""

    replica_s: float = 0.0
    lasted_s: float = 0.0
    most: int = 0
    made_room: int = 0
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "replica_hours": round(self.replica_s / _HOUR_S, 6),
            "hours": round(self.lasted_s / _HOUR_S, 6),
            "most": self.most,
            "made_room": self.made_room,
            "why": self.why,
        }


class Cuts:
    """Of n services, by the limit's name."""

    def __init__(self, n: int) -> None:
        self.by_row: list[dict[str, Cut]] = [{} for _ in range(n)]

    def add(self, fleet: Fleet, plan: Plan, lasts_s: float) -> None:
        """A tick's; it holds until the next one."""
        for row, limit in plan.limits.items():
            taken = limit.before - limit.after
            if taken <= 0:
                continue
            cut = self.by_row[row].setdefault(limit.name, Cut())
            cut.replica_s += taken * lasts_s
            cut.lasted_s += lasts_s
            cut.made_room += max(min(fleet.current.item(row), limit.before) - limit.after, 0)
            if taken > cut.most:
                cut.most, cut.why = taken, limit.why


def together(services: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The cuts of several services (by key, as of their scores) as one: sums; `most` and `why` are of the service that lost the most at once."""
    found: dict[str, dict[str, Any]] = {}
    for key, cuts in services.items():
        for name, cut in cuts.items():
            one = found.setdefault(name, Cut().as_json())
            for field in ("replica_hours", "hours", "made_room"):
                one[field] = round(one[field] + cut[field], 6)
            if cut["most"] > one["most"]:
                one |= {"most": cut["most"], "why": f"{key}: {cut['why']}"}
    return found


def told(scores: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was cut from whom, the most first: service, limit, and the cut's fields. scores: of the services, by key."""
    rows = [
        {"service": key, "limit": name, **cut} for key, score in scores.items() for name, cut in (score.get("cuts") or {}).items()
    ]
    return sorted(rows, key=lambda row: -row["replica_hours"])


def cut_words(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each of ``told`` a line."""
    lines = []
    for row in rows:
        room = f"; {row['made_room']} that ran made room" if row["made_room"] else ""
        lines.append(
            f"{row['service']}: {row['limit']} took {row['replica_hours']:.2f} replica hours in {row['hours']:.2f} h, "
            f"{row['most']} at most{room} ({row['why']})"
        )
    return lines
