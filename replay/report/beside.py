"""The clairvoyant's replicas beside the policies': one curve a trace and service, and what it had in each policy's worst minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from replay.optimum.solve import Optimum
from replay.report.series import bucket_times, short, thinned


def curve(one: Optimum, buckets: int) -> dict[str, Any]:
    """service, times_s and ready, thinned like any other curve."""
    times = np.arange(len(one.ready), dtype=np.float64) * one.tick_s
    return {
        "service": one.key,
        "times_s": [round(value) for value in bucket_times(times, buckets).tolist()],
        "ready": short(thinned(one.ready, buckets)),
    }


def put_beside(pictures: Sequence[dict[str, Any]], found: Mapping[str, Optimum]) -> None:
    """Into each worst span of the pictures: `optimum`, the fewest and the most replicas of its service's optimum then, and its curve."""
    for picture in pictures:
        one = found[picture["service"]]
        for span in picture["worst"]:
            part = one.ready[int(span["from_s"]) // one.tick_s : -(-int(span["to_s"]) // one.tick_s)]
            span["optimum"] = [int(part.min()), int(part.max())]
            if "detail" in span:
                at = np.array(span["detail"]["times_s"], dtype=np.int64) // one.tick_s
                span["detail"]["optimum"] = short(one.ready[np.minimum(at, len(one.ready) - 1)].astype(np.float64))
