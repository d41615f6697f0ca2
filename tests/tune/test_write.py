"""TUNED.yaml is the manifest that was given, valid, with the tuned values and where they come from; nothing else of it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler import spec
from autoscaler.manifests import load_manifests
from autoscaler.plugins import installed
from replay.tune.result import Tuned
from replay.tune.write import tuned_text
from tests.replay.made import STANDARD, write
from tests.tune.made import asked, ref, trace, tuned

TWO = """\
# Two services.
apiVersion: v1
kind: List
items:
  - apiVersion: inference-autoscaler.io/v1alpha1
    kind: InferenceAutoscaler
    metadata: {name: standard}     # this one is tuned
    spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 9, policies: [{name: reactive, params: {z: 1.5}}]}
  - apiVersion: inference-autoscaler.io/v1alpha1
    kind: InferenceAutoscaler
    metadata: {name: other}
    spec: {scaleTargetRef: {kind: Deployment, name: b}, maxReplicas: 9, policies: [{name: reactive, params: {z: 1.5}}]}
"""
ALIASED = TWO.replace("params: {z: 1.5}}", "params: &p {z: 1.5}}", 1).replace("params: {z: 1.5}}", "params: *p}", 1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    (one,) = tuned(asked([trace(folder)], trials=4), folder / "out.yaml").results
    return one


def params_of(found: Tuned) -> dict[str, object]:
    return {name.removeprefix("reactive."): value for name, value in found.values.items()}


def policies_of(text: str) -> dict[str, list[spec.PolicyUse]]:
    return {
        one.metadata.name: one.spec.policies
        for one in load_manifests([text], policies=installed().policies)
        if isinstance(one, spec.InferenceAutoscaler)
    }


def test_comments_stay_and_only_the_parameters_change(found: Tuned) -> None:
    before = (STANDARD / "manifest.yaml").read_text("utf-8")
    text = tuned_text([STANDARD / "manifest.yaml"], [found], installed().policies, ["version 1"])
    head, rest = [line for line in text.splitlines() if line[:1] == "#"], text[text.index("# The service of the standard") :]
    assert head[1] == "#   version 1"
    added = [line for line in rest.splitlines() if line not in before.splitlines()]
    assert len(added) == 1
    assert added[0].startswith("      params: {z: ")
    assert policies_of(text)["standard"][0].params == params_of(found)


def test_tuned_again_it_has_one_head(found: Tuned, tmp_path: Path) -> None:
    once = tuned_text([STANDARD / "manifest.yaml"], [found], installed().policies, ["first"])
    twice = tuned_text([write(tmp_path / "once.yaml", once)], [found], installed().policies, ["second"])
    assert twice == once.replace("#   first", "#   second")


def test_in_a_list_only_the_service_that_is_meant(found: Tuned, tmp_path: Path) -> None:
    text = tuned_text([write(tmp_path / "two.yaml", TWO)], [found], installed().policies, [])
    assert "# this one is tuned" in text
    made = policies_of(text)
    assert made["standard"][0].params == params_of(found)
    assert made["other"][0].params == {"z": 1.5}


def test_shared_parameters_are_written_apart(found: Tuned, tmp_path: Path) -> None:
    """In place it would change the other service, too."""
    text = tuned_text([write(tmp_path / "aliased.yaml", ALIASED)], [found], installed().policies, [])
    assert "the files' own comments are left out" in text
    made = policies_of(text)
    assert made["standard"][0].params == params_of(found)
    assert made["other"][0].params == {"z": 1.5}


def test_another_policy_takes_the_place_of_the_manifest_s(found: Tuned) -> None:
    other = replace(found, tuned=replace(found.tuned, policies=(ref("target", signal="demand", target=1.1),)))
    text = tuned_text([STANDARD / "manifest.yaml"], [other], installed().policies, [])
    assert policies_of(text)["standard"] == [spec.PolicyUse(name="target", params={"signal": "demand", "target": 1.1})]
    assert "# time per token" in text


def test_several_files_become_one(found: Tuned, tmp_path: Path) -> None:
    pool = "---\n# Nodes.\napiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: big}\nspec: {maxNodes: 3}\n"
    text = tuned_text([STANDARD / "manifest.yaml", write(tmp_path / "pool.yaml", pool)], [found], installed().policies, [])
    assert [type(one).__name__ for one in load_manifests([text])] == ["InferenceAutoscaler", "AcceleratorPool"]
    assert "# Nodes." in text
