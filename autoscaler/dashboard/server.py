"""The HTTP side of ``run`` and ``demo``: the page, the API, health, readiness and own metrics on one listener."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

from aiohttp import web

from autoscaler.dashboard.api import Api
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.controls import Demo, add_controls
from autoscaler.dashboard.feed import Feed
from autoscaler.dashboard.security import LOOPBACK_NAMES, errors_as_json, guard, json_answer, only_hosts
from autoscaler.dashboard.stream import Streams
from autoscaler.listen import not_listening

Check: TypeAlias = Callable[[], str]
"""Says why something is not well, in words; "" where it is."""

STATIC: Final = Path(__file__).with_name("static")


def fine() -> str:
    return ""


def make_app(
    board: Board,
    *,
    metrics: Callable[[], tuple[bytes, str]] | None = None,
    healthy: Check = fine,
    ready: Check = fine,
    demo: Demo | None = None,
    hosts: frozenset[str] | None = None,
    streams: Streams | None = None,
    feed: Feed | None = None,
) -> web.Application:
    """The application.

    metrics: (body, content type) of /metrics; None: there is no /metrics. hosts: the names this listener answers to (see ``serve``);
    None: any. demo: adds the controls, which need `hosts`. feed: what external metrics API servers read.
    """
    if demo is not None and hosts is None:
        raise ValueError("the demo's controls are only for loopback: give hosts")
    middlewares = [errors_as_json] if hosts is None else [errors_as_json, only_hosts(hosts)]
    app = web.Application(middlewares=middlewares, client_max_size=64 * 1024)
    guard(app)
    streams = streams or Streams(board, demo)
    app.on_shutdown.append(streams.close)

    def file(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(_request: web.Request) -> web.StreamResponse:
            # Asked again each time, answered with 304 while it is the same: an upgrade shows at once.
            return web.FileResponse(path, headers={"Cache-Control": "no-cache"})

        return handle

    def check(state: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_request: web.Request) -> web.Response:
            why = state()
            return json_answer({"ok": not why, **({"why": why} if why else {})}, 503 if why else 200)

        return handle

    app.router.add_get("/", file(STATIC / "index.html"))
    # Exactly the files that ship, by name: no path from a request ever reaches the file system.
    for path in STATIC.rglob("*.*"):
        app.router.add_get(f"/static/{path.relative_to(STATIC).as_posix()}", file(path))
    app.router.add_get("/healthz", check(healthy))
    app.router.add_get("/readyz", check(ready))
    if metrics is not None:
        own_metrics = metrics

        async def show_metrics(_request: web.Request) -> web.Response:
            body, content_type = own_metrics()
            return web.Response(body=body, headers={"Content-Type": content_type})

        app.router.add_get("/metrics", show_metrics)
    Api(board, demo=demo is not None).add_to(app)
    app.router.add_get("/api/stream", streams.handle)
    if feed is not None:
        feed.add_to(app)
    if demo is not None:
        add_controls(app, demo, board.knows, board.wake)
    return app


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str) -> frozenset[str] | None:
    """The names that a listener on `host` answers to: on loopback its own ones; elsewhere any, since a cluster gives it names that we
    can't know."""
    if not is_loopback(host):
        return None
    return LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host}


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Listens while the context is open; gives the port. Raises OutsideError where the address can't be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host or None, port)
        try:
            await site.start()
        except OSError as fault:
            raise not_listening(host, port, fault) from fault
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
