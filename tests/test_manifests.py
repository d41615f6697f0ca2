"""Loading manifest files: several documents and kinds, overrides, faults of all files at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler import spec
from autoscaler.core.policy import Parameter, PolicyType, Stateless
from autoscaler.errors import InvalidManifest, UsageError
from autoscaler.manifests import load_manifests, validate

SERVICE = """\
apiVersion: inference-autoscaler.io/v1alpha1
kind: InferenceAutoscaler
metadata:
  name: {name}
  namespace: models
spec:
  scaleTargetRef: {{kind: Deployment, name: {name}}}
  maxReplicas: {most}
"""
POOL = """\
apiVersion: inference-autoscaler.io/v1alpha1
kind: AcceleratorPool
metadata: {name: h100}
spec: {maxNodes: 4}
"""
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {anything: [1, 2]}\n"
TWO_TARGETS = PolicyType(
    name="even",
    summary="",
    parameters=(
        Parameter(name="low", kind="int", default=None, description="the low count", minimum=0),
        Parameter(name="high", kind="int", default=9, description="the high count"),
    ),
    make=lambda params, _rng: Stateless(params),  # type: ignore[arg-type, return-value]
    signals=lambda _params: ("queue",),
    check=lambda params: () if int(params["low"]) <= int(params["high"]) else ("low must not be above high",),
)


def service(name: str = "llama", most: object = 10, more: str = "") -> str:
    return SERVICE.format(name=name, most=most) + more


def words(text: str, **options: object) -> list[str]:
    return [str(fault) for fault in validate([text], **options).faults]  # type: ignore[arg-type]


def test_several_documents_and_kinds() -> None:
    reading = validate(["\n---\n".join([DEPLOYMENT, service(), "", POOL, "---"])])
    assert not reading.faults
    assert [type(manifest).__name__ for manifest in reading.manifests] == ["InferenceAutoscaler", "AcceleratorPool"]
    assert reading.skipped == 1


def test_a_list_object() -> None:
    items = "".join("- " + text.replace("\n", "\n  ").rstrip(" ") for text in (service(), DEPLOYMENT, service("b", 0)))
    reading = validate([f"apiVersion: v1\nkind: List\nitems:\n{items}"])
    assert reading.skipped == 1
    assert [fault.path for fault in reading.faults] == ["spec.maxReplicas"]
    assert reading.faults[0].line == 3 + 8 + 4 + 8
    assert reading.faults[0].object == "InferenceAutoscaler models/b"


def test_all_faults_of_all_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(service(most="ten", more="  minReplicas: -1\n  fallback: {action: Exactly}\n"))
    second.write_text(service("b", 0) + "---\n" + POOL.replace("maxNodes", "maxNode"))
    with pytest.raises(InvalidManifest) as caught:
        load_manifests([first, second])
    assert [(fault.file, fault.line, fault.path) for fault in caught.value.faults] == [
        (str(first), 8, "spec.maxReplicas"),
        (str(first), 9, "spec.minReplicas"),
        (str(first), 10, "spec.fallback.replicas"),
        (str(second), 8, "spec.maxReplicas"),
        (str(second), 13, "spec.maxNode"),
        (str(second), 13, "spec.maxNodes"),  # the API server tells both as well: what is not known, and what is missing
    ]
    assert caught.value.exit_code == 1


def test_texts_that_kubectl_reads_as_such() -> None:
    more = "  schedules:\n  - {name: night, start: 22:30, notBefore: 2026-01-31T06:00:00Z, minReplicas: 2}\n"
    (manifest,) = load_manifests([service(more=more)])
    assert isinstance(manifest, spec.InferenceAutoscaler)
    assert manifest.spec.schedules[0].start == "22:30"


def test_overrides() -> None:
    text = service() + "---\n" + POOL
    overrides = {"objective.promised": "99.9%", "policies.0.name": "target", "acceleratorPool.maxNodes": "7"}
    one, pool = load_manifests([text], overrides)
    assert isinstance(one, spec.InferenceAutoscaler)
    assert isinstance(pool, spec.AcceleratorPool)
    assert (one.spec.objective.promised, one.spec.policies[0].name, pool.spec.max_nodes) == ("99.9%", "target", 7)
    (fault,) = validate([text], {"maxReplicas": "0"}).faults
    assert (fault.file, fault.line, fault.path) == ("--set maxReplicas=0", 0, "spec.maxReplicas")
    with pytest.raises(UsageError, match="did you mean 'maxReplicas'"):
        load_manifests([text], {"maxReplica": "5"})
    with pytest.raises(UsageError, match="there is no AcceleratorPool"):
        load_manifests([service()], {"acceleratorPool.maxNodes": "5"})


def test_policy_parameters() -> None:
    policies = {"even": TWO_TARGETS}
    head = "  policies:\n  - name: even\n    params: "
    assert not words(service(more=f"{head}{{low: 1}}\n"), policies=policies)
    assert "needs it; the low count" in words(service(more=f"{head}{{}}\n"), policies=policies)[0]
    assert "spec.policies[0].params.low: -1 is not allowed" in words(service(more=f"{head}{{low: -1}}\n"), policies=policies)[0]
    assert "low must not be above high" in words(service(more=f"{head}{{low: 10}}\n"), policies=policies)[0]
    no_source = words(service(more=f"  signals: {{presets: []}}\n{head}{{low: 1}}\n"), policies=policies)
    assert "needs the signal 'queue': with no presets it needs a query" in no_source[0]
    assert not words(service(), policies=None)


def test_queries_are_checked_by_who_can() -> None:
    more = "  signals:\n    queries:\n    - {signal: queue, query: sum(x)}\n"
    seen: list[tuple[str, str]] = []

    def check(query: str, namespace: str) -> str:
        seen.append((query, namespace))
        return "reads another namespace"

    (fault,) = words(service(more=more), check_query=check)
    assert "<text>:11: InferenceAutoscaler models/llama: spec.signals.queries[0].query: reads another namespace" in fault
    assert seen == [("sum(x)", "models")]


def test_credentials_are_not_shown() -> None:
    more = "  signals:\n    prometheus:\n      url: https://me:hunter2@prometheus\n      headers:\n      - {name: Cookie, value: hunter2}\n"
    found = words(service(more=more))
    assert len(found) == 2
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("just words\n", "a mapping with apiVersion, kind, metadata and spec is expected"),
        ("kind: Deployment\n", "apiVersion: needed"),
        (DEPLOYMENT, "holds no InferenceAutoscaler or AcceleratorPool"),
        ("\n", "holds no InferenceAutoscaler or AcceleratorPool"),
        (service() + "---\n{", "not YAML"),
        (DEPLOYMENT + "---\n" + service().replace("metadata:\n  name: llama\n", "metadata:\n"), "metadata.name: needed"),
    ],
)
def test_what_is_no_manifest(text: str, expected: str) -> None:
    (found,) = words(text)
    assert expected in found


def test_faults_of_other_kinds_are_not_ours() -> None:
    reading = validate([DEPLOYMENT + "spec: {}\n---\n" + service()])
    assert not reading.faults


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_manifests([tmp_path / "absent.yaml"])
    with pytest.raises(UsageError, match="a folder; name the files"):
        load_manifests([tmp_path])
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InvalidManifest, match="not UTF-8"):
        load_manifests([tmp_path / "latin.yaml"])


ROLE = "  role: {{service: chat, name: {name}, ratios: [{ratios}]}}\n"


def role(name: str, ratios: str = "", most: int = 10, more: str = "") -> str:
    return service(f"chat-{name}", most, ROLE.format(name=name.partition("-")[0], ratios=ratios) + more)


def test_roles_that_fit_are_valid_and_not_warned_of() -> None:
    reading = validate(["\n---\n".join([role("prefill", "{to: decode, min: 0.25, max: 1}"), role("decode")])])
    assert (reading.faults, reading.warnings, len(reading.manifests)) == ([], [], 2)


def test_a_role_twice_is_told_of_both_and_with_what() -> None:
    reading = validate(["\n---\n".join([role("prefill", "{to: decode, min: 1}"), role("decode-1"), role("decode-2")])])
    first, second = map(str, reading.faults)
    assert "has role 'decode' twice, also as models/chat-decode-2" in first
    assert "has role 'decode' twice, also as models/chat-decode-1" in second
    assert "no 'decode' yet that is one object's role" in str(reading.warnings[0])


def test_ratios_that_contradict_each_other_are_told_of_all_roles() -> None:
    faults = words("\n---\n".join([role("prefill", "{to: decode, min: 2}"), role("decode", "{to: prefill, min: 1}")]))
    assert len(faults) == 2
    assert all("the ratios of service 'chat' contradict each other (prefill and decode" in fault for fault in faults)


def test_a_role_whose_others_are_elsewhere_and_ratios_that_can_t_be_kept_are_only_warned_of() -> None:
    alone = validate([role("prefill", "{to: decode, min: 2}")])
    assert not alone.faults
    assert "no 'decode' yet" in str(alone.warnings[0])
    one_sleeps = validate(
        ["\n---\n".join([role("prefill", more="  minReplicas: 0\n"), role("decode", more="  minReplicas: 2\n")])]
    )
    assert not one_sleeps.faults
    (warning,) = map(str, one_sleeps.warnings)
    assert "its minReplicas is 0, but it never goes to zero" in warning
    assert "decode never goes below 2" in warning
    tight = validate(
        ["\n---\n".join([role("prefill", "{to: decode, max: 1}", 16, "  replicaMultiple: 8\n"), role("decode", most=4)])]
    )
    assert not tight.faults
    assert "its ratios can't be kept: of 8 prefill, 4 decode, the fewest that come near, 8 decode are asked for" in str(
        tight.warnings[0]
    )


def test_a_share_of_nothing_is_warned_of() -> None:
    none, some = (validate([service("chat", 9, f"  signals: {{share: '{share}'}}\n")]) for share in ("0%", "10%"))
    assert not none.faults
    assert "signals.share" in str(none.warnings[0])
    assert "sized for none of it" in str(none.warnings[0])
    assert not some.warnings
