"""Optuna's part: which values to try next, a whole generation at a time, after what earlier generations showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from autoscaler.core.model import ParamValue
from autoscaler.errors import UsageError
from replay.tune.front import chosen
from replay.tune.space import Knob, Space, Values
from replay.tune.trial import Trial

GENERATION: Final = 16
"""Candidates that are asked for before any of them is judged, unless said otherwise. It is the same whoever plays them, or results would
depend on that."""
_SPREADS: Final = (0.02, 0.05, 0.1, 0.2)
"""How far around the best one is looked, as shares of a range."""
_MOVED: Final = 0.5


class Sampler:
    """A seeded study in memory: told the same, it asks for the same.

    Asked for are the manifest's own values first, the policies' defaults second, drawn ones in the first generation. Then half of each
    generation is what a multi-objective tree-structured Parzen estimator (Ozaki et al., JAIR 2022) expects to be cheap, prompt and calm
    (objectives: cost, lateness, actions; `needed_ratio` is a constraint), and half lies around the candidate that would be taken now:
    the estimator spreads over the whole front, of which only one point ends in the manifest. Raises UsageError where the
    extra `tune` is missing.
    """

    def __init__(self, space: Space, *, seed: int, needed_ratio: float, generation: int = GENERATION) -> None:
        optuna = _optuna()
        self._space = space
        self._needed_ratio = needed_ratio
        self._distributions = {knob.name: _distribution(optuna, knob) for knob in space.knobs}
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=generation)
        self._study: Any = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
        self._asked: dict[int, Any] = {}
        self._seed = seed
        self._generation = -1
        self._told: list[Trial] = []
        self._best: Values | None = None
        for values in (space.given(), space.usual()):
            self._study.enqueue_trial(dict(values), skip_if_exists=True)

    def ask(self, count: int) -> list[tuple[int, dict[str, ParamValue]]]:
        """(number, values) of the next candidates."""
        self._generation += 1
        if self._best is not None:
            rng = np.random.Generator(np.random.PCG64([self._seed, self._generation]))
            for place in range(count // 2):
                self._study.enqueue_trial(self._near(self._best, _SPREADS[place % len(_SPREADS)], rng))
        found = []
        for _ in range(count):
            trial = self._study.ask(self._distributions)
            self._asked[trial.number] = trial
            found.append((int(trial.number), {knob.name: knob.tidy(trial.params[knob.name]) for knob in self._space.knobs}))
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Trials that were asked for, in their order. A pruned one counts with what its first stretch showed."""
        optuna = _optuna()
        for one in trials:
            asked = self._asked.pop(one.number)
            if one.standing is None:
                self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
                continue
            asked.set_constraint("lacks", self._needed_ratio - one.standing.attained_ratio)
            self._study.tell(asked, list(one.standing.objectives))
        self._told += [one for one in trials if one.finished]
        if self._told:
            self._best = chosen(self._told, self._needed_ratio, self._needed_ratio).values

    def _near(self, values: Values, spread: float, rng: np.random.Generator) -> dict[str, ParamValue]:
        """Some of the values changed, at least one."""
        knobs = self._space.knobs
        moved = rng.random(len(knobs)) < _MOVED
        moved[int(rng.integers(len(knobs)))] = True
        return {
            knob.name: knob.near(values[knob.name], spread, rng) if moves else values[knob.name]
            for knob, moves in zip(knobs, moved, strict=True)
        }


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "replay tune needs Optuna, the extra `tune`: make venv in a clone, else pip install 'inference-autoscaler[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, knob: Knob) -> Any:
    made: Mapping[str, Any] = vars(optuna.distributions)
    if knob.choices:
        return made["CategoricalDistribution"](knob.choices)
    if knob.parameter.kind == "int":
        return made["IntDistribution"](round(knob.low), round(knob.high), log=knob.log_scale, step=round(knob.step or 1))
    return made["FloatDistribution"](knob.low, knob.high, log=knob.log_scale, step=knob.step)
