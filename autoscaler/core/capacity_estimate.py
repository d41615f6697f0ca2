"""The capacity of a replica, estimated from samples of what replicas do (``core.capacity_samples``), for n services at once.

The estimate is a mean and a *weight*: how many requests it is worth, so that its relative error is about 1 ÷ √weight (the Gamma
distribution that belongs to counted requests; a given value is a mean that is worth ``PRIOR`` requests). A sample of m expected requests
adds to the weight what it tells, and the mean moves by its share in it. Between samples the true capacity may drift, so weight is lost:
``weight ÷ (1 + weight × DRIFT × t)``, as in a Kalman filter of a random walk. Both only for time under load: an idle night adds
nothing and forgets nothing. In balance the memory is 1 ÷ √(DRIFT × weight per second): a quarter of an hour to one hour of load for services
that see a request a second and more, longer for smaller ones.

What a sample tells depends on its share of the full throughput: a full batch shows the ceiling itself, a light one leaves it to
``core.capacity``'s curve. Below ``LIGHT`` samples never lower the mean. They raise it, slowly, where even three quarters of what they say is
more than it: else a far too low value would keep batches so light that nothing better is ever learnt.

Beside the slow mean goes a fast one, of the last five minutes of load. Where both differ by more than chance and the curve explain, it is
not drift: another model version, other requests, other GPUs. Then the fast one takes over, with little weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.capacity_samples import Samples
from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Floats
from autoscaler.core.rows import some

LEAST_EXPOSURE: Final = 1e-6
"""A millionth of a busy replica-second tells nothing, and what is divided by less overflows: it is no sample."""
PRIOR: Final = 20.0
"""Requests that a given value is worth: it is taken to be right within a fifth or so."""
ENOUGH: Final = 30.0
"""Requests from which a mean can be had without a given value."""
HALF_SURE: Final = 50.0
"""Requests that make the confidence a half."""
DRIFT_PER_S: Final = 3e-7
"""Variance of the capacity's relative drift per second of load: 3 % in an hour."""
NOISE: Final = 2.0
"""Variance ÷ mean of the requests finished in a sample: lengths vary, and batches aren't looked at all the time."""
MOST_PER_S: Final = 3.0
"""The most requests' worth that a second tells, however many there are: requests of one time are alike in what the model doesn't know."""
LIGHT: Final = 0.3
FULL: Final = 0.7
"""A sample tells all it can from FULL of the throughput on, nothing directly up to LIGHT, and in between in proportion."""
LIGHT_TRUST: Final = 0.75
LIGHT_WEIGHT: Final = 0.2
LIGHT_MEMORY_S: Final = 3600.0
LIGHT_ENOUGH: Final = 100.0
"""Of light samples: the share of what they say that is believed, what they weigh, over how long they are a mean, requests from which on."""
FAST_S: Final = 300.0
FAST_ENOUGH: Final = 40.0
"""The fast mean is of so many seconds of full load, and of so many requests at least."""
JUMP: Final = 0.15
JUMP_DEVIATIONS: Final = 4.0
JUMP_PER_UNUSED: Final = 0.3
"""A jump is a relative difference above JUMP, above so many standard deviations of the fast mean, and, as the curve may be wrong, by so much
more per unused share of the throughput."""
DEAD_RATIO: Final = 0.02
DEAD_EXPECTED: Final = 20.0
"""Where so many requests were expected and fewer than this share were finished, the replicas are broken, not slow."""
OUTLIER: Final = 4.0
"""A single sample counts as at most so many times the mean, and at least that part of it, chance aside."""

_LATELY: Final = ("fast_done", "fast_exposure", "fast_used", "fast_weight", "light_done", "light_exposure")
_COLUMNS: Final = ("mean", "weight", "seen", *_LATELY)


class Estimates:
    """Of n services. mean (n,): requests/s of one replica, NaN where unknown. weight (n,): as above; seen (n,): the part of it that samples
    have brought. low, high (n,): bounds that the mean never leaves."""

    def __init__(self, given: Floats, low: Floats, high: Floats) -> None:
        n = len(given)
        self.low, self.high = low, high
        self.mean: Floats = np.clip(given, low, high)
        self.weight: Floats = np.where(np.isnan(given), 0.0, PRIOR)
        self.seen = np.zeros(n)
        self.fast_done, self.fast_exposure = np.zeros(n), np.zeros(n)
        self.fast_used, self.fast_weight = np.zeros(n), np.zeros(n)
        self.light_done, self.light_exposure = np.zeros(n), np.zeros(n)

    def confidence(self) -> Floats:
        """(n,) 0…1: 0 where all that is known was given, a half once samples are worth HALF_SURE requests."""
        confidence: Floats = self.seen / (self.seen + HALF_SURE)
        return confidence

    def learn(self, samples: Samples) -> None:
        """Takes in one sample of each service; an exposure of 0 is none."""
        exposure, step_s = samples.exposure, samples.step_s
        exposure = np.where(exposure < LEAST_EXPOSURE, 0.0, exposure)
        if not some(exposure != 0.0):
            return
        unknown = np.isnan(self.mean)
        # Without a mean what is expected is what the samples so far say, this one with them: weights must not follow the noise of one.
        early = _ratio(np.maximum(self.fast_done + samples.done, 0.0), self.fast_exposure + exposure, 0.0)
        usual = np.where(unknown, early, self.mean)
        expected = usual * exposure
        dead = (samples.done < DEAD_RATIO * expected) & (expected > DEAD_EXPECTED)
        exposure = np.where(dead, 0.0, exposure)
        expected = np.where(dead, 0.0, expected)
        chance = 5.0 * np.sqrt(NOISE * expected)
        done = np.clip(samples.done, expected / OUTLIER - chance, expected * OUTLIER + chance)
        done = np.where(exposure > 0.0, np.where(unknown, samples.done, done), 0.0)
        told = np.clip((samples.share - LIGHT) / (FULL - LIGHT), 0.0, 1.0)
        worth = expected / (NOISE + _ratio(expected, MOST_PER_S * step_s, 0.0))

        self._learn_fast(told, worth, done, exposure, samples)
        light = self._light(told, done, exposure, step_s)
        value = np.where(told > 0.0, _ratio(done, exposure, 0.0), light)
        trust = np.where(told > 0.0, told, np.where(light > self.mean, LIGHT_WEIGHT, 0.0))
        self._move(value, np.where(unknown | ~(exposure > 0.0), 0.0, trust), worth, step_s)
        self._jump(unknown)
        self.mean = np.clip(self.mean, self.low, self.high)

    def _learn_fast(self, told: Floats, worth: Floats, done: Floats, exposure: Floats, samples: Samples) -> None:
        more = told * worth
        kept = np.exp(-np.minimum(told * samples.step_s / FAST_S, more / FAST_ENOUGH))
        self.fast_done = self.fast_done * kept + told * done
        self.fast_exposure = self.fast_exposure * kept + told * exposure
        self.fast_used = self.fast_used * kept + told * exposure * samples.share
        self.fast_weight = self.fast_weight * kept + more

    def _light(self, told: Floats, done: Floats, exposure: Floats, step_s: Floats) -> Floats:
        """What light samples say for sure, (n,); 0 where there are too few."""
        here = (told == 0.0) & (exposure > 0.0)
        kept = np.where(here, np.exp(-step_s / LIGHT_MEMORY_S), 1.0)
        self.light_done = self.light_done * kept + np.where(here, done, 0.0)
        self.light_exposure = self.light_exposure * kept + np.where(here, exposure, 0.0)
        said = LIGHT_TRUST * _ratio(self.light_done, self.light_exposure, 0.0)
        return np.where(self.light_done >= LIGHT_ENOUGH, said, 0.0)

    def _move(self, value: Floats, trust: Floats, worth: Floats, step_s: Floats) -> None:
        faded = 1.0 / (1.0 + self.weight * DRIFT_PER_S * trust * step_s)
        more = trust * worth
        before = self.weight * faded
        self.seen = self.seen * faded + more
        self.weight = before + more
        after = self.mean + (value - self.mean) * _ratio(more, self.weight, 0.0)
        # Never to zero, where nothing would be expected any more.
        self.mean = np.where(more > 0.0, np.maximum(after, 0.5 * self.mean), self.mean)

    def _jump(self, unknown: Any) -> None:
        fast = np.clip(_ratio(self.fast_done, self.fast_exposure, 0.0), self.low, self.high)
        unused = 1.0 - _ratio(self.fast_used, self.fast_exposure, 1.0)
        deviation = np.sqrt(_ratio(1.0, self.fast_weight, np.inf))
        allowed = np.maximum(JUMP, JUMP_DEVIATIONS * deviation) + JUMP_PER_UNUSED * unused
        enough = (fast > 0.0) & (self.fast_weight >= ENOUGH)
        differs = np.abs(np.log(np.maximum(_ratio(fast, self.mean, 1.0), 1e-9))) > allowed
        jumps = enough & (unknown | differs)
        if some(jumps):
            # The fast mean still holds some of what was before: what comes now shall count for more.
            worth = np.minimum(self.fast_weight, FAST_ENOUGH)
            kept = np.where(jumps, _ratio(worth, self.fast_weight, 1.0), 1.0)
            self.mean = np.where(jumps, fast, self.mean)
            self.weight = np.where(jumps, worth, self.weight)
            self.seen = np.where(jumps, worth, self.seen)
            self.fast_done, self.fast_exposure = self.fast_done * kept, self.fast_exposure * kept
            self.fast_used, self.fast_weight = self.fast_used * kept, self.fast_weight * kept

    def restore(self, row: int, mean: float, weight: float, seen: float) -> None:
        """What was learnt of a service before; what can't be is ignored."""
        if not (0.0 < mean < np.inf and 0.0 < weight < np.inf and 0.0 <= seen <= weight):
            return
        self.mean[row] = np.clip(mean, self.low[row], self.high[row])
        self.weight[row], self.seen[row] = weight, seen

    def doubt(self, row: int) -> None:
        """Another version runs from now on: it is taken to do the same, no surer than a given value is."""
        weight = min(float(self.weight[row]), PRIOR)
        self.seen[row] *= weight / float(self.weight[row]) if self.weight[row] > 0.0 else 0.0
        self.weight[row] = weight
        self.forget_lately(row)

    def forget_lately(self, row: int) -> None:
        """What the last minutes and hours showed was of other replicas."""
        for name in _LATELY:
            getattr(self, name)[row] = 0.0

    def adopt(self, before: Estimates, rows: Any) -> None:
        """Row i goes on from `before`'s row rows[i]; a row of −1 begins with what is given."""
        known = rows >= 0
        for name in _COLUMNS:
            setattr(self, name, np.where(known, rearranged(getattr(before, name), rows), getattr(self, name)))
        self.mean = np.clip(self.mean, self.low, self.high)

    def save(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: plain(getattr(self, name)) for name in _COLUMNS}

    def load(self, state: Mapping[str, Any]) -> None:
        """What save gave, of as many services."""
        for name in _COLUMNS:
            setattr(self, name, floats(state[name]))


def _ratio(part: Any, whole: Floats, otherwise: float) -> Floats:
    """part ÷ whole; `otherwise` where the whole is not above zero (or NaN)."""
    found: Floats = np.divide(part, whole, out=np.full(len(whole), otherwise), where=whole > 0.0)
    return found
