from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.errors import InvalidManifest, UsageError
from replay.scenario import Scenario, load_scenario, start_unix_s
from replay.traces.uses import trace_use
from tests.replay.made import STANDARD, write


def test_the_standard_scenario_is_the_defaults_written_out() -> None:
    assert load_scenario(STANDARD / "scenario.yaml") == load_scenario(None) == Scenario()
    assert start_unix_s(Scenario()) == 1704067200.0


def test_the_paths_that_others_rely_on() -> None:
    made = load_scenario(
        STANDARD / "scenario.yaml",
        {"warmup": "2d", "noise": "false", "smoothing": "15m", "plant": "requests", "nodes.start": "0s"},
    )
    assert (made.warmup, made.noise, made.smoothing, made.plant, made.nodes.start) == ("2d", False, "15m", "requests", "0s")


def test_every_fault_is_found_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bad.yaml",
        "warmup: 2\nreplicas:\n  start: soon\n  many: 3\nmetrics:\n  period: 15s\n  window: 20s\nfaults:\n  - kind: Flood\n    at: 1h\n",
    )
    with pytest.raises(InvalidManifest) as error:
        load_scenario(path)
    found = {(fault.line, fault.path) for fault in error.value.faults}
    assert found == {(1, "warmup"), (3, "replicas.start"), (4, "replicas.many"), (9, "faults[0].kind")}
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("metrics: {window: 20s}", "metrics.window", "a multiple of period"),
        ("interval: 0s", "interval", "more than 0s"),
        ("nodes: {start: 1500ms}", "nodes.start", "whole seconds"),
        ("scale: {quantile: 1.5}", "scale.quantile", "0 to 1"),
        ("faults: [{kind: Surge, at: 1h, notice: 30s}]", "faults[0].notice", "with kind SpotLoss only, and this is Surge"),
        ("faults: [{kind: SpotLoss, at: 1h, notice: 1500ms}]", "faults[0].notice", "whole seconds"),
        ("faults: [{kind: SpotLoss, at: 1h, notice: soon}]", "faults[0].notice", "a duration such as"),
        ("faults: [{kind: SlowStarts, at: 1h, pool: h100}]", "faults[0].pool", "with kind SpotLoss or ScarceNodes only"),
        ("faults: [{kind: ScarceNodes, at: 1h, pool: a, service: b/c}]", "faults[0].pool", "not both"),
        ("a: [", "", "not YAML"),
        ("- 1", "", "a mapping is expected"),
    ],
)
def test_flaws_beyond_the_schema(tmp_path: Path, text: str, path: str, words: str) -> None:
    with pytest.raises(InvalidManifest) as error:
        load_scenario(write(tmp_path / "s.yaml", text + "\n"))
    assert error.value.faults[0].path == path
    assert words in error.value.faults[0].message


def test_a_bad_setting_names_the_flag_and_an_unknown_one_is_wrong_usage() -> None:
    with pytest.raises(InvalidManifest, match=r"--set scenario.nodes.start=soon: .*nodes.start"):
        load_scenario(None, {"nodes.start": "soon"})
    with pytest.raises(UsageError, match="did you mean 'warmup'"):
        load_scenario(None, {"warmupp": "2d"})
    with pytest.raises(UsageError, match=r"^--set scenario\.nodes\.foo: unknown field 'foo'"):
        load_scenario(None, {"nodes.foo": "1"})
    with pytest.raises(UsageError, match=r"^--set scenario\.faults\.7\.kind: '7' is no item"):
        load_scenario(None, {"faults.7.kind": "Outage"})
    with pytest.raises(UsageError, match=r"^-t day\.csv:foo: unknown field 'foo'"):
        load_scenario(None, None, trace_use("day.csv:foo=1"))
    with pytest.raises(InvalidManifest, match=r"^-t day\.csv:smoothing=soon: "):
        load_scenario(None, None, trace_use("day.csv:smoothing=soon"))
    with pytest.raises(UsageError, match="no such file"):
        load_scenario(Path("nowhere.yaml"))
