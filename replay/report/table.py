"""The comparison for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

OPEN_LOOP: Final = "it holds no demand: only the replicas that each policy would have run can be told, not whom they kept waiting"


def comparison_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """One block a trace, one line a policy, in the order given; columns that nobody has a number for are left out."""
    blocks = []
    for trace in dict.fromkeys(score["trace"] for score in scores):
        blocks.append(_block(trace, [score for score in scores if score["trace"] == trace]))
    return "\n".join(blocks)


def optimum_words(optimum: Mapping[str, Any], promised_ratio: float) -> str:
    """The clairvoyant schedule's figures in a sentence."""
    words = f"optimum: {optimum['replica_hours']:,.1f} replica hours for {optimum['attained_ratio']:.3%}"
    if optimum["attained_ratio"] < promised_ratio:
        return f"{words}: not even knowing the traffic beforehand keeps the promise here"
    words = f"{words} (no schedule that keeps the promise needs less than {optimum['lower_bound_replica_hours']:,.1f})"
    if (bound := optimum.get("lower_bound_node_slot_hours")) is None:
        return words
    return f"{words}; {optimum['node_slot_hours']:,.1f} node slot hours (none needs less than {bound:,.1f})"


def _block(trace: str, scores: Sequence[Mapping[str, Any]]) -> str:
    first = scores[0]
    priced = any(score["cost"] is not None for score in scores)
    optimum = first["optimum"]
    bounded = any(score.get("node_bound_ratio") is not None for score in scores)
    told = any(score.get("idle_accelerator_hours") is not None for score in scores)
    header = [
        "policy",
        "attained",
        "",
        "replica h",
        *(["÷ optimum"] if optimum else []),
        "node h",
        *(["slots ÷ bound"] if bounded else []),
        *(["idle h"] if told else []),
        *(["cost"] if priced else []),
    ]
    further = [(key, name) for key, name in (("ttft_s", "p99 ttft"), ("latency_s", "p99 latency")) if key in first]
    header += ["actions/h", "p99 wait", *(name for _, name in further)]
    rows = []
    for score in scores:
        row = [score["policy"], *_attained(score), f"{score['replica_hours']:.1f}"]
        if optimum:
            row.append("" if score["cost_ratio"] is None else f"{score['cost_ratio']:.3f}")
        row.append(f"{score['node_hours']:.1f}")
        if bounded:
            ratio = score.get("node_bound_ratio")
            row.append("" if ratio is None else f"{ratio:.3f}")
        if told:
            idle_h = score.get("idle_accelerator_hours")
            row.append("" if idle_h is None else f"{idle_h:.1f}")
        if priced:
            row.append("" if score["cost"] is None else f"{score['cost']:.2f}")
        took = (f"{score[key]['p99']:.1f} s" for key, _ in further)
        wait = "" if score["wait_s"] is None else f"{score['wait_s']['p99']:.0f} s"
        rows.append([*row, f"{score['actions_per_h']:.1f}", wait, *took])
    judged = first["attained_ratio"] is not None
    aim = f"{first['promised_ratio']:.2%} promised" if judged else "open loop"
    title = f"{trace}: {aim}, {first['evaluated_s'] / 3600:.1f} h"
    lines = [title, *_aligned([header, *rows])]
    if not judged:
        lines.append(f"  {OPEN_LOOP}")
    if optimum:
        lines.append(f"  {optimum_words(optimum, first['promised_ratio'])}")
    return "\n".join(lines) + "\n"


def _attained(score: Mapping[str, Any]) -> tuple[str, str]:
    """What was attained, and whether that is what was promised. Nothing can be told of an open loop, nor where no request came."""
    attained = score["attained_ratio"]
    if attained is None:
        return "", ""
    if not score["requests"]:
        return "", "no requests"
    return f"{attained:.3%}", "kept" if attained >= score["promised_ratio"] else "NOT kept"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Texts to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def regret_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Each loop's candidates below what ran, and what each would have saved."""
    priced = any(score["regret_cost"] is not None for score in scores)
    blocks = []
    for loop, title in (
        ("closed", "simulated on the recorded demand"),
        ("open", "decisions beside the controller, not simulated"),
    ):
        meant = [score for score in scores if score["loop"] == loop]
        if not meant:
            continue
        rows = [["policy", "attained", "", "replica h", "saved", *(["cost", "saved"] if priced else []), "changes/h"]]
        for score in meant:
            row = [score["policy"], *_attained(score), f"{score['replica_hours']:.1f}"]
            row.append(f"{score['regret_replica_hours']:+.1f}")
            if priced:
                row += ["", ""] if score["regret_cost"] is None else [f"{score['cost']:.2f}", f"{score['regret_cost']:+.2f}"]
            rows.append([*row, f"{score['actions_per_h']:.1f}"])
        blocks.append("\n".join([f"{title}, {meant[0]['evaluated_s'] / 3600:.1f} h", *_aligned(rows)]) + "\n")
    return "\n".join(blocks) + "\n"
