"""From a scenario test file to tests that can be run; every fault with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from autoscaler import spec
from autoscaler.core.signals import SIGNALS
from autoscaler.errors import AutoscalerError, InvalidManifest
from autoscaler.manifests import validate
from autoscaler.schema import schema_of
from autoscaler.spec import DURATION_PATTERN, duration_s
from autoscaler.structure import check, did_you_mean
from autoscaler.yaml_tree import Path as TreePath
from autoscaler.yaml_tree import documents
from replay.plugins import loadable
from replay.scenario import Scenario, scenario_of, whole_s
from replay.scenario_tests.form import Event, ScenarioTestFile
from replay.scenario_tests.notation import Range, Series, parse_range, parse_series
from replay.world import services
from replay.yaml_file import YamlFile, read_yaml

STANDARD_MANIFEST: Final = Path(__file__).resolve().parent.parent / "standard" / "manifest.yaml"
COUNTS: Final = ("replicas", "recommended", "current", "ready", "starting", "draining", "nodes", "queue")
FLAGS: Final = ("blind", "partial")
_WORDS: Final = ("limits", "reason")
_WHEN: Final = ("at", "from", "to", "service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is expected of a service from from_s to to_s (both included). line: of the expectation; lines: of each of its fields."""

    line: int
    lines: Mapping[str, int]
    from_s: float
    to_s: float
    service: str
    counts: Mapping[str, Range]
    flags: Mapping[str, bool]
    limits: Sequence[str] | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test that can be run. series: by (signal, service or '' for all). score: field → (allowed, line)."""

    __test__ = False  # no test of pytest's

    file: str
    line: int
    name: str
    manifests: Sequence[spec.Manifest]
    scenario: Scenario
    traffic: Series | None
    series: Mapping[tuple[str, str], Series]
    events: Sequence[Event]
    expectations: Sequence[Expectation]
    score: Mapping[str, tuple[Range, int]]

    @property
    def end_s(self) -> float:
        """Until when it runs: the longest series, the last event and expectation, an interval at least."""
        interval_s = whole_s(self.scenario.interval)
        series = [*self.series.values(), *([] if self.traffic is None else [self.traffic])]
        ends = [float(len(one) * interval_s) for one in series]
        ends += [expected.to_s + interval_s for expected in self.expectations]
        ends += [duration_s(event.at) + interval_s for event in self.events]
        return max(ends, default=interval_s)


def load_tests(path: Path) -> list[Test]:
    """Raises InvalidSetting with every fault, UsageError (no such file), OutsideError."""
    file = read_yaml(path, "ScenarioTest")
    if not file.faults and not isinstance(file.tree, Mapping):
        file.flaw((), file.tree, "a mapping with `tests` is expected")
    file.check()
    made, flaws = check(schema_of(ScenarioTestFile), file.tree)
    for flaw in flaws:
        file.flaw(flaw.path, flaw.value, flaw.message)
    file.check()
    whole = msgspec.convert(made, ScenarioTestFile)
    manifest = STANDARD_MANIFEST if whole.manifest is None else path.parent / whole.manifest
    objects = _objects(manifest, file)
    tests = [_test(file, index, whole, manifest, objects) for index in range(len(whole.tests))]
    file.check()
    return [test for test in tests if test is not None]


def _objects(manifest: Path, file: YamlFile) -> list[Any]:
    """The manifest file's objects as plain data."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        file.flaw(("manifest",), str(manifest), f"can't be read ({fault})")
        file.check()
        raise
    found = list(documents(text))
    if problem := next((one for document in found for one in document.problems), None):
        file.flaw(("manifest",), str(manifest), f"line {problem.line}: {problem.message}")
        file.check()
    return [document.tree for document in found]


def _test(file: YamlFile, index: int, whole: ScenarioTestFile, manifest: Path, objects: Sequence[Any]) -> Test | None:
    test, at = whole.tests[index], ("tests", index)
    manifests = _manifests(file, at, objects, test.spec)
    scenario, flaws = scenario_of(test.scenario)
    for flaw in flaws:
        file.flaw((*at, "scenario", *flaw.path), flaw.value, flaw.message)
    keys: list[str] = []
    if manifests is not None:
        try:
            keys = [one.key for one in services(manifests)]
        except AutoscalerError as fault:
            file.flaw(("manifest",), str(manifest), str(fault))
    traffic = None if test.traffic is None else _series(file, (*at, "traffic"), test.traffic)
    if traffic is not None and not bool((traffic.values >= 0).all()):
        file.flaw((*at, "traffic"), test.traffic, "requests/s can't be unknown, idle or negative")
    series = {}
    for name, text in test.series.items():
        service, _, signal = name.rpartition(" ")
        where = (*at, "series", name)
        if signal not in SIGNALS:
            file.flaw(where, None, f"no such signal; {did_you_mean(signal, SIGNALS)}")
        _known_service(file, where, service, keys)
        if (parsed := _series(file, where, text)) is not None:
            series[signal, service] = parsed
    for number, event in enumerate(test.events):
        _known_service(file, (*at, "events", number, "service"), event.service, keys)
    expectations = [_expectation(file, (*at, "expect", number), one, keys) for number, one in enumerate(test.expect)]
    score = {field: _range(file, (*at, "score", field), value) for field, value in test.score.items()}
    if not test.expect and not test.score:
        file.flaw(at, test.name, "expects nothing: expect, score or both are needed")
    if file.faults or manifests is None or scenario is None:
        return None
    return Test(
        file=str(file.path),
        line=file.line_of(at),
        name=test.name,
        manifests=manifests,
        scenario=scenario,
        traffic=traffic,
        series=series,
        events=test.events,
        expectations=expectations,
        score={field: (allowed, file.line_of((*at, "score", field))) for field, allowed in score.items()},
    )


def _manifests(file: YamlFile, at: TreePath, objects: Sequence[Any], given: Mapping[str, Any]) -> list[spec.Manifest] | None:
    """The manifests with the test's fields in them; None where they are faulty."""
    trees = []
    for tree in objects:
        if isinstance(tree, dict) and tree.get("kind") == "InferenceAutoscaler" and isinstance(tree.get("spec"), dict):
            tree = {**tree, "spec": {**tree["spec"], **given}}
        trees.append(orjson.dumps(tree).decode())
    reading = validate(["\n---\n".join(trees) + "\n"], policies=loadable())
    seen = set()
    for fault in reading.faults:
        steps: tuple[str | int, ...] = tuple(
            int(step) if step.isdigit() else step for step in re.sub(r"\[(\d+)\]", r".\1", fault.path).split(".") if step
        )
        words = f"{fault.object}: {fault.message}"
        if (steps, words) not in seen:
            seen.add((steps, words))
            file.flaw((*at, *steps), fault.value, words)
    return None if reading.faults else reading.manifests


def _series(file: YamlFile, where: TreePath, text: str) -> Series | None:
    try:
        return parse_series(text)
    except ValueError as fault:
        file.flaw(where, text, str(fault))
        return None


def _range(file: YamlFile, where: TreePath, value: Any) -> Range:
    try:
        return parse_range(value)
    except ValueError as fault:
        file.flaw(where, value, str(fault))
        return Range(low=-math.inf, high=math.inf)


def _known_service(file: YamlFile, where: TreePath, service: str, keys: Iterable[str]) -> None:
    if service and keys and service not in keys:
        file.flaw(where, service, f"no such service in the manifest; {did_you_mean(service, keys)}")


def _expectation(file: YamlFile, at: TreePath, given: Mapping[str, Any], keys: Sequence[str]) -> Expectation:
    known = (*_WHEN, *COUNTS, *FLAGS, *_WORDS)
    for name in given:
        if name not in known:
            file.flaw((*at, name), None, f"unknown field; {did_you_mean(name, known)}")
    from_s, to_s = _when(file, at, given)
    if not any(name in given for name in (*COUNTS, *FLAGS, *_WORDS)):
        file.flaw(at, None, f"expects nothing; one of {', '.join((*COUNTS, *FLAGS, *_WORDS))} is needed")
    for name in FLAGS:
        if name in given and not isinstance(given[name], bool):
            file.flaw((*at, name), given[name], "true or false is expected")
    limits, reason = given.get("limits"), given.get("reason", "")
    if limits is not None and not (isinstance(limits, list) and all(isinstance(name, str) for name in limits)):
        file.flaw((*at, "limits"), limits, "a list of names is expected, such as [Bounds]; [] for none")
    if not isinstance(reason, str):
        file.flaw((*at, "reason"), reason, "a part of the reason's words is expected")
    service = given.get("service", "")
    if not isinstance(service, str):
        file.flaw((*at, "service"), service, "namespace/name is expected")
    elif service or len(keys) < 2:
        _known_service(file, (*at, "service"), service, keys)
    else:
        file.flaw(at, None, f"which service? There are {', '.join(keys)}")
    return Expectation(
        line=file.line_of(at),
        lines={name: file.line_of((*at, name)) for name in given},
        from_s=from_s,
        to_s=to_s,
        service=service or (keys[0] if keys else ""),
        counts={name: _range(file, (*at, name), given[name]) for name in COUNTS if name in given},
        flags={name: given[name] for name in FLAGS if name in given},
        limits=limits,
        reason=reason,
    )


def _when(file: YamlFile, at: TreePath, given: Mapping[str, Any]) -> tuple[float, float]:
    moments = {}
    for name in ("at", "from", "to"):
        if name not in given:
            continue
        if isinstance(given[name], str) and re.fullmatch(DURATION_PATTERN, given[name]):
            moments[name] = duration_s(given[name])
        else:
            file.flaw((*at, name), given[name], "a duration such as 90s or 1h30m, from the test's start, is expected")
            moments[name] = 0.0
    if set(moments) == {"at"}:
        return moments["at"], moments["at"]
    if set(moments) != {"from", "to"}:
        file.flaw(at, None, "`at`, or `from` and `to`, is needed")
        return 0.0, 0.0
    if moments["from"] > moments["to"]:
        file.flaw((*at, "to"), given["to"], "lies before `from`")
    return moments["from"], moments["to"]


def faults_of(error: InvalidManifest) -> list[dict[str, Any]]:
    """The faults of a file as JSON."""
    return [{"file": fault.file, "line": fault.line, "path": fault.path, "message": fault.message} for fault in error.faults]
