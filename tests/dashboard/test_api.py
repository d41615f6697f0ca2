"""The API over a real socket."""

from __future__ import annotations

import pytest

from autoscaler.dashboard.board import SORTS, Board
from autoscaler.dashboard.server import host_names, make_app, serve
from autoscaler.errors import OutsideError, UsageError
from autoscaler.listen import parse_listen
from tests.dashboard.conftest import Served, served
from tests.dashboard.world import START_S, STEP_S, Running, many_specs

CHAT = "/api/services/assistants/chat-70b"


async def test_the_fleet_adds_up(server: Served) -> None:
    status, fleet = await server.get("/api/fleet")
    _, table = await server.get("/api/services")
    assert status == 200
    assert fleet["tick"] == 8
    assert fleet["services"] == table["total"] == 3
    for name in ("current", "ready", "starting", "desired", "planned"):
        assert fleet["replicas"][name] == sum(service[name] for service in table["services"])
    assert sum(fleet["statuses"].values()) == 3
    assert fleet["pools"][0]["name"] == "h100"


async def test_a_service_has_its_history_and_its_decision(server: Served) -> None:
    _, service = await server.get(CHAT)
    history = service["history"]
    assert history["times_s"] == [START_S + STEP_S * k for k in range(8)]
    assert all(len(values) == 8 for values in history["columns"].values())
    assert history["columns"]["planned"][-1] == service["planned"]
    assert service["explanation"]["steps"][0]["step"] == "policy"
    assert service["explanation"]["planned"] == service["planned"]
    assert "demand" in service["explanation"]["sentence"]
    assert service["capacity_per_s"] == service["explanation"]["capacity"]["per_s"] > 0
    assert service["capacity_confidence"] is None
    _, newer = await server.get(f"{CHAT}?since_s={history['times_s'][5]}")
    assert newer["history"]["times_s"] == history["times_s"][6:]


async def test_explain_gives_the_decision_that_was_in_force(server: Served) -> None:
    _, latest = await server.get(f"{CHAT}/explain")
    assert latest["at_s"] == START_S + 7 * STEP_S
    for at in (str(START_S + 2.5 * STEP_S), "2025-10-09T09:00:37.5Z", "2025-10-09T09:00:37.5"):
        status, past = await server.get(f"{CHAT}/explain", params={"at": at})
        assert (status, past["at_s"]) == (200, START_S + 2 * STEP_S)
    status, before = await server.get(f"{CHAT}/explain?at=5")
    assert status == 404
    assert "record files" in before["error"]["message"]


async def test_limits_and_unknown_signals_are_explained(server: Served) -> None:
    server.running.world.outage_until_s = START_S + 1e6
    await server.running.tick(2)
    _, service = await server.get(CHAT)
    assert service["status"] == "blind"
    assert service["demand"] is None
    states = {signal["name"]: signal for signal in service["explanation"]["signals"]}
    assert states["demand"]["state"] == "unknown"
    assert states["demand"]["value"] is None
    assert states["demand"]["why"] == "Prometheus does not answer"
    assert service["history"]["columns"]["demand"][-1] is None
    assert "unknown" in service["explanation"]["sentence"]


@pytest.mark.parametrize("sort", SORTS)
async def test_the_table_sorts_both_ways(server: Served, sort: str) -> None:
    orders = []
    for order in ("asc", "desc"):
        _, table = await server.get(f"/api/services?sort={sort}&order={order}")
        orders.append([service["key"] for service in table["services"]])
    assert sorted(orders[0]) == sorted(orders[1])
    if sort == "demand":
        assert orders[0] == orders[1][::-1]


async def test_the_table_filters_and_pages(server: Served) -> None:
    _, table = await server.get("/api/services?filter=CHAT")
    assert [service["name"] for service in table["services"]] == ["chat-70b"]
    _, table = await server.get("/api/services?offset=1&limit=1")
    assert (table["total"], [service["key"] for service in table["services"]]) == (3, ["batch/nightly-summaries"])


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/services/team/ghost", 404, "no service team/ghost"),
        ("/api/services?sort=colour", 400, "one of name"),
        ("/api/services?order=up", 400, "asc or desc"),
        ("/api/services?limit=0", 400, "from 1 to"),
        ("/api/services?offset=-1", 400, "whole number"),
        (f"{CHAT}?since_s=soon", 400, "since_s"),
        (f"{CHAT}/explain?at=nan", 400, "no time"),
        ("/api/nothing", 404, "/api lists"),
        ("/static/../server.py", 404, "nothing at"),
        ("/static/ghost.js", 404, "nothing at"),
        ("/api/stream?since_s=soon", 400, "since_s"),
    ],
)
async def test_errors_are_json_and_say_what_is_allowed(server: Served, path: str, status: int, words: str) -> None:
    got, body = await server.get(path)
    assert got == status
    assert body["error"]["status"] == status
    assert words in body["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/api/fleet", "/api/services", "/healthz", "/api/stream"])
async def test_in_a_cluster_there_is_only_reading(server: Served, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with server.http.request(method, server.base + path) as answer:
            assert answer.status == 405
            assert "GET" in answer.headers["Allow"]
    async with server.http.post(server.base + "/api/demo/pause", json={}, headers={"X-Autoscaler-Demo": "1"}) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("path", ["/", "/api", "/metrics", "/static/app.js", "/api/nothing"])
async def test_every_answer_has_the_security_headers(server: Served, path: str) -> None:
    async with server.http.get(server.base + path) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_health_readiness_and_metrics() -> None:
    async with served(ticks=0) as one:
        assert await one.get("/healthz") == (200, {"ok": True})
        status, ready = await one.get("/readyz")
        assert (status, ready["why"]) == (503, "there was no tick yet")
        assert (await one.get(CHAT))[0] == 503
        assert await one.get("/api/fleet") == (200, {"tick": None, "services": 0})
        await one.running.tick()
        assert (await one.get("/readyz"))[0] == 200
        async with one.http.get(one.base + "/metrics") as answer:
            assert await answer.text() == "up 1\n"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_the_index_names_what_there_is(server: Served) -> None:
    _, index = await server.get("/api")
    assert "GET /api/stream" in index["endpoints"]
    assert not [name for name in index["endpoints"] if "demo" in name]


async def test_a_taken_port_is_said_plainly(server: Served) -> None:
    port = int(server.base.rpartition(":")[2])
    with pytest.raises(OutsideError, match="taken by another program"):
        async with serve(make_app(Board()), "127.0.0.1", port):
            pass


@pytest.mark.parametrize("text", ["8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "::1:80", ""])
def test_a_wrong_listen_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_listen(text)


def test_listen_addresses() -> None:
    assert parse_listen("[::1]:80") == ("::1", 80)
    assert parse_listen(":0") == ("", 0)
    assert host_names("0.0.0.0") is None
    assert "localhost" in (host_names("127.0.0.1") or ())


async def test_ten_thousand_services_stay_within_bounds() -> None:
    board = Board()
    running = Running(board, many_specs(10_000))
    await running.tick(3)
    table = board.services(sort="demand", descending=True, limit=200)
    assert (table["total"], len(table["services"])) == (10_000, 200)
    assert board._rings.nbytes < 140 * 1024 * 1024
    service = board.service("team-0/model-00000")
    assert service is not None
    assert len(service["history"]["times_s"]) == 3
