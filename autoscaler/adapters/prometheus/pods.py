"""Which pod a series belongs to, and which row a pod counts for.

A slot is a pod's place in the reader's arrays. Label sets are looked up as raw bytes, so a series that was seen before costs one
dictionary lookup, whatever its labels are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoscaler.adapters.prometheus.answers import Sample, labels_of
from autoscaler.adapters.prometheus.terms import SeriesLabels
from autoscaler.core.model import Floats, Ints

SPARE_SLOTS = 4096


@dataclass(slots=True)
class ReadySlots:
    """The ready pods in one order: slots (p,), their rows (p,) rising, since_s (p,) when each was first seen ready. A pod whose target several
    services share is there once for each of them."""

    slots: Ints
    rows: Ints
    since_s: Floats


class PodTable:
    """Slots of pods. Grows with every pod seen; `place` says when it became too large and was started again (all slots change then)."""

    def __init__(self, labels: SeriesLabels) -> None:
        self._labels = labels
        self._slot_of: dict[tuple[str, str], int] = {}
        self._ready_since_s: dict[tuple[str, str], float] = {}
        self.ready = ReadySlots(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def __len__(self) -> int:
        return len(self._slot_of)

    def slot(self, pod: tuple[str, str]) -> int:
        """The slot of (namespace, pod), a new one where it has none."""
        return self._slot_of.setdefault(pod, len(self._slot_of))

    def place(
        self, rows_by_pod: Mapping[tuple[str, str], int], at_s: float, sharing: Mapping[int, Sequence[int]] | None = None
    ) -> bool:
        """Takes over which pods are ready, and which further rows share those of a row. True where all slots were given out anew, so that
        whatever is kept by slot is void."""
        restarted = len(self._slot_of) > 2 * len(rows_by_pod) + SPARE_SLOTS
        if restarted:
            self._slot_of = {}
        since = {pod: self._ready_since_s.get(pod, at_s) for pod in rows_by_pod}
        self._ready_since_s = since
        slots = np.fromiter((self.slot(pod) for pod in rows_by_pod), np.int64, len(rows_by_pod))
        rows = np.fromiter(rows_by_pod.values(), np.int64, len(rows_by_pod))
        since_s = np.fromiter(since.values(), np.float64, len(rows_by_pod))
        order = np.argsort(rows, kind="stable")
        if sharing:
            slots, rows, since_s = _shared(slots[order], rows[order], since_s[order], sharing)
            order = np.argsort(rows, kind="stable")
        self.ready = ReadySlots(slots[order], rows[order], since_s[order])
        return restarted

    def pod_of(self, metric: bytes) -> tuple[tuple[str, str], str]:
        """((namespace, pod), le) of a label set; texts are empty where a label is missing."""
        labels = labels_of(metric)
        return (labels.get(self._labels.namespace, ""), labels.get(self._labels.pod, "")), labels.get("le", "")


def _shared(slots: Ints, rows: Ints, since_s: Floats, sharing: Mapping[int, Sequence[int]]) -> tuple[Ints, Ints, Floats]:
    """The same (rows rising) and behind it each shared row's pods again for every further row."""
    pairs = np.array([(row, other) for row, others in sharing.items() for other in others], dtype=np.int64)
    first = rows.searchsorted(pairs[:, 0], side="left")
    counts = rows.searchsorted(pairs[:, 0], side="right") - first
    # The places first[i] … first[i] + counts[i] − 1 of all pairs in a row.
    again = np.arange(counts.sum()) + np.repeat(first - np.concatenate([[0], counts.cumsum()[:-1]]), counts)
    others = np.repeat(pairs[:, 1], counts)
    return np.append(slots, slots[again]), np.append(rows, others), np.append(since_s, since_s[again])


def metric_keys(series: Sequence[Sample]) -> list[bytes]:
    """The label sets as bytes, for looking up."""
    return [bytes(sample.metric) for sample in series]


def sample_texts(series: Sequence[Sample]) -> list[str]:
    """The values as texts; ``NaN`` where a series has a native histogram instead of a value."""
    return [sample.value[1] if sample.value is not None else "NaN" for sample in series]


def grown(array: npt.NDArray[np.float64], slots: int, fill: float) -> npt.NDArray[np.float64]:
    """`array` with room for `slots` slots on its first axis (more than asked, so that growing is rare)."""
    if len(array) >= slots:
        return array
    bigger = np.full((max(slots, 2 * len(array), 64), *array.shape[1:]), fill)
    bigger[: len(array)] = array
    return bigger
