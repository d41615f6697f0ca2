"""What may change a policy's wish, in which order, and in which words.

Each constraint is a pure function from counts (n,) to counts (n,): it returns the very array it was given where it changes nothing.
``ORDER`` at the end of the file is the whole list; read it top to bottom to know what beats what.
Windows and rate limits have HPA v2's words and meaning (kubernetes/api autoscaling/v2, pkg/controller/podautoscaler/horizontal.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoscaler.core.behavior import rate_bound
from autoscaler.core.constant import constant
from autoscaler.core.group import LARGEST
from autoscaler.core.history import History
from autoscaler.core.idle import WORK, Idleness
from autoscaler.core.model import Bools, Direction, Fleet, Floats, Ints, Pause, Readings
from autoscaler.core.rows import chosen, some
from autoscaler.core.seen import all_known, any_unknown
from autoscaler.core.signals import UNKNOWN
from autoscaler.core.sizing import multiples_down, multiples_up
from autoscaler.core.table import RulesGroup, Table
from autoscaler.core.updates import SETTLES_S, version_words

GROWTH_WHILE_STARTING = 2
"""While replicas are starting, a count may grow to this multiple of what demand and backlog justify, or else of what is ready."""
BACKLOG_DRAIN_S = 30.0
"""A backlog is to be worked off within this time (the queueing rule's constant, see ``core.sizing``)."""
SMALLEST_GROWTH = 4
"""…but never held below this count, so that one or two replicas may grow at all (HPA's own floor for scale-ups)."""
_GROWTH = constant(GROWTH_WHILE_STARTING)
_DRAIN_S = constant(BACKLOG_DRAIN_S)

SMALLEST_WISH = 1e-9
"""Less is float noise above zero."""


@dataclass(slots=True, kw_only=True)  # not frozen: one is made every tick, and frozen ones take three times as long
class Context:
    """What constraints look at. All arrays (n,); histories have a column a tick.

    recommended: the policies' wish, NaN where none could tell. last_desired: the last decision, −1 where there is none.
    blind_since_s: since when no policy can tell, NaN where one can. partial: some needed signal is unknown. settling: seen too briefly
    to shrink. updating: replicas were replaced by those of another version lately (None: no such row).
    relative: the wish doesn't count replicas on their way (None: no such row). readings: this tick's signals. idleness: who has work and
    who hasn't (None: nobody may go to zero).
    wishes: past wishes (for the stabilization windows). changes: past changes of `current`, each at the time of the tick that
    made it (for the rate limits).
    """

    at_s: float
    interval_s: float
    fleet: Fleet
    table: Table
    recommended: Floats
    last_desired: Ints
    blind_since_s: Floats
    blind: Bools
    any_blind: bool
    partial: Bools
    any_partial: bool
    settling: Bools | None
    updating: Bools | None
    relative: Bools | None
    any_starting: bool
    any_at_zero: bool
    any_none_ready: bool
    readings: Readings
    idleness: Idleness | None
    wishes: History | None
    changes: History | None


@dataclass(frozen=True, slots=True)
class Constraint:
    """active: a cheap test for the whole fleet. limit: the counts after it. why(context, row, before, after): words for one row."""

    name: str
    active: Callable[[Context], bool]
    limit: Callable[[Context, Ints], Ints]
    why: Callable[[Context, int, int, int], str]


# ---------------------------------------------------------------- blindness


def held(c: Context) -> Ints:
    """The count to keep while blind: the last decision, but never below what runs now (a write that failed isn't repeated blindly)."""
    return np.maximum(c.last_desired, c.fleet.current)


def _fallback(c: Context, counts: Ints) -> Ints:
    late = c.blind & (c.at_s - c.blind_since_s >= c.table.fallback_after_s)
    after = counts
    for row in np.flatnonzero(late):
        fallback = c.table.specs[row].fallback
        if fallback.action == "Hold" or fallback.replicas is None:
            continue
        wanted = fallback.replicas if fallback.action == "Exactly" else max(int(counts[row]), fallback.replicas)
        if wanted != counts[row]:
            after = counts.copy() if after is counts else after
            after[row] = wanted
    return after


def _fallback_why(c: Context, row: int, _before: int, after: int) -> str:
    fallback = c.table.specs[row].fallback
    since = c.at_s - float(c.blind_since_s[row])
    words = "at least" if fallback.action == "AtLeast" else "exactly"
    return f"signals unknown for {since:.0f} s, longer than {fallback.after_s:.0f} s: the manifest's fallback is {words} {after}"


def _keep_when_partial(c: Context, counts: Ints) -> Ints:
    # A blind row is the hold's and the fallback's business; here some policies could tell, others could not.
    return np.where(c.partial & ~c.blind, np.maximum(counts, c.fleet.current), counts)


def _keep_while_settling(c: Context, counts: Ints) -> Ints:
    assert c.settling is not None
    return np.where(c.settling, np.maximum(counts, c.fleet.current), counts)


def _keep_while_updating(c: Context, counts: Ints) -> Ints:
    assert c.updating is not None
    # A blind row's count is the hold's and the fallback's business.
    return np.where(c.updating & ~c.blind, np.maximum(counts, c.fleet.current), counts)


def _keep_while_updating_why(c: Context, row: int, before: int, after: int) -> str:
    versions = version_words(c.fleet.versions[row]) if c.fleet.versions is not None else ""
    return (
        f"the target is being updated (ready are {versions or 'none'}) and signals mix what leaves with what comes: "
        f"no scale-down to {before} within {SETTLES_S:.0f} s after a replacement, {after} stay"
    )


# ---------------------------------------------------------------- coming capacity


def _known(c: Context, signal: str) -> Floats | None:
    """A signal's values now, (n,): NaN where unknown; None where nobody read it."""
    column = c.readings.signals.get(signal)
    if column is None:
        return None
    return column.values if all_known(column.state) else np.where(column.state == UNKNOWN, np.nan, column.values)


def _justified(c: Context) -> Floats:
    """Replicas that the demand and a timely end of the backlog need, (n,); NaN where not known."""
    demand_per_s, backlog = _known(c, "demand"), _known(c, "queue")
    if demand_per_s is None:
        return np.full(len(c.table), np.nan)
    if backlog is None:
        return np.ceil(demand_per_s / c.table.capacity_per_s)
    queue = np.where(np.isnan(backlog), 0.0, backlog) if any_unknown(backlog) else backlog
    return np.ceil((demand_per_s + queue / _DRAIN_S) / c.table.capacity_per_s)


def _starting_cap(c: Context) -> Floats:
    cap = _GROWTH * _justified(c)
    if any_unknown(cap):
        cap = np.where(np.isnan(cap), np.maximum(GROWTH_WHILE_STARTING * c.fleet.ready, SMALLEST_GROWTH), cap)
    return np.maximum(cap, c.fleet.current)


def _count_starting(c: Context, counts: Ints) -> Ints:
    growing = counts > c.fleet.current
    if not some(growing):
        return counts
    # Of an update's making is what waits because replicas are missing that were there before it, whatever the policy reckons with.
    held = c.table.nowhere if c.relative is None else c.relative
    held = held if c.updating is None else held | c.updating
    applies = growing & held & (c.fleet.starting > 0)
    if not some(applies):
        return counts
    capped: Ints = chosen(applies, np.minimum(counts, _starting_cap(c)).astype(np.int64), counts)
    return capped


def _count_starting_why(c: Context, row: int, before: int, after: int) -> str:
    justified = _justified(c)[row]
    basis = (
        f"demand and backlog justify {justified:.0f}"
        if not np.isnan(justified)
        else f"{int(c.fleet.ready[row])} ready (demand or capacity not known)"
    )
    return (
        f"{int(c.fleet.starting[row])} replicas are still starting and count as coming capacity: "
        f"{after} instead of {before}, at most {GROWTH_WHILE_STARTING} × what {basis}"
    )


# ---------------------------------------------------------------- HPA v2: stabilization windows


def _stabilize(c: Context, counts: Ints) -> Ints:
    """HPA v2: the count stays between the lowest wish of the up window and the highest wish of the down window."""
    current = c.fleet.current
    if not some(counts != current):
        return counts
    low = _over_window(c, counts, c.table.up, lowest=True)
    high = _over_window(c, counts, c.table.down, lowest=False)
    after = np.minimum(np.maximum(current, low), high)
    # Blind rows aren't wishes: their hold or fallback stands.
    return np.where(c.blind, counts, after) if c.any_blind else after


def _over_window(c: Context, counts: Ints, groups: tuple[RulesGroup, ...], *, lowest: bool) -> Ints:
    assert c.wishes is not None
    result = counts
    pick = np.fmin if lowest else np.fmax
    for group in groups:
        if group.rules.stabilization_s <= 0:
            continue
        past = c.wishes.since(c.at_s - group.rules.stabilization_s)
        if past.shape[1] == 0:
            continue
        if group.rows is None:
            return pick(pick.reduce(past, axis=1), counts).astype(np.int64)
        result = counts.copy() if result is counts else result
        result[group.rows] = pick(pick.reduce(past[group.rows], axis=1), counts[group.rows])
    return result


def _rules_of(c: Context, groups: tuple[RulesGroup, ...], row: int) -> RulesGroup:
    return next(group for group in groups if group.rows is None or row in group.rows)


def _stabilize_why(c: Context, row: int, before: int, after: int) -> str:
    growing = before > c.fleet.current[row]
    group = _rules_of(c, c.table.up if growing else c.table.down, row)
    extreme = "lowest" if growing else "highest"
    return f"the {extreme} recommendation of the last {group.rules.stabilization_s:.0f} s is {after}, not {before}"


# ---------------------------------------------------------------- HPA v2: rate limits


def _limit_rate(c: Context, counts: Ints) -> Ints:
    if not some(counts != c.fleet.current):
        return counts
    up = _rate_bound(c, c.table.up, up=True)
    down = _rate_bound(c, c.table.down, up=False)
    limited = np.minimum(np.maximum(counts, down), up)
    return np.where(c.blind, counts, limited).astype(np.int64) if c.any_blind else limited.astype(np.int64)


def _rate_bound(c: Context, groups: tuple[RulesGroup, ...], *, up: bool) -> Floats:
    bound = np.full(len(c.table), np.inf if up else -np.inf)
    for group in groups:
        rows = slice(None) if group.rows is None else group.rows
        limit = rate_bound(c.fleet.current[rows], partial(_changed_since, c, rows), group.rules, up=up)
        if limit is not None:
            bound[rows] = limit
    return bound


def _changed_since(c: Context, rows: Ints | slice, period_s: float) -> Floats | float:
    """What was added less what was removed within the period. The change of the last tick itself lies a whole interval back, as in HPA,
    whose syncs are never closer than its period."""
    if period_s <= c.interval_s or c.changes is None:
        return 0.0
    added: Floats = np.nansum(c.changes.since(c.at_s - period_s)[rows], axis=1)
    return added


def _limit_rate_why(c: Context, row: int, before: int, after: int) -> str:
    growing = before > after
    rules = _rules_of(c, c.table.up if growing else c.table.down, row).rules
    if rules.select == "Disabled":
        return f"{'growing' if growing else 'shrinking'} is disabled in the manifest's behavior: {after}, not {before}"
    words = ", ".join(f"{p.value}{' %' if p.kind == 'Percent' else ' pods'} in {p.period_s:.0f} s" for p in rules.policies)
    return f"behavior allows {'up' if growing else 'down'} to {after} now ({rules.select} of {words}), not {before}"


# ---------------------------------------------------------------- draining


def _empty_nodes(c: Context, counts: Ints) -> Ints:
    each = c.table.per_node(c.fleet.pools)
    whole = np.minimum(multiples_up(counts, each), c.fleet.current)
    return np.where((counts < c.fleet.current) & ~c.blind, whole, counts)


def _empty_nodes_why(c: Context, row: int, before: int, after: int) -> str:
    each = int(c.table.per_node(c.fleet.pools)[row])
    return f"{each} replicas fill a node, and one that stays for {before} has room for {after}: none leave before they empty it"


def _limit_drain(c: Context, counts: Ints) -> Ints:
    room = np.maximum(c.table.drain_max - c.fleet.draining, 0)
    floor = np.where(c.table.drain_max > 0, c.fleet.current - room, 0)
    return np.where(counts < c.fleet.current, np.maximum(counts, floor), counts)


def _limit_drain_why(c: Context, row: int, before: int, after: int) -> str:
    return f"at most {int(c.table.drain_max[row])} replicas may drain at once and {int(c.fleet.draining[row])} do: {after}, not {before}"


# ---------------------------------------------------------------- to zero and back


def _stay_until_idle(c: Context, counts: Ints) -> Ints:
    """The last replica goes only from a service that is known to be idle for long enough. A blind row's count is the hold's and the
    fallback's business, who is at zero stays there."""
    assert c.idleness is not None
    last = (counts == 0) & (c.fleet.current > 0) & c.table.sleeps & ~c.blind
    kept: Ints = chosen(last & ~c.idleness.enough, np.maximum(counts, 1), counts)
    return kept


def _stay_until_idle_why(c: Context, row: int, _before: int, after: int) -> str:
    assert c.idleness is not None
    for_s, after_s = float(c.idleness.for_s[row]), float(c.table.idle_after_s[row])
    if c.idleness.work[row]:
        return f"it has work ({_work_words(c, row)}): {after} stays"
    known = f"known to be idle for {for_s:.0f} s, idle.after is {after_s:.0f} s"
    if not c.idleness.none[row]:
        return f"whether it is idle is not known now, and that time does not count ({known}): {after} stays"
    return f"{known}: {after} stays until then"


def _wake(c: Context, counts: Ints) -> Ints:
    """Where nothing is ready, the work that arrives is worth what it needs at once, whatever windows and rates say: they are for a service
    that runs. A policy's wish, such as a forecast's, wakes as well."""
    assert c.idleness is not None
    nothing = c.table.wakes & (c.fleet.ready == 0)
    arriving = nothing & c.idleness.arriving
    wished = nothing & (c.fleet.current == 0) & (c.recommended > SMALLEST_WISH)
    if not some(arriving | wished):
        return counts
    least = np.where(arriving, _needed_from_zero(c), np.where(wished, 1.0, 0.0)).astype(np.int64)
    woken: Ints = chosen(least > counts, np.maximum(least, counts), counts)
    return woken


def _needed_from_zero(c: Context) -> Floats:
    """What demand and backlog need, (n,), at least 1; without a known capacity, what holds the backlog in its slots."""
    nothing = np.zeros(len(c.table))
    known = {name: column for name in WORK if (column := _known(c, name)) is not None}
    demand_per_s = np.fmax(known.get("demand", nothing), 0.0)
    backlog = np.fmax(np.fmax(known.get("queue", nothing), known.get("concurrency", nothing)), 0.0)
    needed = np.ceil((demand_per_s + backlog / BACKLOG_DRAIN_S) / c.table.capacity_per_s)
    needed = np.where(np.isnan(needed), np.ceil(backlog / c.table.slots), needed)
    return np.minimum(np.maximum(needed, 1.0), LARGEST)


def _wake_why(c: Context, row: int, before: int, after: int) -> str:
    assert c.idleness is not None
    if not c.idleness.arriving[row]:
        return f"a policy wishes {float(c.recommended[row]):.3g} and nothing runs: {after} at once, not {before}"
    return f"nothing is ready and there is work ({_work_words(c, row)}): {after} at once, not {before}"


def _work_words(c: Context, row: int) -> str:
    """Which signals tell of work, with their values."""
    units = {
        "demand": "demand {:.3g}/s",
        "queue": "{:.3g} waiting",
        "running": "{:.3g} running",
        "concurrency": "{:.3g} in flight",
    }
    columns = {name: _known(c, name) for name in WORK}
    said = [units[name].format(float(column[row])) for name, column in columns.items() if column is not None and column[row] > 0]
    return ", ".join(said)


# ---------------------------------------------------------------- bounds


def _bound(c: Context, counts: Ints) -> Ints:
    return np.minimum(np.maximum(counts, c.table.min_replicas), c.table.max_replicas)


def _bound_why(c: Context, row: int, before: int, after: int) -> str:
    schedule = c.table.schedule_in_force(row)
    where = f" (schedule '{schedule}')" if schedule else ""
    return f"{'minReplicas' if after > before else 'maxReplicas'} is {after}{where}, not {before}"


def _round_to_multiple(c: Context, counts: Ints) -> Ints:
    multiple = c.table.multiple
    up = multiples_up(counts, multiple)
    return np.where(up > c.table.max_replicas, multiples_down(c.table.max_replicas, multiple), up)


# ---------------------------------------------------------------- standing still


def _stay_at_zero(c: Context, counts: Ints) -> Ints:
    # Where the lower bound can be 0 we scaled to zero ourselves, and work, a wish or a schedule's minimum wakes the service.
    return np.where((c.fleet.current == 0) & ~c.table.may_be_zero, 0, counts)


def pauses_of(c: Context, row: int) -> tuple[Pause, ...]:
    """The pauses in force for a row: the cluster's and its own. Both hold; a pause in one direction lifts none in the other."""
    return tuple(pause for pause in (c.fleet.paused, c.table.pauses.get(row)) if pause is not None and pause.in_force(c.at_s))


def _stopped(direction: Direction, counts: Ints, current: Ints) -> Ints:
    if direction == "Both":
        return current
    return np.minimum(counts, current) if direction == "Up" else np.maximum(counts, current)


def _pause(c: Context, counts: Ints) -> Ints:
    current = c.fleet.current
    after = counts
    if c.fleet.paused is not None and c.fleet.paused.in_force(c.at_s):
        after = _stopped(c.fleet.paused.direction, counts, current)
    for row, pause in c.table.pauses.items():
        if pause.in_force(c.at_s):
            after = after.copy() if after is counts or after is current else after
            after[row] = _stopped(pause.direction, after[row : row + 1], current[row : row + 1])[0]
    return after


def _pause_why(c: Context, row: int, before: int, after: int) -> str:
    what = {"Both": "changes", "Up": "growing", "Down": "shrinking"}
    words = [
        f"{what[pause.direction]} paused for {'the whole cluster' if pause is c.fleet.paused else 'this object'}"
        f"{': ' + pause.reason if pause.reason else ''}"
        for pause in pauses_of(c, row)
    ]
    return f"{' and '.join(words)}: {after}, not {before}"


# ---------------------------------------------------------------- room to grow, for what is added after all of them


def may_not_grow(c: Context) -> Bools:
    """Where a person's word forbids it, (n,): a pause, or a target that was set to 0 although minReplicas is higher."""
    one_more = c.fleet.current + 1
    stopped: Bools = _pause(c, _stay_at_zero(c, one_more)) < one_more
    return stopped


def rate_room(c: Context) -> Floats:
    """The count that behavior's rates let each service grow to now, (n,)."""
    return _rate_bound(c, c.table.up, up=True)


STABILIZED = Constraint("Stabilized", lambda c: c.table.stabilizes and c.wishes is not None, _stabilize, _stabilize_why)

ORDER: tuple[Constraint, ...] = (
    # Blind for too long: what the manifest says for that case. (The hold before it is where a blind row starts from.)
    Constraint("Fallback", lambda c: c.any_blind, _fallback, _fallback_why),
    # Some of the needed signals are unknown: growing on the healthy ones is fine, shrinking is not.
    Constraint(
        "PartialData",
        lambda c: c.any_partial,
        _keep_when_partial,
        lambda _c, _row, before, after: f"some signals are unknown: no scale-down to {before} on partial data, {after} stay",
    ),
    # Met moments ago (a restart, a new leader, a new object) and the past could not be learnt: wait with shrinking.
    Constraint(
        "Settling",
        lambda c: c.settling is not None,
        _keep_while_settling,
        lambda _c, _row, before, after: (
            f"seen too briefly to scale down to {before}: {after} stay until the history is long enough"
        ),
    ),
    # Replicas of another version take the place of those that are there: what is seen meanwhile is no reason to take any away.
    Constraint("Updating", lambda c: c.updating is not None, _keep_while_updating, _keep_while_updating_why),
    # Before the windows, so that a wish that only grows because help is late does not enter them as it is.
    Constraint(
        "StartingReplicas",
        lambda c: c.any_starting and (c.relative is not None or c.updating is not None),
        _count_starting,
        _count_starting_why,
    ),
    # HPA v2, in its order: windows, then rates.
    STABILIZED,
    # Before the limits on how many may go at once, which are met on the way to a node that is to be emptied.
    Constraint("WholeNodes", lambda c: c.table.empties_nodes, _empty_nodes, _empty_nodes_why),
    Constraint("RateLimit", lambda c: c.table.limits_rate, _limit_rate, _limit_rate_why),
    # Leaving replicas finish their work: only so many at once.
    Constraint("DrainLimit", lambda c: c.table.has_drain_limit, _limit_drain, _limit_drain_why),
    # To zero only from where idleness is known for long enough; and back past windows and rates, since nobody is served meanwhile. Before
    # the bounds, so that what wakes keeps to them.
    Constraint("ScaleToZero", lambda c: c.idleness is not None, _stay_until_idle, _stay_until_idle_why),
    Constraint("ScaleFromZero", lambda c: c.idleness is not None and c.any_none_ready, _wake, _wake_why),
    # Bounds beat windows and rates, as in HPA: a count outside them is corrected at once.
    Constraint("Bounds", lambda _c: True, _bound, _bound_why),
    Constraint(
        "ReplicaMultiple",
        lambda c: c.table.has_multiple,
        _round_to_multiple,
        lambda c, row, before, after: f"replicas come in multiples of {int(c.table.multiple[row])}: {after}, not {before}",
    ),
    # As HPA: somebody set the target to 0 although minReplicas is higher: scaling is switched off for it.
    Constraint(
        "ScalingDisabled",
        lambda c: c.any_at_zero and c.table.has_zero_guard,
        _stay_at_zero,
        lambda _c, _row, before, _after: f"the target was set to 0 replicas, which switches its scaling off (not {before})",
    ),
    # A pause beats everything: it is a person's word.
    Constraint("Paused", lambda c: bool(c.table.pauses) or c.fleet.paused is not None, _pause, _pause_why),
)
