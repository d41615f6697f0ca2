"""What is known of one signal, pod by pod, and how it becomes one value for each service.

Meanings, each on purpose:

- *Missing series* (a failed scrape, a failed query, a metric that went away): the pod's last value stays in force until the sample behind it
  is older than the service's ``staleAfter``; then the pod is *missing*.
- *NaN, ±Inf, negative* (of what can't be): the server itself says that it doesn't know, and says so now: the pod is *missing* at once.
  Where a mean of requests stands for a quantile, NaN is 0 ÷ 0: nothing finished; that pod just doesn't take part.
- *Just ready, never seen yet*: a pod that is ready for less than ``staleAfter`` and was not scraped yet has had next to no work: it counts
  nothing in sums and takes no part in means. Where that is more than half of the pods (a rollout), the sum would be a guess: unknown.
- *Missing pods*: up to a tenth of a service's pods, the others stand for them (sums are scaled up, so that a lost pod never looks like
  lost demand); beyond that the service's signal is unknown. Without the tenth, one broken target of a hundred would blind a service for
  good; with it nothing is ever understated.
- *Deleted and not-ready pods*: not in the index of ready pods, so not looked at, whatever Prometheus still knows of them.
- *Duplicates*: made one by the query (see ``terms``); a server that answers with the same label set twice is taken at its last word, never
  added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from autoscaler.adapters.prometheus.answers import Sample, numbers
from autoscaler.adapters.prometheus.pods import PodTable, grown, metric_keys, sample_texts
from autoscaler.adapters.prometheus.quantiles import quantiles
from autoscaler.core.model import Bools, Floats, Ints

MISSING_RATIO: Final = 0.1
NEVER: Final = -np.inf
MAX_BUCKETS: Final = 512


@dataclass(slots=True)
class Merged:
    """One signal of all rows (n,). values: NaN where unknown. age_s: of the oldest sample that took part. known: False = unknown.
    empty: known, but there was nothing to measure (no request finished). ready, good, young: pods, for words."""

    values: Floats
    age_s: Floats
    known: Bools
    empty: Bools
    ready: Ints
    good: Ints
    young: Ints


@dataclass(slots=True)
class Standing:
    """How the ready pods of a table stand in one column: slots, rows (p,), fresh (p,) sample young enough, seen (p,) ever,
    young (p,) just ready and never seen, age_s (p,)."""

    slots: Ints
    rows: Ints
    fresh: Bools
    young: Bools
    age_s: Floats


class Column:
    """One number a pod. at_s: time of the sample behind the value."""

    def __init__(self, *, signed: bool = False, mean_of_requests: bool = False) -> None:
        self._signed = signed
        self._mean_of_requests = mean_of_requests
        self._slot_by_metric: dict[bytes, int] = {}
        self.values = np.full(0, np.nan)
        self.at_s = np.full(0, NEVER)

    def forget(self) -> None:
        """Slots were given out anew."""
        self._slot_by_metric = {}
        self.values = np.full(0, np.nan)
        self.at_s = np.full(0, NEVER)

    def take(self, series: Sequence[Sample], table: PodTable, scraped_at_s: Floats | None) -> None:
        """Takes over an answer. scraped_at_s (slots,): when each pod was scraped; None: the value itself is that time.
        Raises Unparsable."""
        values = numbers(sample_texts(series))
        slots = self._slots(series, table)
        self.values = grown(self.values, len(table), np.nan)
        self.at_s = grown(self.at_s, len(table), NEVER)
        if scraped_at_s is None:
            self.at_s[slots] = np.where(np.isfinite(values), values, NEVER)
            return
        if self._signed:
            values = np.where(values < 0, 0.0, values)
        self.values[slots] = np.where(np.isfinite(values) & (values >= 0), values, np.nan)
        self.at_s[slots] = _at(scraped_at_s, slots, NEVER)

    def _slots(self, series: Sequence[Sample], table: PodTable) -> Ints:
        keys = metric_keys(series)
        get = self._slot_by_metric.get
        slots = np.array([get(key, -1) for key in keys], dtype=np.int64)
        new = np.flatnonzero(slots < 0)
        if len(new):
            if len(self._slot_by_metric) > 2 * len(keys) + 4096:
                self._slot_by_metric.clear()
            for index in new.tolist():
                pod, _ = table.pod_of(keys[index])
                slots[index] = self._slot_by_metric[keys[index]] = table.slot(pod)
        return slots

    def merged(self, table: PodTable, rows: int, now_s: float, stale_s: Floats, merge: Literal["sum", "mean"]) -> Merged:
        """One value a row (n = rows). stale_s (n,): each service's staleAfter."""
        standing = standing_of(table, self.at_s, now_s, stale_s)
        values = _at(self.values, standing.slots, np.nan)
        present = standing.fresh & np.isfinite(values)
        # A mean over no requests is no fault: fresh, but nothing to say.
        counted = standing.fresh if self._mean_of_requests else present
        result = merged_shell(standing, counted, rows)
        total = np.bincount(standing.rows[present], weights=values[present], minlength=rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._mean_of_requests:
                spoken = np.bincount(standing.rows[present], minlength=rows)
                result.empty = result.known & (spoken == 0)
                value = np.where(result.empty, 0.0, total / spoken)
            elif merge == "sum":
                value = total * np.maximum(result.ready - result.young, result.good) / result.good
            else:
                value = total / result.good
        result.values = np.where(result.known, value, np.nan)
        return result


class HistogramColumn:
    """Cumulative buckets a pod, merged into one histogram a service."""

    def __init__(self, bound_scale: float) -> None:
        self._scale = bound_scale
        # slot × MAX_BUCKETS + bucket: one number, since a tuple for each of 200,000 series costs more than decoding them.
        self._cell_by_metric: dict[bytes, int] = {}
        self._bucket_of: dict[float, int] = {}
        self._counts = np.full((0, 32), np.nan)
        self._at_s = np.full(0, NEVER)

    def forget(self) -> None:
        """Slots were given out anew."""
        self._cell_by_metric = {}
        self._counts = np.full((0, 32), np.nan)
        self._at_s = np.full(0, NEVER)

    def take(self, series: Sequence[Sample], table: PodTable, scraped_at_s: Floats) -> None:
        """Takes over an answer; a pod that is in it is replaced as a whole. Raises Unparsable."""
        values = numbers(sample_texts(series))
        slots, buckets = np.divmod(self._cells(series, table), MAX_BUCKETS)
        self._counts = grown(self._counts, len(table), np.nan)
        self._at_s = grown(self._at_s, len(table), NEVER)
        if len(self._bucket_of) > self._counts.shape[1]:
            wider = np.full((len(self._counts), MAX_BUCKETS), np.nan)
            wider[:, : self._counts.shape[1]] = self._counts
            self._counts = wider
        touched = np.zeros(len(self._counts), dtype=np.bool_)
        touched[slots] = True
        self._counts[touched] = np.nan
        # A bucket without a number (no `le`, or NaN) says nothing; without the last one the whole histogram does.
        usable = (buckets < MAX_BUCKETS - 1) & np.isfinite(values) & (values >= 0)
        self._counts[slots[usable], buckets[usable]] = values[usable]
        self._at_s[slots] = _at(scraped_at_s, slots, NEVER)

    def _cells(self, series: Sequence[Sample], table: PodTable) -> Ints:
        keys = metric_keys(series)
        get = self._cell_by_metric.get
        cells = np.array([get(key, -1) for key in keys], dtype=np.int64)
        new = np.flatnonzero(cells < 0)
        if len(new):
            if len(self._cell_by_metric) > 2 * len(keys) + 65536:
                self._cell_by_metric.clear()
            for index in new.tolist():
                pod, bound_text = table.pod_of(keys[index])
                cells[index] = self._cell_by_metric[keys[index]] = table.slot(pod) * MAX_BUCKETS + self._bucket(bound_text)
        return cells

    def _bucket(self, bound_text: str) -> int:
        try:
            bound = float(bound_text) * self._scale
        except ValueError:
            return MAX_BUCKETS - 1
        if len(self._bucket_of) >= MAX_BUCKETS - 1:
            return self._bucket_of.get(bound, MAX_BUCKETS - 1)
        return self._bucket_of.setdefault(bound, len(self._bucket_of))

    def merged(self, table: PodTable, rows: int, now_s: float, stale_s: Floats, wanted: Floats) -> Merged:
        """The quantile `wanted` (n,) of each row's merged histogram."""
        standing = standing_of(table, self._at_s, now_s, stale_s)
        bounds = np.array(sorted(self._bucket_of), dtype=np.float64)
        order = np.array([self._bucket_of[bound] for bound in bounds.tolist()], dtype=np.int64)
        if not len(bounds) or not np.isposinf(bounds[-1]):
            return merged_shell(standing, np.zeros(len(standing.slots), dtype=np.bool_), rows)
        counts = np.full((len(standing.slots), len(bounds)), np.nan)
        inside = standing.slots < len(self._counts)
        counts[inside] = self._counts[standing.slots[inside]][:, order]
        present = standing.fresh & np.isfinite(counts[:, -1])
        result = merged_shell(standing, present, rows)
        # A bound that a pod lacks (other buckets than its neighbours') holds at least what the bound below it holds.
        rising = np.fmax.accumulate(counts[present], axis=1)
        rising = np.where(np.isnan(rising), 0.0, rising)
        merged = np.zeros((rows, len(bounds)))
        if len(rising):
            with_pods, starts = np.unique(standing.rows[present], return_index=True)
            merged[with_pods] = np.add.reduceat(rising, starts, axis=0)
        value = quantiles(bounds, merged, wanted)
        result.empty = result.known & (merged[:, -1] == 0)
        result.values = np.where(result.known, np.where(result.empty, 0.0, value), np.nan)
        return result


def standing_of(table: PodTable, at_s: Floats, now_s: float, stale_s: Floats) -> Standing:
    """How the ready pods stand in a column with sample times `at_s` (slots,)."""
    ready = table.ready
    age_s = now_s - _at(at_s, ready.slots, NEVER)
    # A sample from the future (clocks differ a little) is fresh.
    fresh = age_s <= stale_s[ready.rows]
    young = np.isposinf(age_s) & (now_s - ready.since_s < stale_s[ready.rows])
    return Standing(ready.slots, ready.rows, fresh, young, np.maximum(age_s, 0.0))


def merged_shell(standing: Standing, counted: Bools, rows: int) -> Merged:
    """Who counts, and whether that is enough; no values yet."""
    ready = np.bincount(standing.rows, minlength=rows)
    good = np.bincount(standing.rows[counted], minlength=rows)
    young = np.bincount(standing.rows[standing.young], minlength=rows)
    expected = ready - young
    known = (good > 0) & (expected - good <= MISSING_RATIO * expected) & (good >= young)
    age_s = np.zeros(rows)
    np.maximum.at(age_s, standing.rows[counted], standing.age_s[counted])
    return Merged(
        values=np.full(rows, np.nan),
        age_s=np.where(known, age_s, np.inf),
        known=known,
        empty=np.zeros(rows, dtype=np.bool_),
        ready=ready,
        good=good,
        young=young,
    )


def _at(array: Floats, slots: Ints, fill: float) -> Floats:
    """array[slots], with `fill` for slots that it doesn't reach yet."""
    if len(array) > (slots.max() if len(slots) else -1):
        return array[slots]
    found = np.full(len(slots), fill)
    inside = slots < len(array)
    found[inside] = array[slots[inside]]
    return found
