"""How long a node that nobody needs now is kept: by what it is worth, not by a fixed time.

A spare node costs its price for as long as it stands. Let go, it has to be ordered again when replicas come back, and they then wait for its
lead time. Over one lead time the price of keeping the m-th spare node is price × lead time, and what letting it go costs is late_ratio × price
× lead time with the probability that m more nodes are needed within that time. So it is kept while that probability is above
1 ÷ (1 + late_ratio): the newsvendor's critical ratio (Arrow, Harris and Marschak, Optimal Inventory Policy, 1951). The price cancels out.

The probability is how often it was so, in the pool's own last lead times. Of what is not known it is taken to be so: after a start everything
is kept until late_ratio lead times were seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints

EVERYTHING: Final = 1 << 40
"""Spare nodes where too little is known to let any go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolDown:
    """The rule's numbers.

    late_ratio: what replicas that wait for a node for its lead time cost, in that node's price for the same time. lead_times: how many are looked
    back. step_s: a pool's need is remembered once in so many seconds, the most of it.
    """

    late_ratio: float = 8.0
    lead_times: int = 48
    step_s: float = 60.0

    @property
    def threshold_ratio(self) -> float:
        """A spare node is worth its price where it is needed within a lead time more often than this."""
        return 1.0 / (1.0 + self.late_ratio)


DEFAULTS: Final = CoolDown()


def worth_keeping(needed: Floats, steps: int, rule: CoolDown = DEFAULTS) -> int:
    """Spare nodes of one pool that are worth keeping.

    needed (t,): nodes that it needed at the end of each step, the oldest first; steps: its lead time. ``EVERYTHING`` while too few are known.
    """
    steps = max(steps, 1)
    needed = needed[-(rule.lead_times + 1) * steps :]
    starts = len(needed) - steps
    if starts < 1:
        return EVERYTHING
    growth = _most_within(needed, steps) - needed[:starts]
    seen = starts / steps
    # (often × seen + 1) ÷ (seen + 1) > threshold, solved for how often it has to have been: one lead time that nobody saw counts as a need.
    often = (rule.threshold_ratio * (seen + 1.0) - 1.0) / seen
    if often < 0.0:
        return EVERYTHING
    falling = np.sort(growth)[::-1]
    place = int(often * starts)
    return max(int(np.ceil(falling[place])), 0) if place < starts else 0


def _most_within(needed: Floats, steps: int) -> Floats:
    """(t − steps,): the most of needed[i + 1 … i + steps] for each i. By doubling, so that it takes log₂ steps passes."""
    found, width = needed[1:], 1
    while 2 * width <= steps:
        found = np.maximum(found[:-width], found[width:])
        width *= 2
    if width < steps:
        found = np.maximum(found[: len(found) - (steps - width)], found[steps - width :])
    return found[: len(needed) - steps]


def kept_nodes(needed: Ints, standing: Ints, worth: Ints) -> Ints:
    """Nodes by pool (P,): never fewer than `needed` (with the forecast's headroom in it), never more than `standing` but for need, and of the spare
    ones between those that are `worth` keeping."""
    nodes: Ints = np.maximum(needed, np.minimum(standing, needed + worth))
    return nodes


class NodeNeeds:
    """What pools needed lately, and the nodes that they were given; by name. Small: a float a step and pool, `lead_times` of its lead time."""

    def __init__(self, rule: CoolDown = DEFAULTS) -> None:
        self.rule = rule
        self._step: int | None = None
        self._needed: dict[str, list[int]] = {}
        self._worth: dict[str, int] = {}
        self._standing: dict[str, int] = {}

    def keep(self, at_s: float, names: Sequence[str], needed: Ints, lead_s: Floats, late_ratios: Sequence[float]) -> Ints:
        """Nodes by pool (P,) at `at_s` (Unix seconds, rising), of what is needed now and a node's lead time: `needed`, and what of the nodes that
        this gave before is worth keeping. Remembers both. late_ratios: each pool's own, in the place of the rule's."""
        step = int(at_s // self.rule.step_s)
        last = step if self._step is None else self._step
        moved = max(step - last, 0)
        self._step = last + moved
        for gone in self._needed.keys() - set(names):
            del self._needed[gone]
        self._worth = {name: worth for name, worth in self._worth.items() if name in self._needed}
        for name, count, seconds, ratio in zip(names, needed.tolist(), lead_s.tolist(), late_ratios, strict=True):
            steps = max(int(np.ceil(seconds / self.rule.step_s)), 1)
            self._take(name, count, steps, moved)
            if moved or name not in self._worth:
                self._worth[name] = worth_keeping(
                    np.asarray(self._needed[name], dtype=np.float64), steps, replace(self.rule, late_ratio=ratio)
                )
        standing = np.array([self._standing.get(name, 0) for name in names], dtype=np.int64)
        nodes = kept_nodes(needed, standing, np.array([self._worth[name] for name in names], dtype=np.int64))
        self._standing = dict(zip(names, nodes.tolist(), strict=True))
        return nodes

    def standing(self, nodes: Mapping[str, int]) -> None:
        """Nodes that are there by pool, after a start: those beyond the need aren't let go before it is known whether they are worth it."""
        self._standing = {**nodes, **self._standing}

    def shift(self, by_s: float) -> None:
        """The wall clock was set by `by_s`."""
        if self._step is not None:
            self._step += round(by_s / self.rule.step_s)

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"step": self._step, "needed": self._needed, "worth": self._worth, "standing": self._standing}

    def load(self, state: Mapping[str, Any]) -> None:
        """What ``save`` gave."""
        self._step = state["step"]
        self._needed = {name: list(needed) for name, needed in state["needed"].items()}
        self._worth, self._standing = dict(state["worth"]), dict(state["standing"])

    def __bool__(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._needed)

    def worth(self, name: str) -> int:
        """Spare nodes of the pool that are worth keeping, as of the last step."""
        return self._worth.get(name, EVERYTHING)

    def _take(self, name: str, count: int, steps: int, moved: int) -> None:
        known = self._needed.setdefault(name, [])
        if not known:
            known.append(count)
        elif not moved:
            known[-1] = max(known[-1], count)
        else:
            # Steps without a tick: as before.
            known.extend([known[-1]] * min(moved - 1, (self.rule.lead_times + 1) * steps))
            known.append(count)
        del known[: -(self.rule.lead_times + 1) * steps]


def words(spare: int, worth: int, lead_s: float, rule: CoolDown = DEFAULTS) -> str:
    """Why `spare` nodes beyond the need are kept."""
    who = f"{spare} spare {'node' if spare == 1 else 'nodes'} kept"
    if worth >= EVERYTHING:
        times = "lead time" if rule.late_ratio == 1.0 else "lead times"
        return f"{who} until {rule.late_ratio:g} {times} of {lead_s:.0f} s {'was' if rule.late_ratio == 1.0 else 'were'} seen"
    return (
        f"{who}: in more than {rule.threshold_ratio:.0%} of the last lead times ({lead_s:.0f} s each) {worth} more "
        f"{'was' if worth == 1 else 'were'} needed within one, so ordering again would cost more than keeping"
    )
