"""What is searched: each tunable parameter of a service's policies with its range, and how drawn numbers become policies again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from autoscaler.core.model import ParamValue, PolicyRef, ScalingSpec
from autoscaler.core.policy import Parameter, PolicyType, complete_params
from autoscaler.core.signals import SIGNALS
from autoscaler.errors import UsageError
from autoscaler.structure import did_you_mean

Values: TypeAlias = Mapping[str, ParamValue]
"""What a candidate gives each knob, by the knob's name."""

_DIGITS: Final = 3
"""Candidates are rounded to so many digits before they are tried, so that what is written is what was measured."""
_AROUND: Final = 4.0
"""A target of which nobody knows what a replica holds is searched from its given value divided by this to it multiplied by this."""

_USUAL_SHARE: Final = 0.7
"""What a target of 0 stands for where the range is in shares of what a replica holds; a first guess, nothing depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One searched parameter. policy: its place in the manifest's list. choices: instead of low…high for texts, true and false."""

    name: str
    policy: int
    parameter: Parameter
    low: float = 0.0
    high: float = 0.0
    log_scale: bool = False
    step: float | None = None
    choices: tuple[ParamValue, ...] = ()

    def tidy(self, value: ParamValue) -> ParamValue:
        """The value as it is tried and written: within the range, a whole number or rounded to three digits."""
        if self.choices:
            return value
        number = min(max(float(value), self.low), self.high)
        if self.parameter.kind == "int":
            return round(number)
        # The range's ends stay reachable, whatever their digits.
        return number if number in (self.low, self.high) else min(max(float(f"{number:.{_DIGITS}g}"), self.low), self.high)

    def near(self, value: ParamValue, spread: float, rng: np.random.Generator) -> ParamValue:
        """A value drawn around this one; spread: the standard deviation as a share of the range."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        low, high, at = (math.log(x) if self.log_scale else float(x) for x in (self.low, self.high, float(self.tidy(value))))
        drawn = float(np.clip(at + spread * (high - low) * rng.standard_normal(), low, high))
        if self.log_scale:
            drawn = math.exp(drawn)
        step = self.step or (1.0 if self.parameter.kind == "int" else None)
        return self.tidy(drawn if step is None else self.low + round((drawn - self.low) / step) * step)

    def at_an_end(self, value: ParamValue) -> bool:
        """Whether a wider range could be asked for, and might hold a better value."""
        if self.choices:
            return False
        least, most = self.parameter.minimum, self.parameter.maximum
        number = float(value)
        return (number == self.low and self.low != least) or (number == self.high and self.high != most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The knobs of one service. own: its policies as they were given."""

    spec: ScalingSpec
    types: Mapping[str, PolicyType]
    knobs: tuple[Knob, ...]
    own: tuple[PolicyRef, ...]

    def policies(self, values: Values) -> tuple[PolicyRef, ...]:
        """The service's policies with these values; parameters that are no knobs stay as they were given."""
        return tuple(
            PolicyRef(
                name=ref.name,
                params={**ref.params, **{knob.parameter.name: values[knob.name] for knob in self.knobs if knob.policy == place}},
            )
            for place, ref in enumerate(self.own)
        )

    def faults(self, values: Values) -> list[str]:
        """Why these values don't go together, if they don't."""
        return [fault for ref in self.policies(values) for fault in complete_params(self.types[ref.name], ref.params)[1]]

    def given(self) -> dict[str, ParamValue]:
        """The manifest's own values (defaults where it gives none), brought into the ranges."""
        return self._of([complete_params(self.types[ref.name], ref.params)[0] for ref in self.own])

    def usual(self) -> dict[str, ParamValue]:
        """The policies' defaults, where there are any, brought into the ranges. What is searched between a service's own bounds has no
        usual value: what was given stays."""
        own = [complete_params(self.types[ref.name], ref.params)[0] for ref in self.own]
        defaults = [
            {p.name: p.default for p in self.types[ref.name].parameters if p.default is not None and p.search_of != "bounds"}
            for ref in self.own
        ]
        return self._of([{**mine, **other} for mine, other in zip(own, defaults, strict=True)])

    def _of(self, params: Sequence[Mapping[str, ParamValue]]) -> dict[str, ParamValue]:
        found = {}
        for knob in self.knobs:
            value = params[knob.policy][knob.parameter.name]
            if knob.parameter.search_of == "held" and value == 0:
                value = (held(self.spec, params[knob.policy]) or 0.0) * _USUAL_SHARE
            found[knob.name] = value if knob.choices else knob.tidy(value)
        return found


def space_of(
    spec: ScalingSpec,
    types: Mapping[str, PolicyType],
    ranges: Mapping[str, tuple[float, float]],
    kept: Sequence[str] = (),
) -> Space:
    """The service's search space. ranges, kept: by a knob's name, in the place of the declared range; not to be touched.

    Knobs are called ``policy.parameter``; with the policy's place (``target.0.target``) where it is there twice. Raises UsageError for a range
    that is none, and where nothing is left to tune.
    """
    knobs, unknown = [], []
    for place, ref, prefix in _prefixed(spec):
        params, faults = complete_params(types[ref.name], ref.params)
        if faults:
            raise UsageError("\n".join(f"{spec.key}: {fault}" for fault in faults))
        for parameter in types[ref.name].parameters:
            name = f"{prefix}.{parameter.name}"
            asked = ranges.get(name)
            if name in kept or not (parameter.tunable or asked):
                continue
            knob = _knob(name, place, parameter, spec, params, asked)
            if knob is None:
                unknown.append(
                    f"{name}: nobody knows what a replica holds of '{params['signal']}'; give the parameter a value, which is then searched "
                    f"around, or a range: --range {name}=LOW..HIGH"
                )
            else:
                knobs.append(knob)
    if unknown:
        raise UsageError("\n".join(unknown))
    if not knobs:
        names = ", ".join(ref.name for ref in spec.policies)
        raise UsageError(
            f"{spec.key}: there is nothing to tune; its policies ({names}) declare no tunable parameter that is left"
        )
    return Space(spec=spec, types=types, knobs=tuple(knobs), own=spec.policies)


def known_names(specs: Sequence[ScalingSpec], types: Mapping[str, PolicyType], names: Sequence[str]) -> None:
    """Raises UsageError for a name that is no parameter of any of the services."""
    every = [
        f"{prefix}.{parameter.name}"
        for spec in specs
        for _, ref, prefix in _prefixed(spec)
        for parameter in types[ref.name].parameters
    ]
    for name in names:
        if name not in every:
            raise UsageError(f"no policy here has a parameter '{name}'; {did_you_mean(name, every)}")


def _prefixed(spec: ScalingSpec) -> list[tuple[int, PolicyRef, str]]:
    """Each policy with its place and what its parameters' names begin with."""
    names = [ref.name for ref in spec.policies]
    return [
        (place, ref, ref.name if names.count(ref.name) == 1 else f"{ref.name}.{place}") for place, ref in enumerate(spec.policies)
    ]


def held(spec: ScalingSpec, params: Mapping[str, ParamValue]) -> float | None:
    """What one ready replica holds, at its fullest, of the signal that the parameters name; None where nobody knows."""
    signal = SIGNALS.get(str(params.get("signal", "")))
    if signal is None:
        return None
    if signal.unit == "ratio":
        return 1.0
    found = {"requests": float(spec.capacity.slots), "requests/s": float(spec.capacity.per_s)}.get(signal.unit)
    return found if found is not None and math.isfinite(found) else None


def _knob(
    name: str,
    place: int,
    parameter: Parameter,
    spec: ScalingSpec,
    params: Mapping[str, ParamValue],
    asked: tuple[float, float] | None,
) -> Knob | None:
    """None where the range can't be known."""
    if parameter.kind not in ("float", "int"):
        if asked is not None:
            raise UsageError(f"--range {name}: is no number; --keep {name} leaves it alone")
        choices: tuple[ParamValue, ...] = (False, True) if parameter.kind == "bool" else parameter.choices
        return Knob(name=name, policy=place, parameter=parameter, choices=choices)
    low, high = asked or _range(parameter, spec, params) or (None, None)
    if low is None or high is None:
        return None
    least, most = parameter.minimum, parameter.maximum
    if not (low < high and (least is None or low >= least) and (most is None or high <= most)):
        ends = f"{'-∞' if least is None else f'{least:g}'} to {'∞' if most is None else f'{most:g}'}"
        raise UsageError(f"{name}: {low:g}..{high:g} can't be searched; a rising range within {ends} is allowed")
    step = parameter.step if asked is None else None
    return Knob(
        name=name, policy=place, parameter=parameter, low=low, high=high, log_scale=parameter.log_scale and low > 0, step=step
    )


def _range(parameter: Parameter, spec: ScalingSpec, params: Mapping[str, ParamValue]) -> tuple[float, float] | None:
    if parameter.search_of == "bounds":
        return float(max(spec.min_replicas, 1)), float(max(spec.max_replicas, spec.min_replicas + 1, 2))
    if parameter.search_of == "value":
        if parameter.search is not None:
            return parameter.search
        least, most = parameter.minimum, parameter.maximum
        return None if least is None or most is None else (least, most)
    holds, given = held(spec, params), float(params[parameter.name])
    if holds is not None and parameter.search is not None:
        return parameter.search[0] * holds, parameter.search[1] * holds
    return (given / _AROUND, given * _AROUND) if given > 0 else None
