"""Why a signal is unknown, in words; made only when somebody asks, since a tick has a hundred thousand answers and few questions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.adapters.prometheus.columns import Merged
from autoscaler.adapters.prometheus.preset_reader import PresetReader
from autoscaler.adapters.prometheus.wiring import DERIVED, Wiring
from autoscaler.core.model import Bools, Fleet, Floats
from autoscaler.spec import Signals


@dataclass(frozen=True, slots=True)
class _FromPreset:
    """gateway: whose series are named after services, not pods."""

    rows: Bools
    gateway: bool
    metrics: tuple[str, ...]
    title: str
    failure: str
    merged: Merged


class Reasons:
    """The reasons of one tick. values: the tick's columns, to tell what is known."""

    def __init__(self, fleet: Fleet, wiring: Wiring, values: Mapping[str, Floats]) -> None:
        self._fleet = fleet
        self._wiring = wiring
        self._values = values
        self._said: dict[tuple[str, int], str] = {}
        self._presets: dict[str, list[_FromPreset]] = {}

    def say(self, signal: str, row: int, why: str) -> None:
        self._said[signal, row] = why

    def from_preset(self, signal: str, rows: Bools, reader: PresetReader, merged: Merged, *, gateway: bool) -> None:
        failure = reader.failures.get(signal, "") or reader.failures.get("", "")
        metrics = reader.preset.signals[signal].term.metrics()
        self._presets.setdefault(signal, []).append(_FromPreset(rows, gateway, metrics, reader.preset.title, failure, merged))

    def why(self, signal: str, row: int) -> str:
        """Why `signal` of `row` is unknown; "" where it is known or was not asked for."""
        if signal not in self._values or math.isfinite(self._values[signal][row]):
            return ""
        refused = self._wiring.refused
        found = self._said.get((signal, row)) or refused.get((signal, row)) or refused.get(("", row))
        if found:
            return found
        if signal in DERIVED and self._wiring.derived[signal][row]:
            parts = [f"{part}: {why}" for part in DERIVED[signal] if (why := self.why(part, row))]
            return "; ".join(parts) or self._no_pods(row)
        # A gateway comes after the pods' presets and stands in for them, so the last one counts.
        for preset in reversed(self._presets.get(signal, [])):
            if preset.rows[row]:
                return self._gateway_words(preset, row) if preset.gateway else self._preset_words(preset, row)
        return "nothing gives this signal: no preset of the service has it, and there is no own query for it"

    def _preset_words(self, preset: _FromPreset, row: int) -> str:
        ready, good, young = (int(pods[row]) for pods in (preset.merged.ready, preset.merged.good, preset.merged.young))
        if ready == 0:
            return self._no_pods(row)
        if preset.failure:
            return preset.failure
        names = " or ".join(preset.metrics)
        if good == 0 and young == ready:
            return f"its {ready} ready pods just started and were not scraped yet"
        if good == 0:
            return f"no fresh, possible value of {names} ({preset.title}) for any of its {ready} ready pods"
        return f"only {good} of {ready} ready pods have a fresh, possible value of {names}" + (
            f"; {young} just started" if young else ""
        )

    def _gateway_words(self, preset: _FromPreset, row: int) -> str:
        if preset.failure:
            return preset.failure
        spec = self._fleet.specs[row]
        gateway = spec.sources.gateway if isinstance(spec.sources, Signals) else None
        name = (gateway.name if gateway is not None else None) or spec.target.partition("/")[2]
        return (
            f"no fresh, possible value of {' or '.join(preset.metrics)} ({preset.title}) for '{name}' in namespace '{spec.namespace}': it has "
            "seen no request for it yet, or calls it otherwise (signals.gateway.name)"
        )

    def _no_pods(self, row: int) -> str:
        replicas = int(self._fleet.current[row])
        return f"none of its {replicas} replicas is ready" if replicas else "it has no ready replica"
