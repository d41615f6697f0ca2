"""Makes the small traces that ship with the project: ``python -m replay.standard.make_traces [FOLDER]``.

They are no recordings: shapes that a person knows at sight, with counts drawn around them. ``day`` is two days with a steep morning,
``office-week`` a week with quiet nights and a quiet weekend, ``surge`` two hours with a sudden threefold demand; ``chat`` is twenty minutes of
single requests with their tokens.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints

FOLDER: Final = Path(__file__).parent / "traces"
_HOUR_S: Final = 3600.0


def day(at_s: Floats) -> Floats:
    """Rates per second: low at night, a ramp from 6 to 9 o'clock, a lunch dip, a second peak, a slow evening."""
    hour = at_s / _HOUR_S % 24
    hours = np.array([0.0, 4.0, 6.0, 9.0, 11.5, 13.0, 15.0, 17.0, 20.0, 22.0, 24.0])
    rates = np.array([9.0, 6.0, 8.0, 44.0, 47.0, 36.0, 50.0, 40.0, 27.0, 15.0, 9.0])
    now: Floats = np.interp(hour, hours, rates)
    return now


def office_week(at_s: Floats) -> Floats:
    """Rates per second: five working days from Monday, two quiet ones."""
    weekend = at_s // (24 * _HOUR_S) % 7 >= 5
    return np.where(weekend, 0.25 * day(at_s) + 3.0, day(at_s))


def surge(at_s: Floats) -> Floats:
    """Rates per second: 15, from one hour on three times as many within two minutes, for a quarter of an hour."""
    hour_s = _HOUR_S
    return np.interp(at_s, [hour_s, hour_s + 120, hour_s + 900, hour_s + 1200], [15.0, 45.0, 45.0, 15.0])


TRACES: Final[dict[str, tuple[Callable[[Floats], Floats], float, float]]] = {
    "day.csv.gz": (day, 48 * _HOUR_S, 120.0),
    "office-week.csv.gz": (office_week, 7 * 24 * _HOUR_S, 300.0),
    "surge.csv": (surge, 2 * _HOUR_S, 15.0),
}
"""By file: rates, span in seconds, bin width in seconds."""


def counts(name: str) -> tuple[Floats, Ints]:
    """(offset_s, requests) of a made trace."""
    rates, span_s, bin_s = TRACES[name]
    offsets = np.arange(0.0, span_s, bin_s)
    rng = np.random.Generator(np.random.PCG64(list(name.encode())))
    return offsets, rng.poisson(rates(offsets + bin_s / 2) * bin_s)


CHAT: Final = "chat.csv.gz"


def chat() -> tuple[Floats, Ints, Ints]:
    """(arrival_s, prompt tokens, output tokens): one request a second, half of them within five seconds of each minute, as those of
    programs are; prompts are long and answers short, or the other way round."""
    rng = np.random.Generator(np.random.PCG64(list(CHAT.encode())))
    arrival_s = np.sort(np.concatenate([rng.uniform(0, 1200, 600), 60 * rng.integers(0, 20, 600) + rng.uniform(5, 10, 600)]))
    long = rng.random(1200) < 0.3
    prompt = rng.lognormal(np.where(long, 7.5, 5.5), 0.6).astype(np.int64)
    output = rng.lognormal(np.where(long, 4.0, 5.5), 0.7).astype(np.int64)
    return np.round(arrival_s, 3), prompt + 1, output + 1


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRACES:
        lines = "".join(f"{offset:g},{count}\n" for offset, count in zip(*counts(name), strict=True))
        data = f"offset_s,requests\n{lines}".encode()
        # No time in the header: the same trace is the same bytes.
        (folder / name).write_bytes(gzip.compress(data, 9, mtime=0) if name.endswith(".gz") else data)
    lines = "".join(f"{at:.3f},{into},{out}\n" for at, into, out in zip(*chat(), strict=True))
    (folder / CHAT).write_bytes(gzip.compress(f"arrival_s,prompt_tokens,output_tokens\n{lines}".encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
