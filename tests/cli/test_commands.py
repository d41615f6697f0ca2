"""validate, policies, crds and the command line as a whole."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autoscaler.crds import crds
from autoscaler.manifest_rules import RULES
from tests.cli.running import autoscaler
from tests.conftest import ROOT

GOOD = "deploy/examples/vllm-deployment.yaml"
BAD = "tests/manifests/invalid/min-above-max.yaml"
TYPO = "tests/manifests/invalid/unknown-field.yaml"


async def test_every_example_is_valid() -> None:
    examples = sorted(str(path) for path in (ROOT / "deploy" / "examples").glob("*.yaml"))
    assert len(examples) >= 4
    ran = await autoscaler("validate", *examples)
    assert (ran.code, ran.err.strip()[:8]) == (0, "0 faults"), ran.err


async def test_help_names_every_command_that_there_is() -> None:
    ran = await autoscaler("--help")
    assert ran.code == 0
    named = re.findall(r"^  ([a-z-]+)  ", ran.out[ran.out.index("Commands:") :], re.M)
    assert {"demo", "run", "validate", "explain", "policies", "crds"} <= set(named)
    for name in named:
        ran = await autoscaler(name, "--help")
        assert ran.code == 0, ran.err
        assert ran.out.startswith(f"Usage: autoscaler {name} ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['autoscaler', '--help']\n"
        "from autoscaler.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'msgspec', 'aiohttp', 'kubernetes_asyncio', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["", "demo", "validate", "explain", "policies", "crds"])
async def test_the_example_at_the_end_of_help_works(name: str) -> None:
    ran = await autoscaler(*name.split(), "--help")
    last = ran.out.strip().splitlines()[-1].strip().removeprefix("Example: ")
    for part in last.partition(" | ")[0].split(" && "):  # what follows a | wants a cluster
        done = subprocess.run([sys.executable, "-m", *shlex.split(part)], cwd=ROOT, capture_output=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr


async def test_the_example_of_run_stands_in_one_line_and_is_understood() -> None:
    last = (await autoscaler("run", "--help")).out.strip().splitlines()[-1].strip()
    words = shlex.split(last.removeprefix("Example: autoscaler "))
    ran = await autoscaler(*words, "--kubeconfig", "absent.yaml")  # it wants a cluster: this far and no further
    assert (ran.code, "absent.yaml" in ran.err) == (2, True), ran.err


async def test_wrong_usage_is_2() -> None:
    ran = await autoscaler("frobnicate")
    assert (ran.code, "there is no command 'frobnicate'; allowed: demo, run, " in ran.err) == (2, True), ran.err
    ran = await autoscaler("validat")
    assert (ran.code, "did you mean 'validate'?" in ran.err) == (2, True), ran.err
    assert (await autoscaler("validate")).code == 2
    ran = await autoscaler("validate", "absent.yaml")
    assert (ran.code, ran.out, ran.err) == (2, "", "absent.yaml: no such file\n")
    ran = await autoscaler("validate", GOOD, "--set", "maxReplica=3")
    assert ran.code == 2
    assert "did you mean 'maxReplicas'" in ran.err


async def test_validate_words() -> None:
    ran = await autoscaler("validate", GOOD, BAD, TYPO)
    assert ran.code == 1
    first, second, third = sorted(ran.out.splitlines(), key=lambda line: "metadata.name" in line)
    assert first.startswith(f"{BAD}:11: InferenceAutoscaler default/llama: spec.minReplicas: ")
    assert second.startswith(f"{TYPO}:11: InferenceAutoscaler default/llama: spec.maxReplica: unknown field; did you mean")
    assert third == f"{TYPO}:7: InferenceAutoscaler default/llama: metadata.name: the same object as in {BAD}:7 (is: llama)"
    assert ran.err == "3 faults, 1 valid manifest\n"


async def test_validate_json_is_one_document() -> None:
    ran = await autoscaler("validate", "--json", BAD)
    document = json.loads(ran.out)
    assert (ran.code, ran.err, document["valid"], document["manifests"]) == (1, "", False, [])
    (fault,) = document["faults"]
    assert set(fault) == {"file", "line", "object", "path", "value", "message"}
    assert (fault["line"], fault["path"], fault["value"]) == (11, "spec.minReplicas", "11")
    ran = await autoscaler("validate", "--json", GOOD)
    document = json.loads(ran.out)
    assert (ran.code, document["valid"], document["faults"]) == (0, True, [])
    assert document["manifests"] == [{"kind": "InferenceAutoscaler", "namespace": "models", "name": "llama"}]


async def test_validate_warns_of_signals_that_cannot_tell_load() -> None:
    beside = ("--set", "objectives.0.signal=gpu_utilization", "--set", "objectives.0.target=70%")
    ran = await autoscaler("validate", GOOD, *beside)
    assert (ran.code, ran.err) == (0, "0 faults, 1 valid manifest\n")
    assert ran.out.startswith("warning: --set objectives.0.signal=gpu_utilization: ")
    assert "spec.objectives[0].signal: the signal can't tell load" in ran.out
    document = json.loads((await autoscaler("validate", "--json", GOOD, *beside)).out)
    assert document["valid"]
    assert [warning["path"] for warning in document["warnings"]] == ["spec.objectives[0].signal"]
    assert json.loads((await autoscaler("validate", "--json", GOOD)).out)["warnings"] == []


async def test_validate_warns_of_two_objects_that_read_the_same_demand(tmp_path: Path) -> None:
    files = []
    for name in ("chat", "chat-canary"):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(
            f"{{apiVersion: inference-autoscaler.io/v1alpha1, kind: InferenceAutoscaler, metadata: {{name: {name}}}, spec: {{mode: Active, "
            f"maxReplicas: 9, scaleTargetRef: {{kind: Deployment, name: {name}}}, "
            "signals: {queries: [{signal: demand, query: sum(arrivals)}]}}}\n"
        )
    ran = await autoscaler("validate", *map(str, files))
    assert (ran.code, ran.err) == (0, "0 faults, 2 valid manifests\n")
    assert ran.out.count("warning: ") == 2
    assert "default/chat-canary reads, and each is sized for all of it" in ran.out
    shares = await autoscaler("validate", *map(str, files), "--set", "signals.share=50%")
    assert (shares.code, shares.out) == (0, "")


async def test_validate_reads_stdin() -> None:
    text = (ROOT / BAD).read_text(encoding="utf-8")
    ran = await autoscaler("validate", "-", stdin=text)
    assert ran.code == 1
    assert ran.out.startswith("<text>:11: ")
    assert (await autoscaler("validate", "-", "--set", "minReplicas=1", stdin=text)).code == 0


async def test_crds_prints_what_deploy_holds() -> None:
    ran = await autoscaler("crds")
    assert ran.code == 0
    assert list(yaml.safe_load_all(ran.out)) == crds(RULES)
    assert json.loads((await autoscaler("crds", "--json")).out)["items"] == crds(RULES)


async def test_policies() -> None:
    ran = await autoscaler("policies", "--json")
    document = json.loads(ran.out)
    by_name = {policy["name"]: policy for policy in document["policies"]}
    assert {"fixed", "schedule", "target", "reactive", "seasonal"} <= set(by_name)
    (replicas,) = by_name["fixed"]["parameters"]
    assert (replicas["name"], replicas["kind"], replicas["required"], replicas["default"]) == ("replicas", "int", False, -1)
    assert by_name["fixed"]["package"] == "inference-autoscaler"
    assert replicas["search"]["of"] == "bounds"
    target = by_name["target"]["parameters"][1]
    assert target["search"] == {"low": 0.3, "high": 1.1, "of": "held", "log_scale": True, "step": None}
    assert document["broken"] == {}
    words = (await autoscaler("policies", "fixed", "target", "schedule")).out
    assert "needed" in words  # the schedule's file
    assert "-1: the count stays as it is found" in words
    assert "tolerance" in words
    assert "minReplicas to maxReplicas" in words
    assert "seasonal" not in words
    ran = await autoscaler("policies", "fixd")
    assert (ran.code, ran.err) == (2, "no policy 'fixd' is installed; did you mean 'fixed'?\n")
