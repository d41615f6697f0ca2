"""A stranger's forecaster may do what it likes: it is silenced and told once, and the others forecast on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats, Ints
from policies.forecasters import peaks, trend
from policies.forecasters.guarded import Guarded
from policies.forecasters.installed import forecasters
from policies.forecasters.levels import FORECASTER as LEVELS
from policies.forecasters.outlook import Outlook
from policies.predictive import POLICY, Predictive
from tests.policies.observations import Services

START_S = 1_750_000_200.0
FAILS_AFTER = 20


class Last(Kept):
    """A forecaster that does what it should: the last rate, twice."""

    last: Floats

    def fresh(self, n: int) -> dict[str, Column]:
        return {"last": np.full(n, np.nan)}

    def observe(self, moment: Moment) -> None:
        self.last = moment.logs

    def forecast(self) -> Floats:
        return np.stack([self.last, self.last], axis=1)


class Counts(Last):
    """Counts its samples, to fail later."""

    samples = 0

    def observe(self, moment: Moment) -> None:
        self.samples += 1
        super().observe(moment)

    @property
    def due(self) -> bool:
        return self.samples > FAILS_AFTER


class Unlearned(Counts):
    def observe(self, moment: Moment) -> None:
        super().observe(moment)
        if self.due:
            raise RuntimeError("can't learn")


class Speechless(Counts):
    def forecast(self) -> Floats:
        if self.due:
            raise KeyError("nothing to say")
        return super().forecast()


class Flat(Counts):
    def forecast(self) -> Floats:
        return self.last if self.due else super().forecast()


class Wide(Counts):
    def forecast(self) -> Floats:
        return np.zeros((len(self.last), 3)) if self.due else super().forecast()


class Wordy(Counts):
    def forecast(self) -> Any:
        return "a lot" if self.due else super().forecast()


def refuse(_n: int) -> Last:
    raise OSError("no licence")


def kind_of(make: Callable[[int], Any], name: str) -> ForecasterType:
    return ForecasterType(name=name, summary="a stranger's", experts=(f"{name} a", f"{name} b"), make=make)


def an_outlook(*strangers: ForecasterType, n: int = 2) -> Outlook:
    return Outlook(n, [LEVELS, trend.FORECASTER, peaks.FORECASTER, *strangers], 60.0)


def shown(outlook: Outlook, ticks: int = 200, begin: int = 0, seed: int = 3) -> Floats:
    """Shows it noisy demand; returns the centres (ticks, n)."""
    n = len(outlook.centre)
    rates = np.random.default_rng(seed).poisson(20.0 * 15, size=(begin + ticks, n)) / 15
    ahead_s, allowed_s, floors = np.full(n, 120.0), np.full(n, 5.0), np.full(n, 0.016)
    centres = []
    for tick in range(begin, begin + ticks):
        outlook.observe(START_S + 15.0 * tick, 15.0, rates[tick], floors, ahead_s, allowed_s)
        centres.append(outlook.centre)
    return np.array(centres)


def test_one_that_does_what_it_should_is_heard() -> None:
    outlook = an_outlook(kind_of(Last, "sound"))
    shown(outlook)
    assert outlook.silenced() == {}
    assert outlook.weights(0)["sound a"] != 0.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (refuse, "make: OSError: no licence"),
        (Unlearned, "observe: RuntimeError: can't learn"),
        (Speechless, "forecast: KeyError: 'nothing to say'"),
        (Flat, "forecast: ValueError: an array of shape (2,), where (2, 2) is allowed: services, experts"),
        (Wide, "forecast: ValueError: an array of shape (2, 3), where (2, 2) is allowed: services, experts"),
        (Wordy, "forecast: ValueError: could not convert string to float: 'a lot'"),
    ],
    ids=["make", "observe", "forecast", "flat", "wide", "wordy"],
)
def test_one_that_fails_is_silenced_and_told_once(
    make: Callable[[int], Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    kind = kind_of(make, f"broken {make.__name__}")
    outlook = an_outlook(kind)
    with caplog.at_level(logging.WARNING):
        centres = shown(outlook)
        shown(an_outlook(kind))  # another object, as one that is shown the past
    assert outlook.silenced() == {kind.name: words}
    assert [record.getMessage() for record in caplog.records] == [
        f"forecaster {kind.name} is silenced, decisions go on without it: {words}"
    ]
    assert np.exp(centres[50:]) == pytest.approx(20.0, rel=0.25)


def test_one_that_never_spoke_changes_nothing_that_others_say() -> None:
    without, beside = shown(an_outlook()), shown(an_outlook(kind_of(refuse, "mute")))
    assert np.exp(beside[50:]) == pytest.approx(np.exp(without[50:]), rel=0.02)


class Scribbler(Last):
    """Writes into all that it is shown."""

    def observe(self, moment: Moment) -> None:
        super().observe(moment)
        for column in (moment.rates, moment.logs, moment.floors, moment.levels, moment.reached, moment.ahead_s):
            column[:] = 1e9


def test_what_it_writes_into_what_it_is_shown_reaches_nobody() -> None:
    class Same(Last):
        def observe(self, moment: Moment) -> None:
            self.last = np.full(len(moment.logs), 1e9)

    harmed, same = an_outlook(kind_of(Scribbler, "scribbler")), an_outlook(kind_of(Same, "same"))
    assert np.array_equal(shown(harmed), shown(same))


@pytest.mark.parametrize("said", [np.inf, -np.inf, 1e300, -1e300, 31.0])
def test_what_no_rate_can_be_is_not_believed_of_that_service(said: float) -> None:
    class Wild(Last):
        def forecast(self) -> Floats:
            found = super().forecast()
            found[0] = said
            return found

    class Mute(Last):
        def forecast(self) -> Floats:
            found = super().forecast()
            found[0] = np.nan
            return found

    wild = an_outlook(kind_of(Wild, "wild"))
    assert np.array_equal(shown(wild), shown(an_outlook(kind_of(Mute, "mute of one"))))
    assert wild.silenced() == {}
    assert np.isfinite(wild.mix.weights).all()


class Stuck(Last):
    def rearrange(self, rows: Ints) -> None:
        raise RuntimeError("can't move")

    def adopt(self, other: Any, rows: Ints) -> None:
        raise RuntimeError("can't take over")


@pytest.mark.parametrize("broken", [Stuck, refuse, Unlearned], ids=["moves", "make", "observe"])
def test_services_come_and_go_beside_one_that_fails(broken: Callable[[int], Any]) -> None:
    kind = kind_of(broken, f"moved {broken.__name__}")
    outlook = an_outlook(kind)
    shown(outlook)
    outlook.rearrange(np.array([1, -1, 0]))
    assert list(outlook.silenced()) == [kind.name]
    assert np.isfinite(shown(outlook, begin=200)).any(axis=0).all()


def test_one_that_can_t_take_over_costs_only_its_own_word() -> None:
    kind = kind_of(Stuck, "stuck")
    outlook, past = an_outlook(kind), an_outlook(kind)
    shown(past)
    outlook.adopt(past, np.array([0, -1]))
    assert outlook.silenced() == {"stuck": "adopt: RuntimeError: can't take over"}
    assert outlook.mix.weights[0] == pytest.approx(past.mix.weights[0])


def test_the_past_of_one_that_failed_on_it_is_not_taken_over() -> None:
    kind = kind_of(Unlearned, "failed on the past")
    outlook, past = an_outlook(kind), an_outlook(kind)
    shown(past)
    outlook.adopt(past, np.array([0, 1]))
    assert outlook.silenced() == {}


@pytest.mark.parametrize("state", [{"times": np.arange(3)}, {"value": float("nan")}], ids=["an array", "NaN"])
def test_state_that_is_no_json_is_not_saved(state: dict[str, Any]) -> None:
    class Unsaved(Last):
        def save(self) -> dict[str, Any]:
            return state

    outlook = an_outlook(kind_of(Unsaved, "unsaved"))
    shown(outlook)
    saved = json.loads(json.dumps(outlook.save(), allow_nan=False))
    assert "save" in outlook.silenced()["unsaved"]
    again = an_outlook(kind_of(Unsaved, "unsaved"))
    again.load(saved)
    assert again.silenced() == {}, "made anew, it is asked again"


def test_state_that_it_can_t_use_costs_what_it_had_learnt_not_what_the_others_have(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(Last):
        def load(self, state: Any) -> None:
            raise ValueError("an older version")

    first, second = an_outlook(kind_of(Forgetful, "forgetful")), an_outlook(kind_of(Forgetful, "forgetful"))
    shown(first)
    with caplog.at_level(logging.WARNING):
        second.load(json.loads(json.dumps(first.save())))
    assert "forgetful learns anew, its saved state can't be used: ValueError: an older version" in caplog.text
    assert second.silenced() == {}
    assert np.array_equal(second.mix.weights, first.mix.weights)
    assert np.array_equal(second.levels.means, first.levels.means)


def test_state_of_other_experts_is_refused_before_anything_is_taken() -> None:
    first, second = an_outlook(kind_of(Last, "one")), an_outlook(kind_of(Last, "another"))
    shown(first)
    with pytest.raises(ValueError, match="not the same forecasters"):
        second.load(first.save())
    assert np.isnan(second.levels.means).all()


def test_what_it_learnt_survives_a_restart() -> None:
    first, second = an_outlook(kind_of(Last, "sound")), an_outlook(kind_of(Last, "sound"))
    shown(first)
    second.load(json.loads(json.dumps(first.save())))
    assert np.array_equal(shown(second, begin=200), shown(first, begin=200), equal_nan=True)


def test_a_forecaster_of_no_services_is_fine() -> None:
    made = Guarded(kind_of(Last, "none"), 0)
    assert made.forecast().shape == (0, 2)
    assert made.fault == ""


# ---------------------------------------------------------------- installed

STRANGER = """
import numpy as np
from autoscaler.core.forecaster import ForecasterType
from policies.forecasters.levels import Levels


class Fails(Levels):
    samples = 0

    def observe(self, moment):
        super().observe(moment)
        self.samples += 1
        if self.samples > 30:
            raise RuntimeError("out of memory")


FAILS = ForecasterType(name="fails", summary="fails", experts=tuple("abcde"), make=Fails)
TAKES = ForecasterType(name="takes", summary="takes another's name", experts=("last hour",), make=Fails)
TWICE = ForecasterType(name="twice", summary="names one twice", experts=("x", "x"), make=Fails)
NONE = ForecasterType(name="none", summary="has none", experts=(), make=Fails)
LEVELS = ForecasterType(name="levels", summary="pretends to be ours", experts=("y",), make=Fails)
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A distribution of somebody else's, installed as pip does it, with a forecaster that fails later and some that can't be used."""
    (tmp_path / "stranger_forecasters.py").write_text(STRANGER)
    info = tmp_path / "stranger_forecasters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-forecasters\nVersion: 1.0\n")
    entries = {name: f"stranger_forecasters:{name.upper()}" for name in ("fails", "takes", "twice", "none", "levels")}
    entries |= {"absent": "stranger_nowhere:FORECASTER", "wrong": "stranger_forecasters:Fails"}
    (info / "entry_points.txt").write_text(
        "[inference_autoscaler.forecasters]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
    )
    monkeypatch.syspath_prepend(tmp_path)
    forecasters.cache_clear()
    yield
    forecasters.cache_clear()


@pytest.mark.usefixtures("stranger")
def test_those_that_can_t_be_used_are_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        names = [kind.name for kind in forecasters()]
    assert names == ["levels", "peaks", "season", "trend", "fails"], "ours first"
    assert forecasters()[0] is LEVELS
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 6
    for words in (
        "absent can't be used: ModuleNotFoundError",
        "levels of stranger-forecasters can't be used: the name 'levels' is taken by inference-autoscaler",
        "none can't be used: ValueError: experts is ()",
        "takes can't be used: ValueError: its expert 'last hour' has the name of one of 'levels'",
        "twice can't be used: ValueError: two of its experts are called 'x'",
        "wrong can't be used: TypeError: stranger_forecasters:Fails is no ForecasterType",
    ):
        assert words in told


@pytest.mark.usefixtures("stranger")
def test_predictive_decides_on_and_says_so() -> None:
    services = Services(POLICY, [{}, {}])
    assert isinstance(services.policy, Predictive)
    for tick, rate in enumerate(np.random.default_rng(0).poisson(32.0 * 15, size=300) / 15):
        answer = services.see(demand=rate, queue=0.0, current=24, ready=24)
        assert np.isfinite(answer.replicas).all()
        assert ("without the forecaster fails" in answer.why(1)) == (tick >= 30)
    assert answer.why(1).endswith("; without the forecaster fails, which failed (observe: RuntimeError: out of memory)")
    assert answer.replicas[0] == pytest.approx(32.0 / 1.6, abs=5)
