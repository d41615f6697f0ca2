"""What every answer and every request goes through: headers, errors as JSON, and who may talk to us.

In the cluster the page only reads, so there is nothing to forge; a loopback listener (the demo, or a forwarded port) also checks Host,
since a foreign page can point its own name at 127.0.0.1 (DNS rebinding). The demo's controls change things, so they also want the
page's own Origin and a header that no foreign page can send without being asked first (CSRF).
"""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

log = logging.getLogger(__name__)

CONTROL_HEADER: Final = "X-Autoscaler-Demo"
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

_HEADERS: Final = {
    # 'unsafe-inline' is nowhere: styles and scripts are files of ours (uPlot sets styles through the DOM, which CSP allows).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    return web.Response(
        body=body, status=status, content_type="application/json", headers={"Cache-Control": "no-store", **(headers or {})}
    )


def error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Every error has this shape, whatever went wrong."""
    return json_answer({"error": {"status": status, "message": message}}, status, headers)


def set_headers(headers: Any) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    set_headers(response.headers)


def guard(app: web.Application) -> None:
    """Puts the security headers on every answer of `app`, streams and errors too."""
    app.on_response_prepare.append(_add_headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as fault:
        allowed = ", ".join(sorted(fault.allowed_methods))
        return error(405, f"{request.method} is not allowed here; {allowed} is", {"Allow": allowed})
    except web.HTTPNotFound:
        return error(404, f"there is nothing at {request.path}; /api lists what there is")
    except web.HTTPException as fault:
        if fault.status < 400:
            raise
        return error(fault.status, fault.text or fault.reason)
    except ConnectionError:
        raise  # the reader went away; aiohttp knows what to do
    except Exception:  # a page that fails must not look like one that is not there
        log.exception("answering %s failed", request.path)
        return error(500, "answering failed by a fault of ours; the log has it")


def only_hosts(names: frozenset[str]) -> Middleware:
    """Refuses requests whose Host is none of `names` (any port)."""

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _host_name(request.headers.get("Host", "")) not in names:
            return error(421, f"this address answers only to the names {', '.join(sorted(names))}")
        return await handler(request)

    return check_host


def why_not_trusted(request: web.Request) -> str:
    """Why a request may not use the demo's controls; "" where it may. Host was checked before."""
    origin = request.headers.get("Origin")
    if origin is not None:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != request.headers.get("Host", "").lower():
            return f"the page at {origin} is not this one; controls work only from the demo's own page"
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "controls work only from the demo's own page"
    if request.headers.get(CONTROL_HEADER) != "1":
        return f"controls want the header {CONTROL_HEADER}: 1"
    if request.content_type != "application/json":
        return "controls want a JSON body (Content-Type: application/json)"
    return ""


def _host_name(host: str) -> str:
    """The name without its port, in lower case; IPv6 addresses keep their brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
