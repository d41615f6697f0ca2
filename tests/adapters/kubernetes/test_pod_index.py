"""The index agrees with comparing every pod with every selector, whatever comes in whatever order; and does so without comparing them all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.kubernetes.pod_index import PodIndex
from autoscaler.adapters.kubernetes.pods import Pod, PodState, pod_of
from autoscaler.adapters.kubernetes.selectors import LabelSelector, parse

SELECTORS = [
    None,
    "app=a",
    "app=b",
    "app=a,tier=x",
    "app in (a,b), tier!=y",
    "tier",
    "!tier",
    {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]},
]
labels = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b", "x", "y"]))
pods = st.builds(
    lambda labels, state, node, accelerators: Pod(
        state=state,
        labels=labels,
        created_at_s=1.0,
        scheduled_at_s=None,
        ready_at_s=None,
        unschedulable="no" if state is PodState.STARTING else "",
        waiting="",
        restarted=False,
        node=node,
        accelerators=accelerators,
    ),
    labels,
    st.sampled_from(list(PodState)),
    st.sampled_from(["", "n1", "n2"]),
    st.sampled_from([0, 1, 4]),
)
steps = st.one_of(
    st.tuples(st.just("pod"), st.sampled_from(["ns1", "ns2"]), st.sampled_from(["p", "q", "r"]), st.none() | pods),
    st.tuples(st.just("target"), st.sampled_from(["ns1", "ns2"]), st.sampled_from(["s", "t"]), st.sampled_from(SELECTORS)),
)


@given(st.lists(steps, max_size=30))
def test_the_index_equals_comparing_all_with_all(script: list[tuple[str, str, str, Any]]) -> None:
    index = PodIndex()
    present: dict[tuple[str, str], Pod] = {}
    selectors: dict[tuple[str, str, str], LabelSelector] = {}
    for what, namespace, name, value in script:
        before = index.revision
        if what == "pod":
            key = (namespace, name)
            index.pod_changed(key, present.get(key), value)
            present.pop(key, None)
            if value is not None:
                present[key] = value
        else:
            target = ("deployments.apps", namespace, name)
            selector = parse(value)
            index.set_target(target, selector)
            selectors.pop(target, None)
            if selector is not None:
                selectors[target] = selector
        assert index.revision >= before
    for target, selector in selectors.items():
        members = index.members(target)
        assert members is not None
        wanted = {key for key, pod in present.items() if key[0] == target[1] and selector.matches(pod.labels)}
        assert members.pods == wanted
        counted = Counter(present[key].state for key in wanted)
        assert members.counts == [*(counted[state] for state in PodState), counted[PodState.STARTING], 0]
        for key in wanted:
            assert target in index.targets_of(key)
    assert index.pods == present
    held: Counter[str] = Counter()
    for pod in present.values():
        if pod.node and pod.state is not PodState.OVER and pod.accelerators:
            held[pod.node] += pod.accelerators
    assert index.taken == held


def test_services_of_one_namespace_do_not_multiply_with_its_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    matches = LabelSelector.matches

    def counted(self: LabelSelector, labels: Any) -> bool:
        nonlocal compared
        compared += 1
        return matches(self, labels)

    monkeypatch.setattr(LabelSelector, "matches", counted)
    index = PodIndex()
    for number in range(1000):
        index.set_target(
            ("deployments.apps", "team", f"d{number}"), parse({"matchLabels": {"app": "vllm", "model": f"m{number}"}})
        )
    for number in range(2000):
        pod = Pod(PodState.READY, {"app": "vllm", "model": f"m{number // 2}"}, 1.0, None, None, "", "", False)
        index.pod_changed(("team", f"p{number}"), None, pod)
    assert compared <= 2 * 2000  # each with its own, and with the few that were there first
    assert all(index.members(("deployments.apps", "team", f"d{n}")).counts[PodState.READY] == 2 for n in range(1000))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("app=a", {"app": "a"}, {"app": "b"}),
        ("app==a", {"app": "a", "x": "y"}, {}),
        ("app!=a", {}, {"app": "a"}),
        ("app in (a, b),x", {"app": "b", "x": ""}, {"app": "b"}),
        ("app notin (a,b)", {"app": "c"}, {"app": "a"}),
        ("!app", {"x": "y"}, {"app": ""}),
        ("example.com/app-1=A_b.c", {"example.com/app-1": "A_b.c"}, {"example.com/app-1": "a_b.c"}),
    ],
)
def test_selectors_as_texts(text: str, matching: dict[str, str], other: dict[str, str]) -> None:
    selector = parse(text)
    assert selector is not None
    assert selector.matches(matching)
    assert not selector.matches(other)


@pytest.mark.parametrize("nothing", ["", " ", {}, None, {"matchLabels": {}}])
def test_no_selector_is_never_all_pods(nothing: Any) -> None:
    assert parse(nothing) is None


@pytest.mark.parametrize("wrong", ["a b", "(a)", "a<3", 7, {"matchExpressions": [{"key": "a", "operator": "Gt"}]}])
def test_wrong_selectors(wrong: Any) -> None:
    with pytest.raises(ValueError):
        parse(wrong)


def test_pods_states() -> None:
    def state(phase: str, *conditions: tuple[str, str], deleted: bool = False) -> PodState:
        meta: dict[str, Any] = {"name": "p", "namespace": "n"}
        if deleted:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        listed = [{"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"} for kind, status in conditions]
        return pod_of({"metadata": meta, "status": {"phase": phase, "conditions": listed}}).state

    assert state("Running", ("Ready", "True")) is PodState.READY
    assert state("Running", ("Ready", "False")) is PodState.STARTING
    assert state("Running") is PodState.STARTING
    assert state("Pending") is PodState.STARTING
    assert state("Running", ("Ready", "True"), deleted=True) is PodState.DRAINING
    assert state("Succeeded", ("Ready", "False")) is PodState.OVER
    assert state("Failed", deleted=True) is PodState.OVER
    assert pod_of({"metadata": {"name": "bare"}}).state is PodState.STARTING


def test_the_accelerators_that_a_pod_holds() -> None:
    def container(limits: dict[str, object]) -> dict[str, object]:
        return {"resources": {"limits": limits}}

    def held(**spec: object) -> int:
        return pod_of({"metadata": {"name": "p"}, "spec": spec}).accelerators

    server, sidecar = container({"nvidia.com/gpu": "4", "cpu": "8"}), container({"cpu": "1"})
    assert held(containers=[server, sidecar]) == 4
    assert held(containers=[server, server]) == 8
    assert held(containers=[container({"nvidia.com/mig-1g.10gb": 1}), container({"amd.com/gpu": "0"})]) == 1
    # Init containers run before the others and one after the other: the largest need counts.
    assert held(containers=[sidecar], initContainers=[server, container({"nvidia.com/gpu": "2"})]) == 4
    assert held(containers=[{"name": "bare"}]) == held() == 0
