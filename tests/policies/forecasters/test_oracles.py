"""The forecasters beside statsmodels, which knows nothing of ours: the same numbers where both do the same.

What has no counterpart there are the guard rails: floors, forgetting that is bounded, NaN. Those have their own tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.distributions.empirical_distribution import ECDF
from statsmodels.regression.recursive_ls import RecursiveLS
from statsmodels.stats.weightstats import DescrStatsW
from statsmodels.tsa.api import ExponentialSmoothing, SimpleExpSmoothing
from statsmodels.tsa.filters.filtertools import convolution_filter
from statsmodels.tsa.statespace.structural import UnobservedComponents

from autoscaler.core.forecaster import Moment
from autoscaler.core.model import Floats
from policies.forecasters import levels, peaks, trend
from policies.forecasters.fading import FadingMeans, fading
from policies.forecasters.misses import EDGES, MEMORY_S, PRIOR, Misses
from policies.forecasters.regression import Regression
from policies.forecasters.season import BIN_S, PERIODS, SMOOTHED, Season

STEP_S = 15.0
START_S = 1_750_000_200.0  # a whole five minutes
FLOORS = np.array([0.01])


def walk(samples: int, seed: int) -> Floats:
    """Rates that wander: the exponential of a random walk around 20/s."""
    return np.asarray(20.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.05, samples))))


def moment(at_s: float, rate: float, level: float, step_s: float = STEP_S, ahead_s: float = 120.0) -> Moment:
    return Moment(
        at_s=at_s, interval_s=step_s, rates=np.array([rate]), known=None, logs=np.log([rate]), floors=FLOORS, levels=np.array([level]),
        reached=np.log([0.9 * rate]), whole=True, ahead_s=np.array([ahead_s]), window_s=60.0,
    )  # fmt: skip


def smoothed(values: Floats, half_lives_s: tuple[float, ...], begun: Floats, first: int) -> Floats:
    """statsmodels' level of the samples from `first` on, for each half-life, (samples, half-lives); begun: the level before them."""
    shares = fading(STEP_S, np.array(half_lives_s))
    return np.stack(
        [
            SimpleExpSmoothing(values[first:], initialization_method="known", initial_level=level)
            .fit(smoothing_level=share, optimized=False)
            .level
            for level, share in zip(begun, shares, strict=True)
        ],
        axis=1,
    )


# ---------------------------------------------------------------- means that forget


@pytest.mark.parametrize("half_life_s", [60.0, 600.0, 3600.0])
def test_a_fading_mean_is_a_plain_one_and_then_simple_exponential_smoothing(half_life_s: float) -> None:
    values, means = walk(1200, 1), FadingMeans(1, (half_life_s,))
    found = []
    for value in values:
        means.take(np.array([value]), STEP_S, None)
        found.append(float(means.means[0, 0]))
    # So many samples, before a new one's share is more than what it has in a plain mean.
    plain = int(np.floor(1.0 / fading(STEP_S, np.array([half_life_s]))[0]))
    assert found[:plain] == pytest.approx(list(np.cumsum(values[:plain]) / np.arange(1, plain + 1)), rel=1e-12)
    after = smoothed(values, (half_life_s,), np.array([found[plain - 1]]), plain)
    assert found[plain:] == pytest.approx(after[:, 0].tolist(), rel=1e-10)


@pytest.mark.parametrize("comes", ["as a row", "by its past"])
def test_a_newcomer_among_those_whose_means_fade_begins_with_plain_ones(comes: str) -> None:
    means = FadingMeans(2, (60.0,))
    for _ in range(50):
        means.take(np.array([10.0, 20.0]), STEP_S, None)
    if comes == "as a row":
        means.rearrange(np.array([0, -1]))
    else:
        means.adopt(FadingMeans(1, (60.0,)), np.array([-1, 0]))
    for value in (4.0, 8.0, 9.0):
        means.take(np.array([10.0, value]), STEP_S, None)
    assert means.means[:, 0].tolist() == pytest.approx([10.0, 7.0], rel=1e-12)


@pytest.mark.parametrize("kind", [levels.FORECASTER, peaks.FORECASTER], ids=["levels", "peaks"])
def test_levels_and_peaks_are_simple_exponential_smoothing(kind: Any) -> None:
    """levels: of rates; peaks: of the logs of the effective demand."""
    rates, made, said = walk(1200, 2), kind.make(1), []
    for number, rate in enumerate(rates):
        made.observe(moment(START_S + STEP_S * number, rate, 0.0))
        said.append(made.forecast()[0].copy())
    first = 400  # by then the longest half-life has its own share: before, an hour's mean is a plain one
    if kind is levels.FORECASTER:
        begun = np.exp(said[first - 1])
        expected = np.log(smoothed(rates, levels.HALF_LIVES_S, begun, first))
        found = np.array(said[first:])
    else:
        expected = smoothed(np.log(0.9 * rates), peaks.HALF_LIVES_S, said[first - 1][1:], first)
        found = np.array(said[first:])[:, 1:]
    assert found == pytest.approx(expected, rel=1e-9)


# ---------------------------------------------------------------- trend


@pytest.mark.parametrize(("expert", "span_s"), list(enumerate(trend.SPANS_S)))
def test_a_trend_is_a_random_walk_with_drift_fitted_to_its_span(expert: int, span_s: float) -> None:
    """The drift that fits a span best is the change from its first to its last value; as long a span ahead it comes once more."""
    logs, made = np.log(walk(200, 3)), trend.Trend(1)
    for number, level in enumerate(logs):
        made.observe(moment(START_S + STEP_S * number, float(np.exp(level)), float(level)))
    steps = round(span_s / STEP_S)
    fitted = UnobservedComponents(logs[-1 - steps :], "rwdrift", use_exact_diffuse=True).smooth([0.05**2])
    assert made.forecast()[0, expert] == pytest.approx(fitted.forecast(steps)[-1], rel=1e-9)


# ---------------------------------------------------------------- season


@pytest.mark.parametrize("ahead_bins", [1, 3, 8])
def test_a_season_is_holt_winters_with_todays_level_and_yesterdays_profile(ahead_bins: int) -> None:
    """A level that is followed at once (α = 1), a seasonal profile that is not changed by today (γ = 0): additive, in logs."""
    per_day, samples = PERIODS[0], 5
    rates = walk(per_day + 40, 4)
    made = Season(1)
    now_bin = per_day + 12
    level = float(np.log(33.0))
    for number in range(now_bin):
        for sample in range(samples):
            at_s = START_S + BIN_S * number + (sample + 1) * BIN_S / samples
            ahead_s = ahead_bins * BIN_S - 30.0  # the middle of the window lies so many bins ahead
            made.observe(moment(at_s, float(rates[number]), level, BIN_S / samples, ahead_s))
    around = convolution_filter(rates, np.full(SMOOTHED, 1.0 / SMOOTHED), nsides=1)  # ends with the bin of its place
    edges = np.log(around[SMOOTHED // 2 - 1 :])  # of the edge at which a bin begins: half of the bins lie before it
    # From the third edge on, for a day: what is before the first bins nobody saw. Today's series of levels begins a day later, and ends now.
    first, today = SMOOTHED // 2, np.append(walk(now_bin - per_day - SMOOTHED // 2, 5), level)
    fitted = ExponentialSmoothing(
        today, seasonal="add", seasonal_periods=per_day, initialization_method="known", initial_level=today[0],
        initial_seasonal=edges[first : first + per_day],
    ).fit(smoothing_level=1.0, smoothing_seasonal=0.0, optimized=False)  # fmt: skip
    assert made.forecast()[0, 0] == pytest.approx(fitted.forecast(ahead_bins)[-1], abs=1e-6)


# ---------------------------------------------------------------- regression


def examples(seed: int, count: int = 120) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    return x, x @ np.array([0.5, -1.0, 2.0]) + 0.3 * rng.normal(size=count)


def test_without_forgetting_it_is_recursive_least_squares_at_each_step() -> None:
    """What is believed at first is as good as one made-up example of each weight."""
    x, y = examples(5)
    start, variance = np.array([0.2, 0.0, 1.0]), 0.5
    prior = np.eye(3) / np.sqrt(variance)
    oracle = RecursiveLS(np.concatenate([prior @ start, y]), np.concatenate([prior, x])).fit()
    regression, found = Regression(1, start, variance), []
    for features, value in zip(x, y, strict=True):
        regression.learn(features[None], np.array([value]), 1.0, None)
        found.append(regression.weights[0].copy())
    assert np.array(found) == pytest.approx(oracle.recursive_coefficients.filtered[:, 3:].T, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("keep", [1.0, 0.99, 0.9])
def test_with_forgetting_it_is_weighted_least_squares(keep: float) -> None:
    """Weights and their covariances, in a batch whose services have their examples at different times."""
    services = [examples(seed) for seed in (6, 7)]
    regression = Regression(2, np.zeros(3))
    for features, values in zip(
        np.stack([x for x, _ in services], axis=1), np.stack([y for _, y in services], axis=1), strict=True
    ):
        regression.learn(features, values, keep, np.array([True, False]))
        regression.learn(features, values, keep, np.array([False, True]))
    for row, (x, y) in enumerate(services):
        weights = keep ** np.concatenate([np.full(3, len(y)), np.arange(len(y) - 1, -1, -1)])
        oracle = sm.WLS(np.concatenate([np.zeros(3), y]), np.concatenate([np.eye(3), x]), weights=weights).fit()
        assert regression.weights[row] == pytest.approx(oracle.params, rel=1e-7)
        assert regression.covariances[row] == pytest.approx(oracle.normalized_cov_params, rel=1e-6, abs=1e-12)


# ---------------------------------------------------------------- quantiles


def test_misses_are_the_empirical_distribution_and_what_was_known_before() -> None:
    """At the edges of bins exactly; so many samples within moments that none is forgotten."""
    seen = np.random.default_rng(8).gumbel(0.3, 1.1, 4000)
    misses = Misses(1)
    for value in seen:
        misses.learn(np.array([value]), 1e-9, None)
    inner = EDGES[np.searchsorted(EDGES, seen.min()) : np.searchsorted(EDGES, seen.max())]
    above = (PRIOR * stats.t.sf(inner, 4) + len(seen) * (1.0 - ECDF(seen, side="left")(inner))) / (PRIOR + len(seen))
    assert misses.exceeded(above[None])[0] == pytest.approx(inner, abs=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.1, 0.02])
def test_misses_that_fade_are_weighted_quantiles(share: float) -> None:
    """Within the width of a bin, a fifth below 4."""
    seen = np.random.default_rng(9).gamma(2.0, 0.5, 6000)
    misses = Misses(1)
    interval_s = MEMORY_S / 1500
    for value in seen:
        misses.learn(np.array([value]), interval_s, None)
    weights = 0.5 ** (np.arange(len(seen) - 1, -1, -1) / 1500)
    prior = EDGES[:-1] + 0.5 * np.diff(EDGES)
    made_up = PRIOR * np.diff(stats.t.cdf(EDGES, 4)) * 0.5 ** (len(seen) / 1500)
    oracle = DescrStatsW(np.concatenate([seen, prior]), weights=np.concatenate([weights, made_up]))
    expected = float(oracle.quantile(1.0 - share, return_pandas=False)[0])
    assert misses.exceeded(np.array([[share]]))[0, 0] == pytest.approx(expected, abs=0.2)
