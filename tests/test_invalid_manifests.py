"""tests/manifests/invalid: one fault a file. `autoscaler validate` names each with file, line and field; the API server refuses it
naming the field, or lets it in and it must end in a condition.

The head of each file says which: ``# expect:`` the field, ``# server:`` refuses | condition | overwrites (what comes second silently
wins: a key that is written twice, an object of the same name).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscaler.adapters.prometheus.promql import QueryRefused, confine
from autoscaler.manifests import load_manifests, validate
from autoscaler.plugins import load_policies
from tests.conftest import ROOT
from tests.installed_crds import GROUP_PATH, install_crds
from tests.realparts.control_plane import ControlPlane

FOLDER = ROOT / "tests" / "manifests" / "invalid"
FILES = sorted(FOLDER.glob("*.yaml"))
HEAD_LINES = 3
NAMED_AS = {"apiVersion": "version"}
"""How kubectl names a field in words."""
OTHER = {
    "apiVersion": "inference-autoscaler.io/v1alpha1",
    "kind": "InferenceAutoscaler",
    "metadata": {"name": "other"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "other"}, "maxReplicas": 2},
}


@dataclass(frozen=True)
class Expected:
    """What a file's head says."""

    field: str
    server: str


def expected(file: Path) -> Expected:
    head = dict(re.findall(r"^# (\w+): (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))
    return Expected(field="" if head["expect"] == "(document)" else head["expect"], server=head["server"])


def check_query(query: str, namespace: str) -> str:
    try:
        confine(query, namespace)
    except QueryRefused as refusal:
        return str(refusal)
    return ""


def test_there_are_at_least_forty() -> None:
    assert len(FILES) >= 40
    assert {expected(file).server for file in FILES} == {"refuses", "condition", "overwrites"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_validate_names_the_one_fault(file: Path) -> None:
    faults = validate([file], policies=load_policies(), check_query=check_query).faults
    assert [fault.path for fault in faults] == [expected(file).field], "\n".join(map(str, faults))
    (fault,) = faults
    assert fault.file == str(file)
    assert fault.line > HEAD_LINES
    assert fault.message
    last = re.findall(r"[A-Za-z]+", fault.path)[-1:]
    written = file.read_text(encoding="utf-8").splitlines()[fault.line - 1]
    if not fault.message.startswith(("needed", "not YAML", "exactly one", "minReplicas, maxReplicas or both", "the same as")):
        assert not last or last[0] in written, f"line {fault.line} is: {written}"


@pytest.mark.parametrize("file", sorted((ROOT / "deploy" / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_are_valid(file: Path) -> None:
    assert load_manifests([file], policies=load_policies(), check_query=check_query)


@pytest.mark.realparts
async def test_the_api_server_refuses_each_naming_the_field(control_plane: ControlPlane, namespace: str) -> None:
    await install_crds(control_plane)
    path = f"{GROUP_PATH}/namespaces/{namespace}/inferenceautoscalers"
    await control_plane.api.create(path, OTHER)
    before = await control_plane.api.get(path)
    wrong = []
    for file in FILES:
        wanted = expected(file)
        code, out, err = await control_plane.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", str(file))
        if wanted.server != "refuses":
            if code != 0:
                wrong.append(f"{file.name}: should be let in: {err}")
        elif code == 0:
            wrong.append(f"{file.name}: was let in: {out}")
        elif (last := re.findall(r"[A-Za-z]+", wanted.field)[-1:]) and not any(
            word in err for word in (last[0], NAMED_AS.get(last[0], last[0]))
        ):
            wrong.append(f"{file.name}: {last[0]} is not named: {err}")
    assert not wrong, "\n".join(wrong)
    assert (await control_plane.api.get(path))["items"] == before["items"], "somebody else's object was touched"


@pytest.mark.realparts
async def test_the_api_server_takes_the_examples(control_plane: ControlPlane, namespace: str) -> None:
    await install_crds(control_plane)
    for file in sorted((ROOT / "deploy" / "examples").glob("*.yaml")):
        text = file.read_text(encoding="utf-8").replace("namespace: models", f"namespace: {namespace}")
        await control_plane.apply(text, namespace=namespace)
