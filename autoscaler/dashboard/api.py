"""The JSON that the page and people's scripts read. Documented in docs/api.md and, shorter, at /api."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from autoscaler.dashboard.board import SORTS, Board
from autoscaler.dashboard.security import error, json_answer

MOST_SERVICES: Final = 1000
MOST_NODES: Final = 2000

INDEX: Final[dict[str, Any]] = {
    "GET /api": "this list",
    "GET /api/fleet": "all services together: replicas, nodes, statuses, attained share, timings, problems",
    "GET /api/services": "the table, a page at a time; ?filter=PART&sort="
    + "|".join(SORTS)
    + "&order=asc|desc&offset=0&limit=200",
    "GET /api/services/{namespace}/{name}": "one service now, and its history for plots; ?since_s=UNIX_SECONDS for what is newer only",
    "GET /api/services/{namespace}/{name}/explain": "why this many replicas, step by step; ?at=UNIX_SECONDS or an ISO time for an earlier decision",
    "GET /api/nodes": "the pools' nodes and what runs on each, why as many are planned; ?pool=NAME&limit=200",
    "GET /api/stream": "server-sent events, one a tick; ?service=namespace/name adds that service with what is new in its history",
    "GET /healthz": "200 while the process works, 503 with why where it doesn't",
    "GET /readyz": "200 when ticks can be made, 503 with why until then",
    "GET /metrics": "own metrics for Prometheus",
}

DEMO_INDEX: Final[dict[str, Any]] = {
    "GET /api/demo": "speed, end, and which faults are on",
    "POST /api/demo/pause, /resume": "{}: pauses all scaling, as the cluster-wide switch does",
    "POST /api/demo/speed": '{"speed": 60}: simulated seconds per second, 0 stops the time',
    "POST /api/demo/surge": '{"factor": 2, "for_s": 600, "key": "namespace/name" or left out for all}',
    "POST /api/demo/outage": '{"for_s": 120}: all metrics are missing',
    "POST /api/demo/slow-starts": '{"factor": 5, "for_s": 600}: replicas take that much longer to become ready',
    "POST /api/demo/calm": "{}: ends everything that is on",
    "headers of POST": "X-Autoscaler-Demo: 1 and Content-Type: application/json",
}


class Api:
    """Handlers over a board. `demo`: whether the demo's controls are there (for the index)."""

    def __init__(self, board: Board, *, demo: bool) -> None:
        self._board = board
        self._demo = demo

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api", self.index)
        app.router.add_get("/api/fleet", self.fleet)
        app.router.add_get("/api/nodes", self.nodes)
        app.router.add_get("/api/services", self.services)
        app.router.add_get("/api/services/{namespace}/{name}", self.service)
        app.router.add_get("/api/services/{namespace}/{name}/explain", self.explain)

    async def index(self, _request: web.Request) -> web.Response:
        return json_answer({"endpoints": {**INDEX, **(DEMO_INDEX if self._demo else {})}})

    async def fleet(self, _request: web.Request) -> web.Response:
        return json_answer(self._board.fleet())

    async def nodes(self, request: web.Request) -> web.Response:
        pool = request.query.get("pool")
        try:
            limit = _whole(request.query.get("limit", "200"), "limit", 1, MOST_NODES)
        except ValueError as fault:
            return error(400, str(fault))
        found = self._board.nodes(pool, limit)
        return error(404, f"there is no pool {pool}; /api/fleet lists them") if found is None else json_answer(found)

    async def services(self, request: web.Request) -> web.Response:
        query = request.query
        sort, order = query.get("sort", "name"), query.get("order", "asc")
        if sort not in SORTS:
            return error(400, f"sort: '{sort}' is not allowed; one of {', '.join(SORTS)}")
        if order not in ("asc", "desc"):
            return error(400, f"order: '{order}' is not allowed; asc or desc")
        try:
            offset = _whole(query.get("offset", "0"), "offset", 0, 10_000_000)
            limit = _whole(query.get("limit", "200"), "limit", 1, MOST_SERVICES)
        except ValueError as fault:
            return error(400, str(fault))
        return json_answer(
            self._board.services(
                filter_by=query.get("filter", ""), sort=sort, descending=order == "desc", offset=offset, limit=limit
            )
        )

    async def service(self, request: web.Request) -> web.Response:
        key = _key(request)
        try:
            since_s = _time_s(request.query.get("since_s"), "since_s")
        except ValueError as fault:
            return error(400, str(fault))
        found = self._board.service(key, -math.inf if since_s is None else since_s)
        return self._missing(key) if found is None else json_answer(found)

    async def explain(self, request: web.Request) -> web.Response:
        key = _key(request)
        try:
            at_s = _time_s(request.query.get("at"), "at")
        except ValueError as fault:
            return error(400, str(fault))
        found = self._board.explain(key, at_s)
        if found is None and self._board.knows(key):
            return error(404, f"no decision on {key} is kept from that time or before; the record files may have it")
        return self._missing(key) if found is None else json_answer(found)

    def _missing(self, key: str) -> web.Response:
        if self._board.tick is None:
            return error(503, "there was no tick yet; try again in a moment", {"Retry-After": "1"})
        return error(404, f"there is no service {key}; /api/services lists them")


def _key(request: web.Request) -> str:
    return f"{request.match_info['namespace']}/{request.match_info['name']}"


def _whole(text: str, name: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{name}: '{text}' is not allowed; a whole number from {low} to {high}")
    return int(text)


def _time_s(text: str | None, name: str) -> float | None:
    """Unix seconds, or an ISO time (without a zone: UTC)."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{name}: '{text}' is no time; Unix seconds or an ISO time such as 2026-01-31T12:00:00Z") from None
        if moment.tzinfo is None:
            moment = datetime.fromisoformat(text + "+00:00" if "T" in text or " " in text else text + "T00:00:00+00:00")
        seconds = moment.timestamp()
    if not math.isfinite(seconds):
        raise ValueError(f"{name}: '{text}' is no time")
    return seconds
