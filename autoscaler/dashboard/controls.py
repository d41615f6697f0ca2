"""The demo's buttons: what may be changed while it runs, and the requests that change it.

They exist only where a Demo is handed to the server; the controller in a cluster never has one, so there is no code path from the page
to a change of anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from autoscaler.dashboard.security import error, json_answer, why_not_trusted

_MOST_BYTES: Final = 4096


class Demo(Protocol):
    """What can be done to a running demo. Times are simulated seconds. `key`: one service, None for all."""

    def state(self) -> dict[str, Any]:
        """Speed, end, and what is on now; plain JSON values."""

    def pause_scaling(self, paused: bool) -> None:
        """The cluster-wide pause: everything is watched and decided, nothing is changed."""

    def set_speed(self, speed: float) -> None:
        """Simulated seconds per second; 0 stops the time."""

    def surge(self, factor: float, for_s: float, key: str | None) -> None:
        """Demand × factor."""

    def outage(self, for_s: float) -> None:
        """All metrics are missing."""

    def slow_starts(self, factor: float, for_s: float) -> None:
        """Replicas take × factor to become ready."""

    def calm(self) -> None:
        """Ends everything that is on."""


class BodyError(ValueError):
    """A body that can't be used, in words."""


def add_controls(app: web.Application, demo: Demo, knows: Callable[[str], bool], wake: Callable[[], None]) -> None:
    """Adds /api/demo to `app`. wake: tells the streams that something changed."""

    async def state(_request: web.Request) -> web.Response:
        return json_answer(demo.state())

    def control(act: Callable[[dict[str, Any]], None]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            if why := why_not_trusted(request):
                return error(403, why)
            if (request.content_length or 0) > _MOST_BYTES:
                return error(413, f"a control's body has at most {_MOST_BYTES} bytes")
            try:
                act(_body(await request.read()))
            except BodyError as fault:
                return error(400, str(fault))
            wake()
            return json_answer(demo.state())

        return handle

    def surge(body: dict[str, Any]) -> None:
        key = body.get("key")
        if key is not None and not (isinstance(key, str) and knows(key)):
            raise BodyError(f"key: there is no service {key!r}; leave it out for all services")
        demo.surge(_number(body, "factor", 0.0, 20.0), _number(body, "for_s", 1.0, 86400.0), key)

    actions: dict[str, Callable[[dict[str, Any]], None]] = {
        "pause": lambda _body: demo.pause_scaling(True),
        "resume": lambda _body: demo.pause_scaling(False),
        "speed": lambda body: demo.set_speed(_number(body, "speed", 0.0, 3600.0)),
        "surge": surge,
        "outage": lambda body: demo.outage(_number(body, "for_s", 1.0, 86400.0)),
        "slow-starts": lambda body: demo.slow_starts(_number(body, "factor", 1.0, 20.0), _number(body, "for_s", 1.0, 86400.0)),
        "calm": lambda _body: demo.calm(),
    }
    app.router.add_get("/api/demo", state)
    for name, act in actions.items():
        app.router.add_post(f"/api/demo/{name}", control(act))


def _body(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise BodyError(f"the body is no JSON: {fault}") from None
    if not isinstance(body, dict):
        raise BodyError("the body must be a JSON object")
    return body


def _number(body: dict[str, Any], name: str, low: float, high: float) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise BodyError(f"{name}: {value!r} is not allowed; a number from {low:g} to {high:g}")
    return float(value)
