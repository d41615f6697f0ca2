"""Which step comes next: decisions of the pure function, one situation each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from autoscaler.external_metrics.certificates.authority import Lifetimes
from autoscaler.external_metrics.certificates.clients import ABSENT, Clients, Whose
from autoscaler.external_metrics.certificates.plan import Asked, Plan
from autoscaler.external_metrics.certificates.rotation import Seen, next_step
from autoscaler.external_metrics.certificates.serving import pair_to_serve, usable
from autoscaler.external_metrics.certificates.steps import Announce, Begin, Renew, Restart, Restore, Retire, Switch, Tell, Wait
from autoscaler.external_metrics.certificates.stored import Generation, Step, Stored
from autoscaler.external_metrics.certificates.writing import after

NOW_S = 1.8e9
DAY_S = 86400.0


def ours(*trusted: x509.Certificate) -> Clients:
    return Clients(whose=Whose.OURS, trusted=frozenset(trusted), version="1")


def seen(stored: Stored | None, clients: Clients | None = None, **more: Any) -> Seen:
    """By default clients know all that is stored, and have for long."""
    known = ours(*stored.bundle) if stored is not None else ours()
    given = {"remembered": None, "told_s": 1e9, "now_s": NOW_S, **more}
    return Seen(stored=stored, clients=clients or known, **given)


@pytest.fixture
def steady(plan: Plan) -> Stored:
    return after(Begin(kept=(), why=""), Stored(current=None), plan, NOW_S)


@pytest.fixture
def announced(plan: Plan, steady: Stored) -> Stored:
    return after(Announce(why="due"), steady, plan, NOW_S)


@pytest.fixture
def overlapping(plan: Plan, announced: Stored) -> Stored:
    return after(Switch(why=""), announced, plan, NOW_S)


def of(stored: Stored) -> Generation:
    assert stored.current is not None
    return stored.current


# ------------------------------------------------------------ from nothing


def test_a_first_start(plan: Plan) -> None:
    assert next_step(seen(None), plan) == Begin(kept=(), why="there is no Secret")


def test_the_first_start_tells_clients_next(plan: Plan, steady: Stored) -> None:
    assert steady.step is Step.STEADY
    assert isinstance(next_step(seen(steady, ours()), plan), Tell)


def test_a_lost_secret_is_put_back_by_who_remembers(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(None, ours(*steady.bundle), remembered=steady), plan)
    assert step == Restore(stored=steady, why="there is no Secret")


def test_who_does_not_remember_keeps_what_clients_trust(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(None, ours(*steady.bundle)), plan)
    assert step == Begin(kept=steady.bundle, why="there is no Secret")
    made = after(step, Stored(current=None), plan, NOW_S)
    assert made.step is Step.ANNOUNCED
    assert made.current is None
    assert set(made.bundle) > set(steady.bundle)


def test_authorities_that_have_expired_are_not_kept(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(None, ours(*steady.bundle), now_s=NOW_S + 4 * 365 * DAY_S), plan)
    assert step == Begin(kept=(), why="there is no Secret")


def test_who_was_cut_off_does_not_bring_back_what_all_have_left(plan: Plan, steady: Stored) -> None:
    other = after(Begin(kept=(), why=""), Stored(current=None), plan, NOW_S)
    step = next_step(seen(None, ours(*other.bundle), remembered=steady), plan)
    assert step == Begin(kept=other.bundle, why="there is no Secret")


def test_an_emptied_bundle_is_no_reason_to_forget(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(None, ours(), remembered=steady), plan)
    assert step == Restore(stored=steady, why="there is no Secret")


# ------------------------------------------------------------ in peace


def test_nothing_until_the_leaf_is_due(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(steady), plan)
    assert step == Wait(for_s=60 * DAY_S)


def test_the_leaf_is_renewed_at_two_thirds(plan: Plan, steady: Stored) -> None:
    assert isinstance(next_step(seen(steady, now_s=NOW_S + 60 * DAY_S - 1), plan), Wait)
    step = next_step(seen(steady, now_s=NOW_S + 60 * DAY_S), plan)
    assert step == Renew(why="the serving certificate is due")
    renewed = after(step, steady, plan, NOW_S + 60 * DAY_S)
    assert of(renewed).ca == of(steady).ca
    assert renewed.bundle == steady.bundle
    assert next_step(seen(renewed, now_s=NOW_S + 60 * DAY_S), plan) == Wait(for_s=60 * DAY_S)


def test_the_authority_is_renewed_at_two_thirds(plan: Plan, steady: Stored) -> None:
    now_s = NOW_S + 730 * DAY_S
    fresh = after(Renew(why=""), steady, plan, now_s)
    assert next_step(seen(fresh, now_s=now_s), plan) == Announce(why="the authority is due")


def test_expired_leaves_of_a_good_authority(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(steady, now_s=NOW_S + 100 * DAY_S), plan)
    assert step == Renew(why="the serving certificate has expired")


def test_an_authority_that_has_expired_is_as_good_as_none(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(steady, now_s=NOW_S + 4 * 365 * DAY_S), plan)
    assert step == Begin(kept=(), why="the Secret can't be used as it is: its authority has expired")


def test_certificates_of_the_future_are_replaced(plan: Plan, steady: Stored) -> None:
    step = next_step(seen(steady, now_s=NOW_S - 2 * DAY_S), plan)
    assert step == Renew(why="the serving certificate isn't valid yet")


def test_other_names_want_another_authority(plan: Plan, steady: Stored) -> None:
    renamed = replace(plan, names=("other.metrics.svc",))
    assert next_step(seen(steady), renamed) == Announce(why="the authority may not sign for other.metrics.svc")


def test_fewer_names_want_nothing_and_more_that_are_covered_a_leaf(plan: Plan, steady: Stored) -> None:
    assert isinstance(next_step(seen(steady), replace(plan, names=plan.names[:2])), Wait)
    more = replace(plan, names=(*plan.names, "pod.external-metrics.metrics.svc"))
    assert next_step(seen(steady), more) == Renew(why="the serving certificate isn't for pod.external-metrics.metrics.svc")


@pytest.mark.parametrize(("asked", "kind"), [(Asked.LEAVES, Renew), (Asked.ALL, Announce)])
def test_asked_for(plan: Plan, steady: Stored, asked: Asked, kind: type[object]) -> None:
    step = next_step(seen(steady, asked=asked), plan)
    assert isinstance(step, kind)
    assert not isinstance(step, Wait)
    assert step.why == "asked for"


# ------------------------------------------------------------ a rotation


def test_what_is_announced_is_told(plan: Plan, steady: Stored, announced: Stored) -> None:
    assert announced.step is Step.ANNOUNCED
    assert of(announced) == of(steady)
    assert isinstance(next_step(seen(announced, ours(*steady.bundle), told_s=0.0), plan), Tell)


def test_nothing_is_switched_before_clients_have_settled(plan: Plan, announced: Stored) -> None:
    assert next_step(seen(announced, told_s=20.0), plan) == Wait(for_s=40.0)
    assert isinstance(next_step(seen(announced, told_s=60.0), plan), Switch)


def test_a_leaf_that_is_due_is_renewed_meanwhile(plan: Plan, announced: Stored) -> None:
    assert isinstance(next_step(seen(announced, told_s=0.0, now_s=NOW_S + 61 * DAY_S), plan), Renew)


def test_asking_again_changes_no_rotation_that_is_under_way(plan: Plan, announced: Stored) -> None:
    assert next_step(seen(announced, told_s=20.0, asked=Asked.ALL), plan) == Wait(for_s=40.0)


def test_the_switch_keeps_the_old_one_trusted(announced: Stored, overlapping: Stored) -> None:
    assert overlapping.step is Step.OVERLAPPING
    assert overlapping.current == announced.coming
    assert set(overlapping.bundle) == set(announced.bundle)


def test_the_old_one_leaves_after_the_overlap(plan: Plan, overlapping: Stored) -> None:
    assert next_step(seen(overlapping, now_s=NOW_S + DAY_S - 5), plan) == Wait(for_s=5.0)
    step = next_step(seen(overlapping, now_s=NOW_S + DAY_S), plan)
    assert isinstance(step, Retire)
    retired = after(step, overlapping, plan, NOW_S + DAY_S)
    assert retired.bundle == (of(overlapping).ca,)
    told = seen(retired, ours(*overlapping.bundle), now_s=NOW_S + DAY_S)
    assert isinstance(next_step(told, plan), Tell)


def test_a_clock_that_runs_ahead_does_not_end_the_overlap(plan: Plan, overlapping: Stored) -> None:
    assert next_step(seen(overlapping, now_s=NOW_S + 2 * DAY_S, told_s=10.0), plan) == Wait(for_s=50.0)


@pytest.mark.parametrize("since_s", [None, NOW_S + 5000.0])
def test_an_overlap_whose_beginning_makes_no_sense_begins_now(plan: Plan, overlapping: Stored, since_s: float | None) -> None:
    step = next_step(seen(replace(overlapping, since_s=since_s)), plan)
    assert isinstance(step, Restart)
    assert after(step, overlapping, plan, NOW_S + 7).since_s == NOW_S + 7


# ------------------------------------------------------------ what others do


def test_a_bundle_that_somebody_changed_is_put_right(plan: Plan, steady: Stored, overlapping: Stored) -> None:
    for trusted in ((), overlapping.bundle, overlapping.bundle[:1]):
        assert isinstance(next_step(seen(steady, ours(*trusted), remembered=steady), plan), Tell)


def test_verification_is_switched_on(plan: Plan, steady: Stored) -> None:
    clients = replace(ours(*steady.bundle), verifies=False)
    assert next_step(seen(steady, clients), plan) == Tell(why="the APIService says insecureSkipTLSVerify")


@pytest.mark.parametrize("whose", [Whose.INJECTED, Whose.ANOTHERS])
def test_a_bundle_that_is_not_ours_is_left_alone_and_said(plan: Plan, steady: Stored, whose: Whose) -> None:
    step = next_step(seen(steady, Clients(whose=whose, why="left alone")), plan)
    assert step == Wait(for_s=60 * DAY_S, why="left alone")


def test_an_injected_bundle_is_waited_for(plan: Plan, announced: Stored) -> None:
    injected = Clients(whose=Whose.INJECTED, trusted=frozenset(announced.bundle[1:]), why="injected")
    step = next_step(seen(announced, injected), plan)
    assert isinstance(step, Wait)
    assert step.why.endswith("injected")
    assert isinstance(next_step(seen(announced, replace(injected, trusted=frozenset(announced.bundle))), plan), Switch)


@pytest.mark.parametrize("clients", [ABSENT, Clients(whose=Whose.ANOTHERS)])
def test_nobody_is_waited_for_who_does_not_come_to_us(plan: Plan, announced: Stored, clients: Clients) -> None:
    assert isinstance(next_step(seen(announced, clients), plan), Switch)


def test_a_lost_key_is_put_back_or_replaced(plan: Plan, steady: Stored) -> None:
    broken = replace(steady, current=replace(of(steady), key_pem=None), faults=("authority.key is missing",))
    why = "the Secret can't be used as it is: authority.key is missing"
    assert next_step(seen(broken, remembered=steady), plan) == Restore(stored=steady, why=why)
    assert next_step(seen(broken), plan) == Announce(why="the authority's key is lost")


@pytest.mark.parametrize("lost", ["serving", "client"])
def test_a_lost_leaf_is_put_back_or_renewed(plan: Plan, steady: Stored, lost: str) -> None:
    whole = of(steady)
    broken = replace(steady, current=replace(whole, serving=None) if lost == "serving" else replace(whole, client=None))
    assert isinstance(next_step(seen(broken, remembered=steady), plan), Restore)
    assert next_step(seen(broken), plan) == Renew(why=f"there is no {lost} certificate")


def test_a_lost_authority_is_put_back_in_the_middle_of_a_rotation(plan: Plan, announced: Stored) -> None:
    broken = replace(announced, current=None, faults=("authority.crt holds no certificate",))
    step = next_step(seen(broken, remembered=announced), plan)
    assert isinstance(step, Restore)
    assert step.stored == announced
    # Who doesn't remember goes on to what is coming, which clients know soon; the old one stays trusted.
    step = next_step(seen(broken), plan)
    assert isinstance(step, Restore)
    assert step.stored.current is None
    assert next_step(seen(replace(broken, faults=()), told_s=20.0), plan) == Wait(for_s=40.0)
    assert set(broken.bundle) == set(announced.bundle)


def test_a_fault_in_what_nobody_here_needs_is_mended_for_others(plan: Plan, steady: Stored) -> None:
    broken = replace(steady, faults=("ca.crt is not base64",))
    assert next_step(seen(broken), plan) == Restore(stored=broken, why="the Secret can't be used as it is: ca.crt is not base64")


def test_an_authority_without_key_and_leaf_is_none(plan: Plan, steady: Stored) -> None:
    broken = replace(steady, current=replace(of(steady), key_pem=None, serving=None), faults=("gone",))
    assert next_step(seen(broken), plan) == Begin(kept=steady.bundle, why="the Secret can't be used as it is: gone")


def test_a_secret_exchanged_for_another_is_rotated_to(plan: Plan, steady: Stored) -> None:
    other = after(Begin(kept=(), why=""), Stored(current=None), plan, NOW_S)
    step = next_step(seen(other, ours(*steady.bundle), remembered=steady), plan)
    assert isinstance(step, Restore)
    assert step.stored.current == steady.current
    assert step.stored.coming == other.current
    assert set(step.stored.bundle) == {*steady.bundle, *other.bundle}


# ------------------------------------------------------------ what is served


def test_whoever_has_nothing_serves_what_there_is(plan: Plan, steady: Stored, announced: Stored) -> None:
    assert pair_to_serve(steady, None, None, NOW_S) == of(steady).serving
    assert pair_to_serve(announced, None, ours(), NOW_S) == of(steady).serving
    begun = after(Begin(kept=steady.bundle, why=""), Stored(current=None), plan, NOW_S)
    assert begun.coming is not None
    assert pair_to_serve(begun, None, ours(*steady.bundle), NOW_S) == begun.coming.serving
    assert pair_to_serve(None, None, None, NOW_S) is None


def test_what_clients_trust_is_not_let_go_for_what_they_do_not(plan: Plan, steady: Stored) -> None:
    other = after(Begin(kept=(), why=""), Stored(current=None), plan, NOW_S)
    in_hand = of(steady).serving
    assert pair_to_serve(other, in_hand, ours(*steady.bundle), NOW_S) is None
    assert pair_to_serve(other, in_hand, ours(*other.bundle), NOW_S) == of(other).serving
    assert pair_to_serve(other, in_hand, None, NOW_S) is None
    assert pair_to_serve(other, in_hand, None, NOW_S + 91 * DAY_S) == of(other).serving


def test_what_is_in_hand_outlives_a_lost_secret_until_the_switch(plan: Plan, steady: Stored) -> None:
    begun = after(Begin(kept=steady.bundle, why=""), Stored(current=None), plan, NOW_S)
    in_hand = of(steady).serving
    assert pair_to_serve(begun, in_hand, ours(*begun.bundle), NOW_S) is None
    switched = after(Switch(why=""), begun, plan, NOW_S)
    assert pair_to_serve(switched, in_hand, ours(*switched.bundle), NOW_S) == of(switched).serving


def test_a_leaf_that_has_expired_gives_way_to_the_coming_one(plan: Plan, announced: Stored) -> None:
    assert announced.coming is not None
    late = replace(announced, coming=after(Begin(kept=(), why=""), Stored(current=None), plan, NOW_S + 80 * DAY_S).current)
    assert late.coming is not None
    now_s = NOW_S + 91 * DAY_S
    assert pair_to_serve(usable(late, None, now_s), of(announced).serving, ours(), now_s) == late.coming.serving


def test_lifetimes_reach_what_is_made(plan: Plan) -> None:
    short = replace(plan, lifetimes=Lifetimes(ca_s=100.0, leaf_s=10.0))
    made = after(Begin(kept=(), why=""), Stored(current=None), short, NOW_S)
    assert next_step(seen(made), short) == Wait(for_s=pytest.approx(20 / 3))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"names": ()}, {"settle_s": -1.0}, {"overlap_s": -1.0}])
def test_plans_that_make_no_sense(plan: Plan, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(plan, **wrong)
