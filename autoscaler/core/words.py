"""What a tick's decisions say for themselves: words for people, made when somebody asks for a row, valid until the next tick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from autoscaler.core.constraints import Constraint, Context, held
from autoscaler.core.group import Group
from autoscaler.core.model import Ints, Limit, Recommendation


def limits_of(context: Context, steps: Sequence[tuple[Constraint, Ints, Ints]]) -> Callable[[int], tuple[Limit, ...]]:
    """Each constraint that changed a row's count, in their order."""

    def limits(row: int) -> tuple[Limit, ...]:
        found = []
        for constraint, before, after in steps:
            if before[row] != after[row]:
                b, a = int(before[row]), int(after[row])
                found.append(Limit(name=constraint.name, before=b, after=a, why=constraint.why(context, row, b, a)))
        return tuple(found)

    return limits


def reasons_of(
    context: Context,
    wishes: Sequence[tuple[Group, Recommendation]],
    faults: Mapping[int, str],
    objective: Callable[[int], str],
) -> Callable[[int], str]:
    """One sentence a row: whose wish it was and why, and which objective limits a replica. The limits have words of their own."""

    def reason(row: int) -> str:
        if row in faults:
            return faults[row]
        said = [(group, wish, position) for group, wish in wishes for position in group.positions(row)]
        if context.blind[row]:
            since = context.at_s - float(context.blind_since_s[row])
            words = "; ".join(f"{group.name}: {_words(wish, position)}" for group, wish, position in said)
            return f"signals unknown for {since:.0f} s: holding {int(held(context)[row])} ({words})"
        for group, wish, position in said:
            if float(wish.replicas[position]) == float(context.recommended[row]):
                within = objective(row)
                return f"{group.name}: {_words(wish, position)}{f'; {within}' if within else ''}"
        return ""

    return reason


def _words(wish: Recommendation, position: int) -> str:
    try:
        return wish.why(position)
    except Exception as error:  # words are for people; a stranger's fault in them changes no decision
        return f"(its reason failed: {type(error).__name__}: {error})"
