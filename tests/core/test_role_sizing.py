"""Roles through the controller's own tick: what is raised, what is not, who is counted on, and in which words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.kubernetes.reasons import Reason
from autoscaler.controller import Controller
from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import Pause, PolicyRef, RatePolicy, Ratio, Role, ScalingRules, ScalingSpec
from autoscaler.core.role_hold import RoleHold
from autoscaler.core.role_sizing import RoleStep
from autoscaler.explanation import explain_tick
from autoscaler.ports import Tick
from tests.core.test_constraints import a_context, a_fleet
from tests.ticks import HPA_DOWN, HPA_UP, NO_RULES, MadeCluster, a_controller, a_spec

NAN = float("nan")
BAND = Ratio(to="decode", min=0.25, max=1.0)


def a_pair(*, prefill: Mapping[str, Any] | None = None, decode: Mapping[str, Any] | None = None) -> list[ScalingSpec]:
    return [
        a_spec("prefill", **{"role": Role(service="chat", name="prefill", ratios=(BAND,)), **(prefill or {})}),
        a_spec("decode", **{"role": Role(service="chat", name="decode"), **(decode or {})}),
    ]


class Fleet:
    """A controller over made services; `wishes` is what their policies ask for, in replicas."""

    def __init__(
        self, specs: list[ScalingSpec], wishes: list[float], current: list[int], budget: ChangeBudget | None = None
    ) -> None:
        self.wishes = wishes
        self.controller: Controller
        self.cluster: MadeCluster
        made = a_controller(specs, lambda _at_s, row: self.wishes[row] * 10, budget=budget)
        self.controller, self.cluster, _, self.clock = made
        self.cluster.current = np.array(current, dtype=np.int64)

    async def tick(self) -> Tick:
        self.clock.advance_to(self.clock.now_s() + 15)
        return await self.controller.tick()


async def decided(specs: list[ScalingSpec], wishes: list[float], current: list[int], **changes: Any) -> Tick:
    fleet = Fleet(specs, wishes, current)
    fleet.cluster.changes = changes
    return await fleet.tick()


def words(tick: Tick, row: int) -> str:
    assert tick.decisions.roles is not None
    return tick.decisions.roles.words(row)


async def test_a_role_is_raised_to_what_the_other_needs_and_says_so() -> None:
    tick = await decided(a_pair(), [1, 10], [1, 5])
    assert tick.decisions.desired.tolist() == [3, 10]
    (limit,) = tick.decisions.limits(0)
    assert (limit.name, limit.before, limit.after) == ("Roles", 1, 3)
    assert limit.why == "service 'chat' has at least 0.25 prefill to each decode, of which there are 10: 3, not 1"
    assert not tick.decisions.limits(1)
    for row in (0, 1):
        assert words(tick, row) == "the bottleneck of service 'chat' is decode: 10 wished, 5 ready"
        assert "the bottleneck of service 'chat' is decode" in explain_tick(tick, row)["sentence"]
    assert explain_tick(tick, 0)["role"]["name"] == "prefill"


async def test_the_other_bound_raises_the_other_role() -> None:
    tick = await decided(a_pair(), [8, 2], [8, 2])
    assert tick.decisions.desired.tolist() == [8, 8]
    assert (
        tick.decisions.limits(1)[0].why
        == "service 'chat' has at most 1 prefill to each decode, and there are 8 prefill: 8, not 2"
    )


async def test_a_maximum_wins_nobody_is_held_back_and_both_are_told() -> None:
    tick = await decided(a_pair(prefill={"max_replicas": 2}), [1, 40], [1, 20])
    assert tick.decisions.desired.tolist() == [2, 40]
    assert tick.decisions.roles is not None
    assert tick.decisions.roles.unkept.tolist() == [1, 1]
    assert "2, not 1 (of 10 that this asks for: its maxReplicas is 2)" in tick.decisions.limits(0)[0].why
    for row in (0, 1):
        assert "that asks for 10 prefill, 2 it is: its maxReplicas is 2" in words(tick, row)


async def test_services_without_roles_are_not_touched_and_nothing_is_said() -> None:
    tick = await decided([a_spec("a"), a_spec("b")], [1, 10], [1, 5])
    assert tick.decisions.roles is None
    assert explain_tick(tick, 0)["role"] is None
    mixed = await decided([*a_pair(), a_spec("plain")], [1, 10, 4], [1, 5, 5])
    assert mixed.decisions.desired.tolist() == [3, 10, 4]
    assert words(mixed, 2) == ""


# ---------------------------------------------------------------- a person's word, and rates


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pause": Pause(direction="Up", until_s=None)}, "it may not grow: paused"),
        ({"pause": Pause(direction="Both", until_s=None)}, "it may not grow: paused"),
        ({"scale_up": ScalingRules(stabilization_s=0.0, select="Disabled", policies=())}, "growing is disabled in its behavior"),
    ],
)
async def test_who_may_not_grow_is_not_raised_and_that_is_told(changes: dict[str, object], why: str) -> None:
    tick = await decided(a_pair(prefill=changes), [1, 10], [1, 5])
    assert tick.decisions.desired.tolist() == [1, 10]
    assert why in words(tick, 0)
    assert why in words(tick, 1)


async def test_a_pause_of_the_whole_cluster_stops_raises_as_well() -> None:
    tick = await decided(a_pair(), [1, 10], [1, 5], paused=Pause(direction="Both", until_s=None))
    assert tick.decisions.desired.tolist() == [1, 5]


async def test_a_target_that_was_set_to_zero_stays_there() -> None:
    tick = await decided(a_pair(), [1, 10], [0, 5])
    assert tick.decisions.desired.tolist() == [0, 10]
    assert "its target was set to 0" in words(tick, 1)


async def test_a_raise_keeps_to_the_rate_limit_and_comes_in_steps() -> None:
    slowly = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=2, period_s=15.0),))
    fleet = Fleet(a_pair(prefill={"scale_up": slowly}), [1, 20], [1, 20])
    seen = [(await fleet.tick()).decisions.desired.tolist() for _ in range(4)]
    assert seen == [[3, 20], [5, 20], [5, 20], [5, 20]]


async def test_the_rate_limit_is_named_where_it_stops_a_raise() -> None:
    slowly = ScalingRules(stabilization_s=0.0, select="Max", policies=(RatePolicy(kind="Pods", value=1, period_s=15.0),))
    tick = await decided(a_pair(prefill={"scale_up": slowly}), [1, 40], [1, 20])
    assert "of 10 that this asks for: its rate limit allows 2 now" in tick.decisions.limits(0)[0].why


# ---------------------------------------------------------------- who is counted on


async def test_a_shadow_counts_as_it_stands_and_shows_what_it_would_do() -> None:
    tick = await decided(a_pair(decode={"mode": "Shadow"}), [8, 20], [8, 4])
    assert tick.decisions.desired.tolist() == [8, 20], "prefill is not raised for the 20 that nobody will create"
    assert words(tick, 0).endswith("decode counts as the 4 it has: mode Shadow")
    assert "that asks for 8 decode, 4 it is: mode Shadow" in words(tick, 0)
    grown = await decided(a_pair(decode={"mode": "Shadow"}), [1, 20], [1, 40])
    assert grown.decisions.desired.tolist() == [10, 20], "its 40 are there, and need 10"


async def test_a_service_in_shadow_shows_what_it_would_do_together() -> None:
    tick = await decided(a_pair(prefill={"mode": "Shadow"}, decode={"mode": "Shadow"}), [1, 20], [1, 4])
    assert tick.decisions.desired.tolist() == [5, 20]
    assert not tick.plan.act.any()


async def test_a_foreign_written_role_counts_as_it_stands() -> None:
    tick = await decided(
        a_pair(), [1, 20], [1, 8], hands_off=np.array([False, True]), hands_off_why={1: "ForeignWriter: somebody set it"}
    )
    assert tick.decisions.desired.tolist() == [2, 20]
    assert tick.plan.act.tolist() == [True, False]
    assert words(tick, 0).endswith("decode counts as the 8 it has: ForeignWriter")


# ---------------------------------------------------------------- unknown, zero, budgets


async def test_a_blind_role_is_held_raised_but_never_lowered() -> None:
    fleet = Fleet(a_pair(), [NAN, 10], [2, 5])
    assert (await fleet.tick()).decisions.desired.tolist() == [3, 10]
    fleet.wishes = [NAN, 1]
    tick = await fleet.tick()
    assert tick.decisions.desired.tolist() == [3, 3], "and the other keeps to what is held"
    assert "the bottleneck of service 'chat' is decode" in words(tick, 0), "an unknown wish is nobody's bottleneck"


async def test_a_role_that_wakes_wakes_the_others_and_all_idle_all_may_sleep() -> None:
    both = {"min_replicas": 0, "idle_after_s": None}
    fleet = Fleet(a_pair(prefill=both, decode=both), [0, 0], [0, 0])
    assert (await fleet.tick()).decisions.desired.tolist() == [0, 0]
    fleet.wishes = [2, 0]
    assert (await fleet.tick()).decisions.desired.tolist() == [2, 2]
    fleet.wishes = [0, 1]
    assert (await fleet.tick()).decisions.desired.tolist() == [1, 1]
    fleet.wishes = [0, 0]
    tick = await fleet.tick()
    assert tick.decisions.desired.tolist() == [0, 0]
    assert tick.decisions.roles is not None
    assert tick.decisions.roles.bottleneck.tolist() == [-1, -1]


async def test_without_ratios_the_roles_run_and_rest_together() -> None:
    sleepy = {"min_replicas": 0, "role": Role(service="chat", name="prefill")}
    tick = await decided(a_pair(prefill=sleepy), [0, 4], [0, 4])
    assert tick.decisions.desired.tolist() == [1, 4]
    assert tick.decisions.limits(0)[-1].why == "decode of service 'chat' runs, and its roles run and rest together: 1, not 0"


async def test_the_change_budget_goes_towards_the_ratio_and_does_not_fight_it() -> None:
    """It cuts what a tick may change, never what is decided: counts move one way until they are there, and then stay."""
    fleet = Fleet(a_pair(), [1, 20], [1, 4], budget=ChangeBudget(add=4, remove=4))
    ticks = [await fleet.tick() for _ in range(9)]
    assert {tuple(tick.decisions.desired.tolist()) for tick in ticks} == {(5, 20)}
    planned = np.array([tick.plan.replicas for tick in ticks])
    assert (np.diff(planned, axis=0) >= 0).all()
    assert planned[-1].tolist() == planned[-2].tolist() == [5, 20]
    fleet.wishes = [1, 4]
    down = np.array([(await fleet.tick()).plan.replicas for _ in range(9)])
    assert (np.diff(down, axis=0) <= 0).all()
    assert down[-1].tolist() == [1, 4]


async def test_a_faulty_role_harms_nobody_else() -> None:
    wrong = a_spec("wrong", role=Role(service="code", name="prefill", ratios=(Ratio(to="nobody", min=3.0),)))
    twice = [a_spec(f"twice-{n}", role=Role(service="twice", name="only")) for n in (1, 2)]
    tick = await decided([*a_pair(), wrong, *twice], [1, 10, 2, 3, 4], [1, 5, 5, 5, 5])
    assert tick.decisions.desired.tolist() == [3, 10, 2, 3, 4]
    assert tick.decisions.roles is not None
    assert sorted(tick.decisions.roles.faults) == [2, 3, 4]


async def test_one_service_is_a_row_of_many() -> None:
    """The same roles decide the same alone and among others, in any order."""
    specs = a_pair(prefill={"policies": (PolicyRef(name="per-replica", params={"target": 10.0}),)})
    others = [replace(spec, namespace=f"team-{n}") for n in range(3) for spec in specs]
    alone = await decided(specs, [3, 17], [2, 9])
    among = await decided([*others, *reversed(specs)], [*[1, 9] * 3, 17, 3], [*[5, 5] * 3, 9, 2])
    assert among.decisions.desired[-2:].tolist() == alone.decisions.desired.tolist()[::-1]
    assert words(among, 7) == words(alone, 0)


# ---------------------------------------------------------------- what is unknown or was lost is no reason to shrink

SLOWLY_DOWN = {"scale_down": HPA_DOWN}
"""HPA's own: a window of 300 s."""


async def a_raised_pair(**decode: Any) -> Fleet:
    """Ten minutes of 5 prefill for the sake of 20 decode, where 1 would do for prefill's own work."""
    fleet = Fleet(a_pair(prefill=SLOWLY_DOWN, decode=decode), [1, 20, 1], [5, 20])
    for _ in range(40):
        assert (await fleet.tick()).decisions.desired.tolist() == [5, 20]
    return fleet


def put(fleet: Fleet, specs: list[ScalingSpec], current: list[int]) -> None:
    fleet.cluster.specs, fleet.cluster.revision = tuple(specs), fleet.cluster.revision + 1
    fleet.cluster.current, fleet.cluster.starting = np.array(current), np.zeros(len(current), dtype=np.int64)


async def test_a_role_keeps_what_it_has_for_a_while_after_another_one_left() -> None:
    fleet = await a_raised_pair()
    put(fleet, list(fleet.cluster.specs[:1]), [5])  # such as an edit that made decode's manifest invalid: its replicas run on
    first = await fleet.tick()
    assert not first.plan.act.any()
    (limit,) = [limit for limit in first.decisions.limits(0) if limit.name == "RolesHeld"]
    assert (limit.before, limit.after) == (1, 5)
    assert "what another role of service 'chat' asks of it was lost or changed" in limit.why
    assert "no scale-down to 1 within 300 s, 5 stay" in limit.why
    seen = [int((await fleet.tick()).decisions.desired[0]) for _ in range(21)]
    assert seen == [5] * 19 + [1] * 2


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "Deployment/another"},
        {"role": Role(service="chat", name="decode", ratios=(Ratio(to="prefill", min=5.0),))},
        {"role": Role(service="chat", name="decoder")},
        {"role": Role(service="code", name="decode")},
        {"role": None},
    ],
    ids=["another target", "ratios that contradict each other", "renamed", "another service", "no role"],
)
async def test_whatever_an_edit_makes_of_a_role_takes_nothing_from_the_others_at_once(changed: dict[str, Any]) -> None:
    fleet = await a_raised_pair()
    fleet.wishes = [1, 1]
    prefill, decode = fleet.cluster.specs
    put(fleet, [prefill, replace(decode, **changed)], [5, 1])
    seen = [int((await fleet.tick()).decisions.desired[0]) for _ in range(21)]
    assert seen == [5] * 20 + [1]


async def test_a_role_that_joins_or_a_ratio_that_is_new_holds_nobody() -> None:
    plain = Role(service="chat", name="prefill")
    fleet = Fleet(a_pair(prefill={"role": plain}), [5, 20, 1], [5, 20])
    await fleet.tick()
    prefill, decode = fleet.cluster.specs
    ratio = Ratio(to="decode", min=0.05)
    put(
        fleet,
        [replace(prefill, role=replace(plain, ratios=(ratio,))), decode, a_spec("encode", role=replace(plain, name="encode"))],
        [5, 20, 1],
    )
    await fleet.tick()
    fleet.wishes = [1, 20, 1]
    assert (await fleet.tick()).decisions.desired.tolist() == [1, 20, 1]


async def test_a_role_that_comes_back_within_the_hold_finds_the_others_as_they_were() -> None:
    fleet = await a_raised_pair()
    both = list(fleet.cluster.specs)
    put(fleet, both[:1], [5])
    await fleet.tick()
    put(fleet, both, [5, 20])
    for _ in range(40):
        assert (await fleet.tick()).decisions.desired.tolist() == [5, 20]


async def test_a_hold_is_as_long_as_the_role_s_own_window_where_that_is_longer() -> None:
    longer = replace(HPA_DOWN, stabilization_s=600.0)
    fleet = Fleet(a_pair(prefill={"scale_down": longer}), [1, 20], [5, 20])
    await fleet.tick()
    put(fleet, list(fleet.cluster.specs[:1]), [5])
    seen = [int((await fleet.tick()).decisions.desired[0]) for _ in range(41)]
    assert seen == [5] * 40 + [1]


async def test_a_second_object_of_a_role_takes_nothing_from_the_others_and_adds_nothing() -> None:
    fleet = await a_raised_pair()
    copy = a_spec("decode-copy", role=Role(service="chat", name="decode"))
    put(fleet, [*fleet.cluster.specs, copy], [5, 20, 1])
    seen = [(await fleet.tick()).decisions for _ in range(60)]
    assert {tuple(one.desired.tolist()) for one in seen} == {(5, 20, 1)}, "also after every window"
    assert (
        "is in two objects, and what runs of it counts until only one has it: no scale-down to 1, 5 stay"
        in seen[-1].limits(0)[-1].why
    )
    assert seen[-1].roles is not None
    assert set(seen[-1].roles.faults) >= {1, 2}
    fleet.cluster.current[2] = fleet.wishes[2] = 50
    assert (await fleet.tick()).decisions.desired.tolist() == [5, 20, 50], "nobody is raised for an object too many"


@pytest.mark.parametrize("reason", [Reason.TargetMissing, Reason.TargetUnreadable, Reason.TargetKindUnknown])
async def test_an_unknown_target_is_not_zero_replicas(reason: str) -> None:
    fleet = await a_raised_pair(**SLOWLY_DOWN)
    fleet.cluster.current[1] = 0
    fleet.cluster.changes = {
        "hands_off": np.array([False, True]),
        "hands_off_why": {1: f"{reason}: there is no Deployment decode"},
    }
    for _ in range(40):  # longer than every window
        tick = await fleet.tick()
        assert tick.decisions.desired[0] == 5
        assert not tick.plan.act.any()
    assert tick.decisions.limits(0)[-1].why == (
        f"how many replicas of decode ({reason}) service 'chat' has is not known: no scale-down to 1 meanwhile, 5 stay"
    )
    assert words(tick, 0).endswith(f"how many decode there are is not known: {reason}")
    fleet.cluster.changes, fleet.cluster.current[1] = {}, 20
    assert (await fleet.tick()).decisions.desired.tolist() == [5, 20]


async def test_a_hold_keeps_to_the_maximum_and_to_whole_multiples() -> None:
    fleet = Fleet(a_pair(prefill={"replica_multiple": 2}), [1, 20], [6, 20])
    await fleet.tick()
    left = fleet.cluster.specs[0]
    put(fleet, [left], [5])
    assert (await fleet.tick()).decisions.desired.tolist() == [6]
    put(fleet, [replace(left, max_replicas=3)], [5])
    assert (await fleet.tick()).decisions.desired.tolist() == [2]


async def test_what_a_role_takes_from_itself_is_not_held() -> None:
    fleet = Fleet(a_pair(), [1, 20], [5, 20])
    await fleet.tick()
    fleet.wishes = [1, 4]
    assert (await fleet.tick()).decisions.desired.tolist() == [1, 4], "the other one shrank: no need was lost"
    put(fleet, [replace(fleet.cluster.specs[0], role=None), fleet.cluster.specs[1]], [5, 4])
    assert (await fleet.tick()).decisions.desired.tolist() == [1, 4], "its owner took it out of the service"


async def test_a_hold_outlives_saved_state_and_ages_with_the_clock() -> None:
    fleet = await a_raised_pair()
    put(fleet, list(fleet.cluster.specs[:1]), [5])
    await fleet.tick()
    engine = fleet.controller.engine
    again = RoleHold()
    again.rearrange(np.array([-1]), None, engine.table.roles, 0.0)
    again.load(json.loads(json.dumps(engine.save()["role_hold"])))
    lost_at_s = fleet.clock.now_s()
    for hold, by_s in ((again, 0.0), (again, 1000.0)):
        hold.shift(by_s)
        found = hold.look(lost_at_s + by_s + 299.0)
        assert found is not None
        assert found.tolist() == [True]
        assert hold.look(lost_at_s + by_s + 301.0) is None


async def test_a_ratio_that_multiples_rarely_meet_is_told_and_not_chased() -> None:
    exactly = Role(service="chat", name="prefill", ratios=(Ratio(to="decode", min=0.45, max=0.45),))
    many = {"max_replicas": 5000}
    specs = a_pair(prefill={"role": exactly, "replica_multiple": 97, **many}, decode={"replica_multiple": 101, **many})
    tick = await decided(specs, [97, 101], [97, 101])
    assert tick.decisions.desired.tolist() == [97, 303]
    for row in (0, 1):
        assert words(tick, row).startswith("its ratios and multiples are only kept by 1455 prefill, 3232 decode or more")
        assert "that asks for" not in words(tick, row)


# ---------------------------------------------------------------- whatever comes together

MODES = st.sampled_from(["Active", "Active", "Recommend", "Shadow"])
PAUSES = st.sampled_from([None, None, *(Pause(direction=direction, until_s=None) for direction in ("Both", "Up", "Down"))])


@st.composite
def any_service(draw: st.DrawFn) -> tuple[list[ScalingSpec], list[int], list[int], list[bool]]:
    """Three roles in any state: (specs, counts after the constraints, current, hands off)."""
    low = draw(st.sampled_from([0.25, 0.5, 1.0]))
    ratios = {
        "prefill": (Ratio(to="decode", min=low, max=low * draw(st.sampled_from([1, 2, 4]))),),
        "encode": (Ratio(to="prefill", min=low),),
    }
    specs, own, current = [], [], []
    for name in ("prefill", "decode", "encode"):
        multiple, least = draw(st.integers(1, 3)), draw(st.integers(0, 1))
        pause = draw(PAUSES)
        specs.append(
            a_spec(
                name,
                role=Role(service="chat", name=name, ratios=ratios.get(name, ())),
                mode=draw(MODES),
                pause=pause,
                replica_multiple=multiple,
                min_replicas=least,
                max_replicas=draw(st.integers(3, 30)),
                scale_up=draw(st.sampled_from([NO_RULES, HPA_UP])),
            )
        )
        current.append(draw(st.integers(0, 30)))
        wanted = draw(st.integers(least, specs[-1].max_replicas)) // multiple * multiple
        own.append(current[-1] if pause is not None and pause.direction == "Both" else wanted)
    return specs, own, current, draw(st.lists(st.booleans(), min_size=3, max_size=3))


def stepped(specs: list[ScalingSpec], own: list[int], current: list[int], hands_off: list[bool]) -> RoleStep:
    context = a_context(specs, a_fleet(specs, current=current, hands_off=np.array(hands_off)))
    assert context.table.roles is not None
    return RoleStep(context, context.table.roles, np.array(own))


@given(any_service(), st.integers(0, 30))
def test_whatever_state_the_roles_are_in(service: tuple[list[ScalingSpec], list[int], list[int], list[bool]], other: int) -> None:
    specs, own, current, hands_off = service
    step = stepped(specs, own, current, hands_off)
    counts, said = step.counts, step.said()
    assert (counts >= own).all(), "nobody gets less"
    for row, spec in enumerate(specs):
        raised = counts[row] > own[row]
        assert not raised or counts[row] <= spec.max_replicas
        assert not raised or counts[row] % spec.replica_multiple == 0
        assert not raised or spec.pause is None or spec.pause.direction == "Down"
        assert not raised or current[row] > 0 or spec.min_replicas == 0, "a target that was set to 0 stays there"
        if raised:
            context = a_context(specs, a_fleet(specs))
            whys = [constraint.why(context, row, int(b[row]), int(a[row])) for constraint, b, a in step.steps if a[row] > b[row]]
            assert str(counts[row]) in whys[-1]
        assert said.words(row) == stepped(specs, own, current, hands_off).said().words(row)
    if said.unkept.any():
        followed = [row for row, spec in enumerate(specs) if spec.mode != "Shadow" and not hands_off[row]]
        assert all("that asks for" in said.words(row) for row in followed), "a ratio that isn't kept is told, with the reason"
    # What nobody follows is felt by nobody.
    for row, spec in enumerate(specs):
        if spec.mode == "Shadow":
            changed = [min(other, spec.max_replicas) if place == row else count for place, count in enumerate(own)]
            after = stepped(specs, changed, current, hands_off).counts
            assert all(
                after[place] == counts[place] for place, one in enumerate(specs) if one.mode != "Shadow" and not hands_off[place]
            )
