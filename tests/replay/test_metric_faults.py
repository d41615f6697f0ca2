from __future__ import annotations

from autoscaler.core.signals import SignalState
from replay.plant.faults import Fault
from tests.replay.test_plant import seen, value, world


async def test_signals_that_are_nan_are_unknown_and_the_others_known() -> None:
    here = world(n=2)
    here.plant.add_fault(Fault(kind="MetricsNaN", from_s=100, until_s=200, signals=("demand",), row=1))
    found = await seen(here, 120)
    assert found.signals["demand"].state.tolist() == [SignalState.KNOWN, SignalState.UNKNOWN]
    assert found.signals["demand"].values[1] != found.signals["demand"].values[1]
    assert found.signals["queue"].state.tolist() == [SignalState.KNOWN, SignalState.KNOWN]
    assert found.why("demand", 1) == "the metric source answers NaN"
    here.plant.add_fault(Fault(kind="MetricsNaN", from_s=300, until_s=400))
    assert {int(state) for column in (await seen(here, 315)).signals.values() for state in column.state} == {SignalState.UNKNOWN}
    assert (await seen(here, 400)).signals["demand"].state[0] == SignalState.KNOWN


async def test_scrapes_are_seen_later_while_the_source_lags() -> None:
    here = world()
    here.plant.add_fault(Fault(kind="MetricsLag", from_s=600, until_s=660, by_s=30))
    here.plant.demand = here.plant.demand.copy()
    here.plant.demand[0, 570:] = 4.0
    assert (await seen(here, 585)).signals["demand"].age_s[0] == 15.0
    late = await seen(here, 615)
    assert (value(late, "demand"), late.signals["demand"].age_s[0]) == (8.0, 45.0)
    assert value(await seen(here, 630), "demand") == 4.0
    assert (await seen(here, 660)).signals["demand"].age_s[0] == 15.0
