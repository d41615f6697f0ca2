"""What a person asked to be tuned, and what that is once files are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from autoscaler import spec
from autoscaler.core.model import PolicyRef, ScalingSpec
from autoscaler.errors import UsageError
from autoscaler.manifests import load_manifests
from autoscaler.spec import share_ratio
from replay.compare import labels
from replay.plugins import loadable
from replay.run import doubts
from replay.scenario import Scenario, load_scenario
from replay.settings import split
from replay.traces.registry import format_of, read_requests, read_trace
from replay.traces.requests import RequestLog
from replay.traces.series import CountSeries
from replay.traces.uses import trace_use
from replay.world import services


def share_of(flag: str, text: str) -> float:
    """The ratio of a share's text, below 1. Raises UsageError."""
    try:
        ratio = share_ratio(text)
    except ValueError as fault:
        raise UsageError(f"{flag}: {fault}") from None
    if not ratio < 1:
        raise UsageError(f"{flag}: {text} leaves nothing; less than 100% is allowed")
    return ratio


def ranges_of(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """``POLICY.PARAM=LOW..HIGH`` by name. Raises UsageError."""
    found = {}
    for text in texts:
        name, _, ends = text.partition("=")
        low, _, high = ends.partition("..")
        try:
            found[name.strip()] = float(low), float(high)
        except ValueError:
            raise UsageError(f"--range {text}: write POLICY.PARAM=LOW..HIGH, such as reactive.z=0.5..3") from None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """asked, with manifests read and traces, labels and scenarios side by side. specs: what is tuned, one service after another."""

    asked: Asked
    manifests: Sequence[spec.Manifest]
    specs: Sequence[ScalingSpec]
    labels: Sequence[str]
    traces: Sequence[CountSeries | RequestLog]
    scenarios: Sequence[Scenario]

    def doubts(self) -> list[str]:
        """What is doubtful about the traces, as a run warns of it; each once."""
        found = [text for one, trace in zip(self.scenarios, self.traces, strict=True) for text in doubts(self.specs, one, trace)]
        return list(dict.fromkeys(found))

    def fingerprints(self) -> dict[str, str]:
        """What scores depend on, by what people call it."""
        from importlib.metadata import version

        return {
            "version": version("inference-autoscaler"),
            "manifest": _digest(msgspec.json.encode(list(self.manifests))),
            "scenario": _digest(msgspec.json.encode(list(self.scenarios))),
            "traffic": " ".join(_traffic_digest(trace) for trace in self.traces),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """settings: of ``--set``, by path. policy: instead of the manifests' own. ranges, kept: by ``policy.parameter``."""

    manifests: Sequence[Path]
    scenario: Path
    traces: Sequence[str]
    settings: Mapping[str, str]
    policy: PolicyRef | None
    trials: int
    seed: int
    generation: int
    held_out_ratio: float
    margin_ratio: float
    ranges: Mapping[str, tuple[float, float]]
    kept: Sequence[str]

    def loaded(self) -> Loaded:
        """Reads all files. Raises InvalidManifest, UsageError, OutsideError, TraceError."""
        of_manifest, of_scenario = split(self.settings)
        manifests = load_manifests(list(self.manifests), of_manifest, policies=loadable())
        uses = [trace_use(text) for text in self.traces]
        scenarios = [load_scenario(self.scenario, of_scenario, use) for use in uses]
        return Loaded(
            asked=self,
            manifests=manifests,
            specs=services(manifests),
            labels=labels(uses),
            traces=[_read(use.path, singly=one.plant == "requests") for use, one in zip(uses, scenarios, strict=True)],
            scenarios=scenarios,
        )


def _read(path: Path, *, singly: bool) -> CountSeries | RequestLog:
    return read_requests(path) if singly and format_of(path).requests is not None else read_trace(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _traffic_digest(trace: CountSeries | RequestLog) -> str:
    """Of what was recorded, whatever the file is called or how it is packed."""
    if isinstance(trace, RequestLog):
        return _digest(b"".join(column.tobytes() for column in (trace.times_s, trace.prompt_tokens, trace.output_tokens)))
    return _digest(orjson.dumps(trace.bin_s) + trace.counts.tobytes())
