"""Which series of a file stand for which signal, where a file holds series by name (Prometheus exports, OpenMetrics)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from autoscaler.core.signals import SIGNALS
from autoscaler.errors import UsageError

COUNTER_ENDINGS: Final = ("_total", "_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """by_name: series name → signal; only these are read where any are given. "" names series without a name."""

    by_name: dict[str, str] = field(default_factory=dict)


def picks(texts: Sequence[str]) -> Picks:
    """From ``NAME=SIGNAL``, or ``NAME`` for requests (demand). Raises UsageError."""
    found = {}
    for text in texts:
        name, _, signal = text.rpartition("=") if "=" in text else (text, "", "demand")
        if signal not in SIGNALS:
            raise UsageError(f"--metric {text}: '{signal}' is no signal; allowed are {', '.join(SIGNALS)}")
        found[name.strip()] = signal
    return Picks(by_name=found)


class Chooser:
    """Says of each series of one file what it stands for, and at the end whether that was enough.

    Without picks: a series that is called as a signal is that signal; one without a name (what an expression such as
    ``sum(rate(…))`` gives) is the demand; the only counter there is counts requests."""

    def __init__(self, chosen: Picks) -> None:
        self._chosen = chosen.by_name
        self._passed_over: dict[str, None] = {}
        self._counters: dict[str, None] = {}
        self._found = False

    def signal(self, name: str, *, counter: bool) -> str | None:
        """The signal that a series stands for, None to pass it over. Raises ValueError where it can't be told."""
        if self._chosen:
            signal = self._chosen.get(name)
        elif counter:
            self._counters[name] = None
            if len(self._counters) > 1:
                raise ValueError(
                    f"holds several counters ({_few(self._counters)}); say which of them counts requests: "
                    "`replay convert FILE --metric NAME -o TRACE.csv`"
                )
            signal = "demand"
        else:
            signal = name if name in SIGNALS else "demand" if not name else None
        if signal is None:
            if len(self._passed_over) < 1000:
                self._passed_over[name] = None
        else:
            self._found = True
        return signal

    def check(self) -> None:
        """Raises ValueError where no series stood for anything."""
        if self._found:
            return
        if self._chosen:
            wanted = ", ".join(self._chosen)
            raise ValueError(f"holds no {wanted}; it holds {_few(self._passed_over)}")
        if not self._passed_over:
            raise ValueError("holds no series")
        raise ValueError(
            f"holds {_few(self._passed_over)}, none of which is called as a signal; say what they stand for: "
            "`replay convert FILE --metric NAME=SIGNAL -o TRACE.csv`"
        )


def is_counter(name: str) -> bool:
    """By its name, where no type is told."""
    return name.endswith(COUNTER_ENDINGS)


def _few(names: dict[str, None]) -> str:
    shown = [name or "a series without a name" for name in list(names)[:8]]
    return ", ".join(shown) + (" and others" if len(names) > 8 else "")
