"""Where it went wrong: the spans of ten minutes in which the most requests waited for too long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Ticks first…last (exclusive), the requests that came in them and waited too long, and the tick with the most of those."""

    first: int
    last: int
    late: float
    peak: int


def worst_spans(late_by_tick: Floats, ticks_a_span: int, from_tick: int, most: int = 3) -> list[Span]:
    """The worst spans from from_tick on, the worst first; they don't overlap. Empty where nobody waited too long."""
    late = late_by_tick.copy()
    late[:from_tick] = 0.0
    spans: list[Span] = []
    while len(spans) < most and late.sum() > 1e-6:
        total = np.concatenate([[0.0], np.cumsum(late)])
        width = min(ticks_a_span, len(late))
        sums = total[width:] - total[:-width]
        first = int(sums.argmax())
        part = late[first : first + width]
        if part.sum() <= 1e-6:
            break
        # Begin where the trouble begins.
        first += int(np.flatnonzero(part > 0)[0])
        last = min(first + width, len(late))
        spans.append(
            Span(first=first, last=last, late=float(late[first:last].sum()), peak=first + int(late[first:last].argmax()))
        )
        late[first:last] = 0.0
    return spans
