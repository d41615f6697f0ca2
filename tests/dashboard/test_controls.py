"""The demo's controls: they work from their own page, and from nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from autoscaler.dashboard.board import Board
from autoscaler.dashboard.server import make_app
from tests.dashboard.conftest import NotedDemo, Served, served

OURS = {"X-Autoscaler-Demo": "1"}


@pytest.fixture
async def demo() -> AsyncIterator[Served]:
    async with served(demo=True) as one:
        yield one


async def post(one: Served, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    async with one.http.post(one.base + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def asked(one: Served) -> list[tuple[Any, ...]]:
    assert one.demo is not None
    return one.demo.asked


async def test_each_control_does_its_thing(demo: Served) -> None:
    origin = {**OURS, "Origin": demo.base, "Sec-Fetch-Site": "same-origin"}
    for path, body in (
        ("pause", {}),
        ("resume", {}),
        ("speed", {"speed": 0}),
        ("surge", {"factor": 2, "for_s": 600, "key": "assistants/chat-70b"}),
        ("surge", {"factor": 5, "for_s": 60}),
        ("outage", {"for_s": 120}),
        ("slow-starts", {"factor": 5, "for_s": 900}),
        ("calm", {}),
    ):
        status, state = await post(demo, f"/api/demo/{path}", body, origin)
        assert status == 200, state
    assert asked(demo) == [
        ("pause", True),
        ("pause", False),
        ("speed", 0.0),
        ("surge", 2.0, 600.0, "assistants/chat-70b"),
        ("surge", 5.0, 60.0, None),
        ("outage", 120.0),
        ("slow-starts", 5.0, 900.0),
        ("calm",),
    ]
    assert (await demo.get("/api/demo"))[1] == {"asked": 8}
    assert "POST /api/demo/surge" in (await demo.get("/api"))[1]["endpoints"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Autoscaler-Demo": "0"},
        {**OURS, "Origin": "http://evil.example"},
        {**OURS, "Origin": "null"},
        {**OURS, "Origin": "http://127.0.0.1:1"},
        {**OURS, "Sec-Fetch-Site": "cross-site"},
        {**OURS, "Content-Type": "text/plain"},
    ],
)
async def test_foreign_pages_press_nothing(demo: Served, headers: dict[str, str]) -> None:
    async with demo.http.post(
        demo.base + "/api/demo/pause", data=b"{}", headers={"Content-Type": "application/json", **headers}
    ) as answer:
        assert answer.status == 403
    assert asked(demo) == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "10.0.0.1:80"])
async def test_other_names_get_nothing(demo: Served, host: str) -> None:
    for path in ("/", "/api/fleet", "/api/demo", "/api/stream"):
        async with demo.http.get(demo.base + path, headers={"Host": host}) as answer:
            assert answer.status == 421
    status, _ = await post(demo, "/api/demo/pause", {}, {**OURS, "Host": host})
    assert status == 421
    assert asked(demo) == []


async def test_own_names_are_answered(demo: Served) -> None:
    for host in ("localhost:1234", "LOCALHOST", "127.0.0.1", "[::1]:99"):
        status, _ = await demo.get("/api/fleet", headers={"Host": host})
        assert status == 200


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("surge", {"factor": -1, "for_s": 60}, "factor"),
        ("surge", {"factor": 2}, "for_s"),
        ("surge", {"factor": 2, "for_s": 60, "key": "team/ghost"}, "no service"),
        ("surge", {"factor": True, "for_s": 60}, "factor"),
        ("speed", {"speed": 1e9}, "from 0 to 3600"),
        ("speed", {"speed": "fast"}, "a number"),
        ("outage", [], "object"),
    ],
)
async def test_bad_bodies_are_refused_in_words(demo: Served, path: str, body: Any, words: str) -> None:
    status, answer = await post(demo, f"/api/demo/{path}", body, OURS)
    assert status == 400
    assert words in answer["error"]["message"]
    assert asked(demo) == []


async def test_a_body_that_is_no_json_or_too_long(demo: Served) -> None:
    headers = {**OURS, "Content-Type": "application/json"}
    async with demo.http.post(demo.base + "/api/demo/speed", data=b"{", headers=headers) as answer:
        assert answer.status == 400
    async with demo.http.post(demo.base + "/api/demo/speed", data=b"[" * 5000, headers=headers) as answer:
        assert answer.status == 413


def test_controls_need_names() -> None:
    with pytest.raises(ValueError, match="loopback"):
        make_app(Board(), demo=NotedDemo())
