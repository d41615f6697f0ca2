"""What every backend keeps to, against servers that check what they are asked and play what clouds do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from autoscaler.adapters.nodepools.backend import Wish
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from tests.adapters.nodepools.beds import CALL_S, CLOUDS, NAMES, Bed, bed_of


@pytest_asyncio.fixture(params=NAMES, loop_scope="session")
async def bed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    async with bed_of(request.param, tmp_path) as made:
        yield made


async def problem(asking: object) -> PoolProblem:
    with pytest.raises(PoolProblem) as met:
        await asking  # type: ignore[misc]
    return met.value


async def test_tells_what_was_asked_for_and_what_is_ready(bed: Bed) -> None:
    state = await bed.get()
    assert (state.target, state.ready, state.owner, state.changing, state.problem) == (2, 2, "", "", "")
    assert state.max_nodes in ((None, 20) if bed.backend.sets == "Nodes" else (20,))


async def test_an_order_given_twice_is_one_order(bed: Bed) -> None:
    over = await bed.get()
    after = await bed.set(5, over)
    assert (bed.target(), bed.orders(), after.target) == (5, 1, 5)
    if bed.finish:
        bed.finish()
    assert (await bed.get()).target == 5
    await bed.set(5)
    assert bed.orders() == 1


async def test_what_is_so_already_is_not_ordered(bed: Bed) -> None:
    await bed.set(2)
    assert bed.orders() == 0


async def test_goes_down_too(bed: Bed) -> None:
    await bed.set(0)
    assert bed.target() == 0


@pytest.mark.parametrize("bed", CLOUDS, indirect=True)
async def test_a_long_operation_is_looked_at_and_not_waited_for(bed: Bed) -> None:
    assert bed.finish
    began_s = time.monotonic()
    assert (await bed.set(5)).changing
    assert time.monotonic() - began_s < CALL_S
    state = await bed.get()
    assert state.changing
    assert await bed.backend.set_target(Wish(nodes=7, reason="more"), state, CALL_S) is state
    assert (bed.target(), bed.orders()) == (5, 1)
    bed.finish()
    assert not (await bed.get()).changing
    await bed.set(7)
    assert (bed.target(), bed.orders()) == (7, 2)


async def test_after_a_restart_the_operation_is_seen_in_the_system_itself(bed: Bed) -> None:
    await bed.set(5)
    bed.backend = bed.again()
    state = await bed.get()
    assert state.target == 5
    assert bool(state.changing) == (bed.finish is not None)
    await bed.set(5)
    assert bed.orders() == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, PoolReason.Throttled),
        (403, PoolReason.NotPermitted),
        (500, PoolReason.Unavailable),
        (503, PoolReason.Unavailable),
    ],
)
async def test_a_refusal_ends_in_words_and_the_next_try_is_as_usual(bed: Bed, status: int, reason: PoolReason) -> None:
    over = await bed.get()
    bed.fail(method=bed.write, part=bed.write_part, status=status, document={"message": "not now"})
    met = await problem(bed.set(5, over))
    assert met.reason == reason
    assert bed.target() == 2
    await bed.set(5)
    assert bed.target() == 5


async def test_throttled_while_looking(bed: Bed) -> None:
    bed.fail(status=429, document={"message": "slow down"}, headers={"Retry-After": "7"}, times=9)
    assert (await problem(bed.get())).reason == PoolReason.Throttled


async def test_a_conflict_is_told_and_the_next_tick_orders(bed: Bed) -> None:
    over = await bed.get()
    bed.fail(method=bed.write, part=bed.write_part, status=409, document={"message": "somebody was faster"})
    assert (await problem(bed.set(5, over))).reason == PoolReason.Conflict
    await bed.set(5)
    assert bed.target() == 5


@pytest.mark.parametrize("bed", CLOUDS, indirect=True)
async def test_a_credential_that_expired_is_renewed_with_the_next_try(bed: Bed) -> None:
    assert bed.expire
    await bed.get()
    bed.expire()
    if not bed.reads_each_time:
        assert (await problem(bed.get())).reason == PoolReason.CredentialsRefused
        bed.clock.advance_to(bed.clock.now_s() + 15)
    assert (await bed.get()).target == 2


async def test_no_answer_is_waited_for_longer_than_the_deadline(bed: Bed) -> None:
    bed.fail(hang=True, times=99)
    began_s = time.monotonic()
    met = await problem(bed.backend.get(0.2))
    assert time.monotonic() - began_s < 2.0
    assert met.reason == PoolReason.Unreachable
    if bed.server:
        bed.server.release()


@pytest.mark.parametrize("bed", CLOUDS, indirect=True)
async def test_an_order_whose_answer_is_lost_is_not_given_again(bed: Bed) -> None:
    """The connection breaks after the system has taken the order: the next tick sees it in the system."""
    assert bed.server
    over = await bed.get()
    bed.fail(method=bed.write, part=bed.write_part, hang=True)
    met = await problem(bed.backend.set_target(Wish(nodes=5, reason="a test"), over, 0.2))
    assert met.reason == PoolReason.Unreachable
    bed.server.release()
    await asyncio.wait_for(bed.server.answered.wait(), CALL_S)
    bed.backend = bed.again()
    await bed.set(5)
    assert (bed.target(), bed.orders()) == (5, 1)


async def test_a_broken_connection(bed: Bed) -> None:
    bed.fail(drop=True, times=9)
    assert (await problem(bed.get())).reason == PoolReason.Unreachable


@pytest.mark.parametrize("content", [b"<html>busy</html>", b"[1, 2]", b'"x"', b"\xff\xfe", b"{}"])
async def test_garbage_is_no_answer(bed: Bed, content: bytes) -> None:
    await bed.get()
    bed.fail(content=content, times=99)
    assert (await problem(bed.get())).reason in (PoolReason.UnexpectedAnswer, PoolReason.NotUsable)
    assert bed.orders() == 0


async def test_what_is_not_there_is_told_so(bed: Bed) -> None:
    await bed.get()
    bed.fail(method="GET" if bed.write_part != "/size" else "POST", status=404, document={"message": "no such thing"}, times=99)
    assert (await problem(bed.get())).reason == PoolReason.NotFound


@pytest.mark.parametrize("bed", CLOUDS, indirect=True)
async def test_no_credential_is_told_by_anybody(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """Though the server repeats all that it was sent, in its refusals of every request."""
    assert bed.server
    caplog.set_level(logging.DEBUG)
    texts = []
    for part in ("", "h100", "token", "credentials", "/"):
        for again in (False, True):
            bed.server.faults.clear()
            bed.fail(status=400, echo=True, part=part, times=99)
            bed.backend = bed.again() if again else bed.backend
            try:
                texts.append(repr(await bed.get()))
            except PoolProblem as met:
                texts += [str(met), repr(met), repr(met.__cause__), repr(met.__context__), repr(vars(met))]
    bed.server.faults.clear()
    texts += [repr(await bed.get()), repr(bed.backend), caplog.text]
    assert any("<hidden>" in text for text in texts), "or the server has not repeated anything"
    for secret in bed.secrets:
        assert not [text for text in texts if secret in text]
