"""The experts that ship: what each of them says of traffic that is easy to foretell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autoscaler.core.contract_forecaster import check_forecaster
from autoscaler.core.forecaster import Forecaster, ForecasterType, Moment
from policies.forecasters import levels, peaks, season, trend
from policies.forecasters.installed import forecasters
from policies.forecasters.levels import MINUTE, Levels

START_S = 1_750_000_200.0  # a whole five minutes
FLOORS = np.array([0.01])
KINDS = [levels.FORECASTER, trend.FORECASTER, peaks.FORECASTER, season.FORECASTER]


def shown(
    kind: ForecasterType, rate: Callable[[float], float], until_s: float, step_s: float = 15.0, ahead_s: float = 120.0
) -> Any:
    """A forecaster of one service that has seen a demand from START_S on."""
    made, level = kind.make(1), Levels(1)
    for at_s in np.arange(START_S, START_S + until_s, step_s):
        rates = np.array([rate(at_s - START_S)])
        level.take_rates(np.maximum(rates, FLOORS), FLOORS, step_s, None)
        made.observe(
            Moment(
                at_s=float(at_s),
                interval_s=step_s,
                rates=rates,
                known=None,
                logs=np.log(np.maximum(rates, FLOORS)),
                floors=FLOORS,
                levels=level.logs[:, MINUTE],
                reached=np.log(np.maximum(0.9 * rates, FLOORS)),
                whole=True,
                ahead_s=np.array([ahead_s]),
                window_s=60.0,
            )
        )
    return made


def said(forecaster: Forecaster) -> list[float]:
    values: list[float] = np.exp(forecaster.forecast()[0]).tolist()
    return values


def test_ours_are_installed() -> None:
    assert {kind.name for kind in forecasters()} >= {"levels", "trend", "peaks", "season"}


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_they_keep_the_contract(kind: ForecasterType) -> None:
    assert check_forecaster(kind) == []


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_steady_demand_is_foretold_by_all(kind: ForecasterType) -> None:
    found = said(shown(kind, lambda _: 20.0, 9 * 86_400, step_s=60.0))
    assert len(found) == len(kind.experts)
    assert found == pytest.approx([18.0 if kind is peaks.FORECASTER else 20.0] * len(found), rel=1e-6)


def test_levels_forget_at_their_half_lives() -> None:
    found = said(shown(levels.FORECASTER, lambda at_s: 10.0 if at_s < 40_000 else 20.0, 40_060))
    # Four samples of 15 s after the step: 10 × (1 − 2^(−60 ÷ half-life)) on top.
    assert found == pytest.approx([10 + 10 * (1 - 0.5 ** (60 / half_life)) for half_life in levels.HALF_LIVES_S], rel=1e-6)


def test_a_trend_goes_on() -> None:
    found = said(shown(trend.FORECASTER, lambda at_s: 10.0 * np.exp(at_s / 3600), 7200))
    now = 10.0 * np.exp(7185 / 3600)
    level = now * np.exp(-65 / 3600)  # the minute's mean lags
    assert found == pytest.approx([level * np.exp(300 / 3600), level * np.exp(900 / 3600)], rel=0.01)


def test_peaks_keep_their_last_word_while_nothing_is_known() -> None:
    made = shown(peaks.FORECASTER, lambda _: 20.0, 600)
    before = said(made)
    made.observe(
        Moment(
            at_s=START_S + 600, interval_s=15.0, rates=np.array([np.nan]), known=np.array([False]), logs=np.array([np.nan]),
            floors=FLOORS, levels=np.log([20.0]), reached=np.array([np.nan]), whole=False, ahead_s=np.array([120.0]), window_s=60.0,
        )
    )  # fmt: skip
    assert said(made) == before


def daily(at_s: float) -> float:
    """Doubles within the half hour from 9 o'clock of its days on."""
    into = at_s % 86_400 - 9 * 3600
    return float(10.0 * 2.0 ** min(max(into / 1800, 0.0), 1.0))


def test_a_season_tells_the_morning_before_it_comes() -> None:
    until_s = 8 * 86_400 + 9 * 3600
    yesterday, last_week = said(shown(season.FORECASTER, daily, until_s, step_s=60.0, ahead_s=900.0))
    # 930 s ahead: half of the rise, and a little; means of 20 minutes see its beginning before it comes.
    assert yesterday == pytest.approx(10 * 2 ** (930 / 1800), rel=0.07)
    assert last_week == pytest.approx(yesterday, rel=0.02)


def test_a_season_takes_over_changes_not_levels() -> None:
    until_s = 8 * 86_400 + 9 * 3600
    grown = shown(
        season.FORECASTER, lambda at_s: daily(at_s) * (1.0 if at_s < until_s - 7200 else 3.0), until_s, step_s=60.0, ahead_s=900.0
    )
    assert said(grown)[0] == pytest.approx(30 * 2 ** (930 / 1800), rel=0.07)


def test_a_season_knows_nothing_of_what_nobody_saw() -> None:
    made = shown(season.FORECASTER, daily, 10 * 3600)
    assert np.isnan(made.forecast()).all()
    assert np.isnan(made.usual(START_S + 10 * 3600, np.array([START_S + 11 * 3600])))


def test_what_was_usual_at_this_time() -> None:
    made = shown(season.FORECASTER, daily, 86_400 + 8.9 * 3600, step_s=60.0)
    now = START_S + 86_400 + 8.9 * 3600
    assert made.usual(now, np.array([now + 300]))[0] == pytest.approx(10.0, rel=0.01)
    assert made.usual(now, np.array([now + 2400]))[0] == pytest.approx(20.0, rel=0.05)
