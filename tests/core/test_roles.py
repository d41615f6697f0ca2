"""The least counts that keep the ratios of a service's roles: against every count that there is, and what holds for any roles."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoscaler.core.model import Ints, Ratio, Role, ScalingSpec
from autoscaler.core.roles import MOST_ROLES, Roles
from tests.ticks import NO_RULES, a_spec

NAMES = ("prefill", "decode", "encode")
BOUNDS = st.sampled_from([0.1, 0.25, 1 / 3, 0.333, 0.5, 0.67, 1.0, 1.5, 2.0, 4.0])


def a_role(name: str, *ratios: Ratio, service: str = "chat", **changes: Any) -> ScalingSpec:
    return a_spec(f"{service}-{name}", role=Role(service=service, name=name, ratios=ratios), **changes)


def up(count: float) -> int:
    """Rounded up to whole replicas, but for float noise."""
    return math.ceil(count - 1e-6)


def ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


@st.composite
def a_ratio(draw: st.DrawFn, to: str) -> Ratio:
    low, high = sorted((draw(BOUNDS), draw(BOUNDS)))
    return Ratio(to=to, min=draw(st.sampled_from([None, low])), max=draw(st.sampled_from([None, high])))


@st.composite
def services(draw: st.DrawFn, names: tuple[str, ...] = NAMES) -> list[ScalingSpec]:
    """The roles of one or two services, some of them with ratios, and one service without a role."""
    specs = [a_spec("plain")]
    for service in draw(st.sampled_from([("chat",), ("chat", "code")])):
        for name in names[: draw(st.integers(1, len(names)))]:
            others = draw(st.lists(st.sampled_from([other for other in names if other != name]), unique=True))
            ratios = [draw(a_ratio(other)) for other in others]
            multiple = draw(st.integers(1, 4))
            specs.append(a_role(name, *ratios, service=service, replica_multiple=multiple, max_replicas=draw(st.integers(4, 40))))
    return draw(st.permutations(specs))


def some_counts(specs: list[ScalingSpec]) -> st.SearchStrategy[list[int]]:
    """Counts as the constraints leave them: whole multiples within the upper bound."""
    return st.tuples(
        *(st.integers(0, spec.max_replicas // spec.replica_multiple).map(spec.replica_multiple.__mul__) for spec in specs)
    ).map(list)


def room(specs: list[ScalingSpec]) -> Ints:
    multiple = ints([spec.replica_multiple for spec in specs])
    return ints([spec.max_replicas for spec in specs]) // multiple * multiple


FLEETS = services().flatmap(lambda specs: st.tuples(st.just(specs), some_counts(specs), some_counts(specs)))


@given(FLEETS)
def test_no_role_gets_less_and_every_ratio_is_kept_or_its_role_can_grow_no_more(
    fleet: tuple[list[ScalingSpec], list[int], list[int]],
) -> None:
    specs, own, _ = fleet
    roles, most = Roles(specs), room(specs)
    counts = roles.least(ints(own), most)
    assert (counts >= own).all()
    assert (counts <= most).all()
    assert (counts % roles.multiple == 0).all()
    for row, spec in enumerate(specs):
        if row not in roles.members:
            assert counts[row] == own[row], "nobody else's count moves"
            continue
        running = any(counts[other] for other in roles.members[row])
        assert not running or counts[row] > 0, "the roles of a service run and rest together"
        if any(fault.field == "ratios" for fault in roles.faults.get(row, ())) or row in roles.apart:
            continue
        for ratio in spec.role.ratios if spec.role else ():
            to = next(other for other in roles.members[row] if roles.name(other) == ratio.to)
            if ratio.min is not None and counts[row] < most[row]:
                assert counts[row] >= up(ratio.min * counts[to])
            if ratio.max is not None and counts[to] < most[to]:
                assert counts[row] <= up(ratio.max * counts[to])
    assert roles.least(counts, most) is counts, "what keeps all ratios stays as it is"


@given(FLEETS)
def test_more_of_a_role_is_never_fewer_of_any(fleet: tuple[list[ScalingSpec], list[int], list[int]]) -> None:
    specs, one, other = fleet
    roles, most = Roles(specs), room(specs)
    more = np.maximum(one, other)
    assert (roles.least(more, most) >= roles.least(ints(one), most)).all()


@given(FLEETS)
def test_a_service_does_not_feel_another(fleet: tuple[list[ScalingSpec], list[int], list[int]]) -> None:
    specs, own, others = fleet
    roles, most = Roles(specs), room(specs)
    ours = [row for row, spec in enumerate(specs) if spec.role is not None and spec.role.service == "chat"]
    together = roles.least(ints(own), most)
    changed = [own[row] if row in ours else others[row] for row in range(len(specs))]
    assert (roles.least(ints(changed), most)[ours] == together[ours]).all()
    alone = Roles([specs[row] for row in ours]).least(ints(own)[ours], most[ours])
    assert (alone == together[ours]).all()
    assert (roles.least(ints(own), most) == together).all(), "same input, same answer"


@given(
    st.tuples(a_ratio("decode"), st.integers(1, 3), st.integers(1, 3), st.integers(2, 14), st.integers(2, 14)).flatmap(
        lambda made: st.tuples(st.just(made), st.integers(0, made[3]), st.integers(0, made[4]))
    )
)
def test_it_is_the_least_of_all_counts_that_keep_the_ratio(made: tuple[tuple[Ratio, int, int, int, int], int, int]) -> None:
    """Every pair of counts that there is, judged by multiplying."""
    (ratio, p_multiple, d_multiple, p_max, d_max), p_own, d_own = made
    specs = [
        a_role("prefill", ratio, replica_multiple=p_multiple, max_replicas=p_max),
        a_role("decode", replica_multiple=d_multiple, max_replicas=d_max),
    ]
    most, roles = room(specs), Roles(specs)
    assume(not roles.apart)
    own = np.minimum(-(-ints([p_own, d_own]) // roles.multiple) * roles.multiple, most)
    found = roles.least(own, np.maximum(most, own))

    def keeps(prefill: int, decode: int) -> bool:
        if not prefill or not decode:
            return prefill == decode
        return (ratio.min is None or prefill >= up(ratio.min * decode)) and (
            ratio.max is None or prefill <= up(ratio.max * decode)
        )

    fitting = [
        pair
        for pair in product(range(int(own[0]), int(most[0]) + 1, p_multiple), range(int(own[1]), int(most[1]) + 1, d_multiple))
        if keeps(*pair)
    ]
    if fitting:
        assert found.tolist() == [min(pair[0] for pair in fitting), min(pair[1] for pair in fitting)]
        assert keeps(*found.tolist())
    else:
        assert not keeps(*found.tolist())


@pytest.mark.parametrize(
    ("ratio", "own", "expected"),
    [
        (Ratio(to="decode", min=0.25, max=1.0), [1, 10], [3, 10]),
        (Ratio(to="decode", min=0.25, max=1.0), [8, 4], [8, 8]),
        (Ratio(to="decode", min=0.5, max=0.5), [1, 3], [2, 3]),
        (Ratio(to="decode", min=0.5, max=0.5), [3, 3], [3, 5]),
        (Ratio(to="decode", min=0.45, max=0.45), [1, 1], [1, 1]),
        (Ratio(to="decode", min=0.333, max=0.333), [1, 4], [2, 4]),
        (Ratio(to="decode", max=2.0), [0, 1], [1, 1]),
        (Ratio(to="decode", min=0.0), [0, 4], [1, 4]),
        (Ratio(to="decode", min=0.25), [0, 0], [0, 0]),
    ],
)
def test_by_hand(ratio: Ratio, own: list[int], expected: list[int]) -> None:
    specs = [a_role("prefill", ratio, max_replicas=100_000), a_role("decode", max_replicas=100_000)]
    assert Roles(specs).least(ints(own), room(specs)).tolist() == expected


def test_multi_node_groups_come_whole() -> None:
    """A decode of four nodes: 5 prefill at one to one need 5, which are two groups; those ask for no more prefill at a quarter."""
    specs = [a_role("prefill", Ratio(to="decode", min=0.25, max=1.0)), a_role("decode", replica_multiple=4)]
    assert Roles(specs).least(ints([5, 4]), room(specs)).tolist() == [5, 8]


# ---------------------------------------------------------------- who belongs together


def faults_of(*specs: ScalingSpec) -> list[str]:
    roles = Roles(specs)
    return [roles.fault_words.get(row, "") for row in range(len(specs))]


def test_a_ratio_to_a_role_that_is_not_there_does_not_count() -> None:
    wrong, right = a_role("prefill", Ratio(to="decod", min=2.0)), a_role("decode")
    assert faults_of(wrong, right) == [
        "service 'chat' has no other role 'decod' (there is decode): that ratio does not count",
        "",
    ]
    assert Roles([wrong, right]).least(ints([1, 5]), room([wrong, right])).tolist() == [1, 5]


def test_the_first_role_of_a_service_is_sized_alone_until_the_other_is_there() -> None:
    alone = a_role("prefill", Ratio(to="decode", min=2.0))
    (fault,) = Roles([alone]).faults[0]
    assert fault.passing
    assert "no 'decode' yet" in fault.words
    assert not Roles([alone]).members


def test_a_role_that_two_objects_have_is_nobodys() -> None:
    specs = [
        a_role("prefill", Ratio(to="decode", min=1.0)),
        a_role("decode"),
        a_spec("decode-2", role=Role(service="chat", name="decode")),
    ]
    first, second, third = faults_of(*specs)
    assert "no 'decode' yet that is one object's role" in first
    assert "role 'decode' twice, also as team/decode-2" in second
    assert "role 'decode' twice, also as team/chat-decode" in third
    assert Roles(specs).least(ints([1, 5, 7]), room(specs)).tolist() == [1, 5, 7]


def test_a_shadow_trial_of_a_role_does_not_put_it_out_of_its_place() -> None:
    specs = [
        a_role("prefill", Ratio(to="decode", min=1.0)),
        a_role("decode"),
        a_spec("trial", mode="Shadow", role=Role(service="chat", name="decode")),
    ]
    assert [bool(fault) for fault in faults_of(*specs)] == [False, False, True]
    assert Roles(specs).least(ints([1, 5, 9]), room(specs)).tolist() == [5, 5, 9]


def test_ratios_that_contradict_each_other_do_not_count_and_are_told() -> None:
    specs = [
        a_role("prefill", Ratio(to="decode", min=2.0)),
        a_role("decode", Ratio(to="prefill", min=1.0)),
        a_role("prefill", Ratio(to="decode", min=2.0), service="code"),
        a_role("decode", service="code"),
    ]
    assert ["contradict" in fault for fault in faults_of(*specs)] == [True, True, False, False]
    assert Roles(specs).least(ints([0, 5, 1, 2]), room(specs)).tolist() == [1, 5, 4, 2]


def test_a_circle_of_three_is_found() -> None:
    specs = [
        a_role("prefill", Ratio(to="decode", min=1.0)),
        a_role("decode", Ratio(to="encode", min=1.0)),
        a_role("encode", Ratio(to="prefill", min=1.01)),
    ]
    assert all("contradict" in fault for fault in faults_of(*specs))


def test_namespaces_are_services_of_their_own() -> None:
    here = a_role("prefill", Ratio(to="decode", min=2.0))
    there = a_spec("chat-decode", namespace="other", role=Role(service="chat", name="decode"))
    roles = Roles([here, there])
    assert not roles.members
    assert "no 'decode' yet" in roles.fault_words[0]


def test_too_many_roles_are_sized_alone() -> None:
    specs = [a_role(f"r{number}") for number in range(MOST_ROLES + 1)]
    assert all(f"at most {MOST_ROLES}" in fault for fault in faults_of(*specs))
    assert not Roles(specs).members


def test_bounds_that_can_never_keep_a_ratio_are_doubted() -> None:
    specs = [a_role("prefill", Ratio(to="decode", max=1.0), replica_multiple=8), a_role("decode", max_replicas=4)]
    roles = Roles(specs)
    assert (
        roles.doubts(1) == "its ratios can't be kept: of 8 prefill, 4 decode, the fewest that come near, 8 decode are asked for"
    )
    assert not roles.doubts(0)


def test_multiples_and_a_band_that_rarely_meet_are_doubted() -> None:
    def words(ratio: Ratio) -> str:
        roles = Roles([a_role("prefill", ratio, replica_multiple=4), a_role("decode", replica_multiple=3)])
        return roles.doubts(0) or roles.doubts(1)

    assert words(Ratio(to="decode", min=0.45, max=0.45)) == (
        "its ratios and multiples are only kept by 32 prefill, 69 decode or more, so each role is rounded by itself: "
        "a wider band keeps them with fewer"
    )
    assert not words(Ratio(to="decode", min=0.3, max=0.6))


def test_a_ratio_that_multiples_rarely_meet_is_not_chased() -> None:
    """97 prefill need 216 decode, in whole multiples 303; that those would need 194 prefill for whole multiples' sake is nobody's need."""
    exactly = Ratio(to="decode", min=0.45, max=0.45)
    specs = [
        a_role("prefill", exactly, replica_multiple=97, max_replicas=10_000),
        a_role("decode", replica_multiple=101, max_replicas=10_000),
    ]
    roles, most = Roles(specs), room(specs)
    assert roles.least(ints([97, 101]), most).tolist() == [97, 303]
    assert roles.least(ints([97, 404]), most).tolist() == [194, 404]
    assert roles.least(ints([97, 101]), ints([97, 202])).tolist() == [97, 202], "bounds win"
    assert roles.least(ints([0, 0]), most).tolist() == [0, 0]
    assert roles.unkept(ints([97, 303])).tolist() == [0, 0]


def test_who_never_goes_to_zero_for_another_role_s_minimum_is_told() -> None:
    roles = Roles([a_role("prefill", min_replicas=0), a_role("decode", min_replicas=2)])
    assert roles.doubts(0) == (
        "its minReplicas is 0, but it never goes to zero: the roles of a service run and rest together, and decode never goes below 2"
    )
    assert not roles.doubts(1)


# ---------------------------------------------------------------- the bottleneck


@pytest.mark.parametrize(
    ("wished", "ready", "expected"),
    [
        ([4.0, 6.0], [4, 3], 1),
        ([4.0, 6.0], [2, 6], 0),
        ([1.0, 20.0], [0, 10], 0),
        ([2.0, 4.0], [1, 2], 1),
        ([2.0, 2.0], [2, 2], 0),
        ([float("nan"), 1.0], [1, 8], 1),
        ([0.0, 0.0], [0, 0], -1),
        ([float("nan"), float("nan")], [1, 1], -1),
    ],
)
def test_the_bottleneck_wishes_the_most_for_what_it_has(wished: list[float], ready: list[int], expected: int) -> None:
    specs = [a_role("prefill", scale_up=NO_RULES), a_role("decode"), a_spec("plain")]
    found = Roles(specs).bottleneck(np.array([*wished, 50.0]), ints([*ready, 1]))
    assert found.tolist() == [expected, expected, -1]
