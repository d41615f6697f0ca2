"""The rules between fields: each is broken by some invalid manifest, and CEL on the real API server agrees with Python on made specs."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler import spec
from autoscaler.manifest_rules import RULES, broken
from autoscaler.schema import schema_of
from autoscaler.structure import check
from autoscaler.yaml_tree import documents
from tests.conftest import ROOT
from tests.installed_crds import GROUP_PATH, install_crds
from tests.realparts.api import ApiError
from tests.realparts.control_plane import ControlPlane

SMALL = st.integers(0, 6)
SECRET = st.just({"name": "prometheus", "key": "token"})


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping in which any field may be left out."""
    return st.fixed_dictionaries({}, optional=fields)


HEADERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["X-Scope-OrgID", "Authorization", "COOKIE", "x-api-key"])},
        optional={"value": st.just("plain"), "valueFrom": SECRET},
    ),
    max_size=2,
    unique_by=lambda header: str(header["name"]),
)
PROMETHEUS = some(
    name=st.just("main"),
    url=st.sampled_from(["http://prometheus:9090", "https://prometheus:9090"]),
    bearerToken=SECRET,
    basicAuth=st.fixed_dictionaries({"username": st.just("me"), "password": SECRET}),
    tls=some(ca=SECRET, cert=SECRET, key=SECRET),
    headers=HEADERS,
)
MOMENTS = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:30:00+01:00",
        "2026-01-01T00:00:00.5Z",
        "2025-12-31T23:30:00-01:00",
        "2027-06-01T00:00:00Z",
    ]
)
WINDOW = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c"])},
    optional={"minReplicas": SMALL, "maxReplicas": st.integers(1, 6), "notBefore": MOMENTS, "notAfter": MOMENTS},
)
RATIO = st.fixed_dictionaries(
    {"to": st.sampled_from(["prefill", "decode", "encode"])},
    optional={"min": st.sampled_from([0, 0.25, 1, 2.5]), "max": st.sampled_from([0.5, 1, 4])},
)
SPECS = st.fixed_dictionaries(
    {
        "scaleTargetRef": st.fixed_dictionaries(
            {"kind": st.just("Deployment"), "name": st.just("llama")},
            optional={"apiVersion": st.sampled_from(["apps/v1", "autoscaling/v2", "v1", "inference-autoscaler.io/v1alpha1"])},
        ),
        "maxReplicas": st.integers(1, 6),
    },
    optional={
        "minReplicas": SMALL,
        "replicaMultiple": st.integers(1, 6),
        "nodePool": st.just("h100"),
        "acceleratorsPerReplica": st.integers(0, 2),
        "objective": some(
            signal=st.sampled_from(["queue_wait_s", "utilization", "kv_cache_utilization"]),
            target=st.sampled_from(["5s", "0s", "0.0m", "70%", "0%", "100%", "100.5%", "0.01%"]),
            promised=st.sampled_from(["99%", "0%", "0.0", "0.95", "1.0"]),
        ),
        "objectives": st.lists(
            st.fixed_dictionaries(
                {
                    "signal": st.sampled_from(["itl_s", "utilization", "running"]),
                    "target": st.sampled_from(["50ms", "0s", "70%", "0.0%", "100.5%", "24", "0", "1.5"]),
                }
            ),
            max_size=3,
            unique_by=lambda objective: str(objective["signal"]),
        ),
        "capacity": some(
            mode=st.sampled_from(["Given", "Learnt"]),
            requestsPerSecond=st.sampled_from([0.5, 1, 2.5, 4]),
            bounds=some(min=st.sampled_from([0.5, 1, 3]), max=st.sampled_from([1, 2.5, 4.0])),
            interTokenLatency=st.sampled_from(["30ms", "0s", "0.0ms"]),
            prefill=st.sampled_from(["1s", "0s"]),
        ),
        "signals": some(staleAfter=st.sampled_from(["60s", "0s", "0.5s"]), prometheus=PROMETHEUS),
        "fallback": some(action=st.sampled_from(["Hold", "AtLeast", "Exactly"]), replicas=SMALL),
        "schedules": st.lists(WINDOW, max_size=3, unique_by=lambda window: str(window["name"])),
        "role": st.fixed_dictionaries(
            {"service": st.just("chat"), "name": st.sampled_from(["prefill", "decode"])},
            optional={"ratios": st.lists(RATIO, max_size=3, unique_by=lambda ratio: str(ratio["to"]))},
        ),
    },
)


def manifest(wanted: dict[str, Any], name: str = "llama") -> dict[str, Any]:
    return {"apiVersion": spec.API_VERSION, "kind": "InferenceAutoscaler", "metadata": {"name": name}, "spec": wanted}


def messages(whole: dict[str, Any]) -> set[str]:
    """The messages of the rules that Python finds broken."""
    filled, flaws = check(schema_of(spec.InferenceAutoscaler), whole)
    assert not flaws, flaws
    return {rule.message for rule, _ in broken("InferenceAutoscaler", filled)}


def test_every_rule_is_broken_by_an_invalid_manifest() -> None:
    found = set()
    for file in (ROOT / "tests" / "manifests" / "invalid").glob("*.yaml"):
        for document in documents(file.read_text(encoding="utf-8")):
            tree = document.tree
            if isinstance(tree, dict) and tree.get("kind") in ("InferenceAutoscaler", "AcceleratorPool"):
                filled, flaws = check(schema_of(getattr(spec, tree["kind"])), tree)
                found |= {(rule.kind, rule.name) for rule, _ in broken(tree["kind"], filled, {flaw.path for flaw in flaws})}
    assert found == {(rule.kind, rule.name) for rule in RULES}


def test_messages_tell_rules_apart() -> None:
    texts = [rule.message for rule in RULES if rule.kind == "InferenceAutoscaler"]
    assert not [(a, b) for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j and a in b]


def test_rules_do_not_judge_what_has_no_type() -> None:
    whole = manifest(
        {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": "many", "schedules": 5, "objective": []}
    )
    filled, flaws = check(schema_of(spec.InferenceAutoscaler), whole)
    assert len(flaws) == 3
    assert not list(broken("InferenceAutoscaler", filled, {flaw.path for flaw in flaws}))


@given(SPECS)
def test_python_judges_any_well_typed_spec(wanted: dict[str, Any]) -> None:
    before = copy.deepcopy(wanted)
    messages(manifest(wanted))
    assert wanted == before


@pytest.mark.realparts
async def test_cel_and_python_agree(control_plane: ControlPlane, namespace: str) -> None:
    await install_crds(control_plane)
    path = f"{GROUP_PATH}/namespaces/{namespace}/inferenceautoscalers"
    made: list[dict[str, Any]] = []

    # Collected first, since a property is no coroutine; what differs is printed whole.
    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(SPECS)
    def collect(wanted: dict[str, Any]) -> None:
        made.append(wanted)

    collect()
    wrong = []
    for wanted in [*made, {**made[0], "tooLong": None}]:
        name = "x" * 64 if "tooLong" in wanted else "llama"
        whole = manifest({key: value for key, value in wanted.items() if key != "tooLong"}, name)
        expected = messages(whole)
        answer = ""
        try:
            await control_plane.api.request("POST", path, whole, params={"dryRun": "All", "fieldValidation": "Strict"})
        except ApiError as refusal:
            answer = str(refusal)
        said = {rule.message for rule in RULES if rule.kind == "InferenceAutoscaler" and rule.message in answer}
        if said != expected or bool(answer) != bool(expected):
            wrong.append(f"{json.dumps(whole['spec'])}\n  python: {expected}\n  server: {answer}")
    assert not wrong, "\n".join(wrong[:5])


ODD: list[Any] = [
    None,
    True,
    "",
    "x",
    "5s",
    "70%",
    0,
    -1,
    3,
    3.0,
    2.5,
    10**6,
    10**12,
    [],
    {},
    [1],
    ["vllm"],
    {"name": "x"},
    "2026-01-31T06:00:00Z",
    "A b",
]
PATHS: list[tuple[Any, ...]] = [
    ("maxReplicas",), ("minReplicas",), ("mode",), ("nodePool",), ("priority",), ("policies",), ("pause",), ("drain",), ("surprise",),
    ("scaleTargetRef",), ("scaleTargetRef", "kind"), ("scaleTargetRef", "apiVersion"), ("scaleTargetRef", "name"),
    ("objective",), ("objective", "target"), ("objective", "promised"), ("objectives",), ("signals",), ("signals", "presets"), ("signals", "queries"),
    ("signals", "staleAfter"), ("signals", "prometheus"), ("behavior", "scaleUp"), ("behavior", "scaleUp", "policies"),
    ("behavior", "scaleDown", "stabilizationWindowSeconds"), ("capacity", "requestsPerSecond"), ("capacity", "concurrency"),
    ("leadTime", "replica"), ("leadTime", "measured"), ("fallback", "replicas"), ("fallback", "after"), ("pause", "until"),
    ("schedules",), ("schedules", 0, "notBefore"), ("schedules", 0, "notAfter"), ("schedules", 0, "days"), ("drain", "time"),
    ("role",), ("role", "service"), ("role", "name"), ("role", "ratios"),
]  # fmt: skip


@pytest.mark.realparts
async def test_what_passes_here_passes_there(control_plane: ControlPlane, namespace: str) -> None:
    """One odd value at any place: this check and the API server's own agree on whether the manifest is valid."""
    await install_crds(control_plane)
    path = f"{GROUP_PATH}/namespaces/{namespace}/inferenceautoscalers"
    wrong = []
    for place in PATHS:
        for odd in ODD:
            whole = manifest({"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": 5})
            here: Any = whole["spec"]
            if place[0] == "schedules" and len(place) > 1:
                here["schedules"] = [{"name": "a", "minReplicas": 1}]
            for step in place[:-1]:
                here = here[step] if isinstance(here, list) else here.setdefault(step, {})
            here[place[-1]] = odd
            filled, flaws = check(schema_of(spec.InferenceAutoscaler), whole)
            ours = [f"{flaw.path}: {flaw.message}" for flaw in flaws]
            ours += [rule.message for rule, _ in broken("InferenceAutoscaler", filled, {flaw.path for flaw in flaws})]
            # kubectl writes 3.0 as 3; sent as 3.0 some rules would not take it for a whole number.
            here[place[-1]] = 3 if odd == 3 else odd
            answer = ""
            try:
                await control_plane.api.request("POST", path, whole, params={"dryRun": "All", "fieldValidation": "Strict"})
            except ApiError as refusal:
                answer = str(refusal)
            if bool(ours) != bool(answer):
                wrong.append(f"{'.'.join(map(str, place))} = {odd!r}\n  python: {ours}\n  server: {answer}")
    assert not wrong, "\n".join(wrong)
