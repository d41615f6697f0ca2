"""Optuna's part: which values to try next, a whole generation at a time, after what earlier generations showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoscaler.core.model import ParamValue
from autoscaler.errors import UsageError
from replay.tune.space import Knob, Space, Values
from replay.tune.trial import Trial

GENERATION: Final = 32
"""Candidates that are asked for before any of them is judged. It is the same whoever plays them, or results would depend on that."""


class Sampler:
    """A seeded study in memory: told the same, it asks for the same.

    Asked for are the manifest's own values first, the policies' defaults second, drawn ones in the first generation, and then those that a
    multi-objective tree-structured Parzen estimator (Ozaki et al., JAIR 2022) expects to be cheap, prompt and calm, in this order of
    objectives: cost, lateness, actions; `needed_ratio` is a constraint. Raises UsageError where the extra `tune` is missing.
    """

    def __init__(self, space: Space, seed: int, needed_ratio: float) -> None:
        optuna = _optuna()
        self._space = space
        self._needed_ratio = needed_ratio
        self._distributions = {knob.name: _distribution(optuna, knob) for knob in space.knobs}
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=GENERATION)
        self._study: Any = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
        self._asked: dict[int, Any] = {}
        for values in (space.given(), space.usual()):
            self._study.enqueue_trial(dict(values), skip_if_exists=True)

    def ask(self, count: int) -> list[tuple[int, dict[str, ParamValue]]]:
        """(number, values) of the next candidates."""
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


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "replay tune needs Optuna: install the extra `tune`, such as pip install inference-autoscaler[tune]"
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


def as_text(values: Values) -> str:
    """For people: short names, values as they are written."""
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items())
