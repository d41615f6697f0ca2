"""The result for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from replay.tune.result import Judged, Tuned
from replay.tune.trial import Trial, cost_of, needed_ratio

_MOST_ROWS: Final = 10


def words(tuned: Tuned) -> str:
    """The front, and tuned beside untuned on both parts."""
    unit = "cost" if tuned.money else "replica h"
    pruned = sum(trial.pruned for trial in tuned.trials)
    needed = needed_ratio(tuned.promised_ratio, tuned.margin_ratio)
    return "\n".join(
        [
            f"{tuned.service}: {len(tuned.trials)} candidates{f', {pruned} left behind early' if pruned else ''}; "
            f"{tuned.promised_ratio:.2%} promised, {needed:.3%} wanted in training",
            "",
            f"What nobody beats in training (★ is taken: {_why(tuned, needed)}):",
            *_front(tuned, f"{unit}/h"),
            "",
            *_parts(tuned, unit),
            "",
            *(
                f"  {name}: {value:g}" if isinstance(value, float) else f"  {name}: {value}"
                for name, value in tuned.values.items()
            ),
        ]
    )


def _why(tuned: Tuned, needed: float) -> str:
    """Why the chosen one was chosen, as ``front.chosen`` chooses."""
    one = tuned.chosen.standing
    assert one is not None
    if one.attained_ratio >= needed:
        return f"the cheapest with {needed:.3%}"
    if one.attained_ratio >= tuned.promised_ratio:
        return f"the cheapest that keeps the promise; none attains {needed:.3%}"
    return "what attains most; none keeps the promise"


def _front(tuned: Tuned, unit: str) -> list[str]:
    names = [knob.name for knob in tuned.space.knobs]
    short = [name.rpartition(".")[2] for name in names]
    heads = [one if short.count(one) == 1 else name for one, name in zip(short, names, strict=True)]
    rows = [["", unit, "attained", "actions/h", *heads]]
    shown = _thinned(tuned)
    for trial in shown:
        one = trial.standing
        assert one is not None
        values = [trial.values[name] for name in names]
        rows.append(
            [
                "★" if trial.number == tuned.chosen.number else "",
                f"{one.cost_per_h:.3f}",
                f"{one.attained_ratio:.3%}",
                f"{one.actions_per_h:.2f}",
                *(f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in values),
            ]
        )
    left = len(tuned.front) - _MOST_ROWS
    return [*_aligned(rows), *([f"  … and {left} more (--json shows all)"] if left > 0 else [])]


def _thinned(tuned: Tuned) -> list[Trial]:
    """The cheapest of the front, and the chosen one whatever its place."""
    shown = list(tuned.front[:_MOST_ROWS])
    return shown if tuned.chosen in shown else [*shown, tuned.chosen]


def _parts(tuned: Tuned, unit: str) -> list[str]:
    rows = [["", "", unit, "attained", "", "actions/h", "saved"]]
    for part, title in (("training", "training"), ("held_out", "held out")):
        for place, trace in enumerate(tuned.traces):
            for name, judged in (("untuned", tuned.untuned), ("tuned", tuned.tuned)):
                rows.append([f"{title}, {trace}" if name == "untuned" else "", name, *_figures(judged, part, place, tuned)])
    return _aligned(rows)


def _figures(judged: Judged, part: str, place: int, tuned: Tuned) -> Sequence[str]:
    score = getattr(judged, part)[place]
    cost, before = (cost_of(one, tuned.money) for one in (score, getattr(tuned.untuned, part)[place]))
    kept = "kept" if score["attained_ratio"] >= score["promised_ratio"] else "NOT kept"
    saved = f"{1 - cost / before:+.1%}" if judged is tuned.tuned and before > 0 else ""
    return f"{cost:.1f}", f"{score['attained_ratio']:.3%}", kept, f"{score['actions_per_h']:.1f}", saved


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = [
        all(not row[column] or row[column].lstrip("+-")[:1].isdigit() for row in rows[1:]) for column in range(len(rows[0]))
    ]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]
