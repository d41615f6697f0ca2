"""A Prometheus that is programmed: real HTTP and JSON on loopback, samples in memory, and every fault that a real one may show.

Two ways to say what it holds: `write` (raw samples, evaluated by ``tests.fakes.promql``; for behavior) and `answers` (whole bodies by a
function of the query; for load, see ``tests.fakes.prometheus_fleet``).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
from aiohttp import web

from tests.fakes.promql import Evaluator, QueryError, Series, is_stale_marker

Kind = Literal[
    "slow",
    "hang",
    "too-many",
    "status",
    "refuse",
    "not-json",
    "wrong-json",
    "truncated",
    "huge",
    "redirect",
    "disconnect",
    "warning",
]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with queries that contain `where`. seconds: of slow. status: of status, refuse and redirect. bytes: of huge.
    points: too-many refuses range queries of more steps."""

    kind: Kind
    where: str = ""
    seconds: float = 0.2
    status: int = 503
    bytes: int = 8 * 1024 * 1024
    points: int = 0


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    form: Mapping[str, str]
    headers: Mapping[str, str]
    peer_subject: Any = None


class FakePrometheus:
    """`async with FakePrometheus() as prom:`; `prom.url` is where it listens."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._series: dict[frozenset[tuple[str, str]], Series] = {}
        self._runner: web.ServerRunner | None = None
        self.url = ""
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.answers: Callable[[Mapping[str, str]], bytes | None] = lambda _form: None
        self.arrived = asyncio.Event()
        self.most_at_once = 0
        self._now = 0
        self._gone = asyncio.Event()

    async def __aenter__(self) -> FakePrometheus:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens, on the port it had before if it had one."""
        self._gone = asyncio.Event()
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        port = int(self.url.rsplit(":", 1)[1]) if self.url else 0
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._tls)
        await site.start()
        server: Any = site._server
        port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Connections are refused from now on; what was written stays."""
        self._gone.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def write(self, series: Sequence[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]) -> None:
        """Adds samples (Unix seconds, value) to series (labels with ``__name__``)."""
        for labels, samples in series:
            key = frozenset(labels.items())
            held = self._series.setdefault(key, Series(dict(labels)))
            held.samples = sorted({**dict(held.samples), **dict(samples)}.items())

    def forget(self, **labels: str) -> None:
        """Drops all series that have these labels."""
        self._series = {key: s for key, s in self._series.items() if not set(labels.items()) <= key}

    def queries(self) -> list[str]:
        """The texts that were asked, in order."""
        return [asked.form["query"] for asked in self.asked]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append(Asked(request.path, form, dict(request.headers), request.get_extra_info("peercert")))
        self.arrived.set()
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            for fault in self.faults:
                if fault.where in form.get("query", ""):
                    response = await self._faulty(request, form, fault)
                    if response is not None:
                        return response
            return _json(self._body(request.path, form))
        except QueryError as error:
            return _json(_error("execution", str(error)), 422)
        except ValueError as error:
            return _json(_error("bad_data", str(error)), 400)
        finally:
            self._now -= 1

    def _body(self, path: str, form: Mapping[str, str]) -> bytes:
        prebuilt = self.answers(form)
        if prebuilt is not None:
            return prebuilt
        series = self._series.values()
        if path.endswith("/query"):
            at_s = float(form["time"])
            value = Evaluator(series, at_s).value(form["query"])
            if isinstance(value, float):
                return _success("scalar", [at_s, text_of(value)])
            return vector_body([(dict(labels), v) for labels, v in value.items()], at_s)
        start_s, end_s, step_s = (float(form[name]) for name in ("start", "end", "step"))
        rows: dict[frozenset[tuple[str, str]], list[list[Any]]] = {}
        for at_s in np.arange(start_s, end_s + step_s / 2, step_s).tolist():
            value = Evaluator(series, at_s).value(form["query"])
            vector = {frozenset[tuple[str, str]](): value} if isinstance(value, float) else value
            for labels, number in vector.items():
                rows.setdefault(labels, []).append([at_s, text_of(number)])
        return _success("matrix", [{"metric": dict(labels), "values": values} for labels, values in rows.items()])

    async def _faulty(self, request: web.BaseRequest, form: Mapping[str, str], fault: Fault) -> web.StreamResponse | None:
        match fault.kind:
            case "too-many":
                if (float(form["end"]) - float(form["start"])) / float(form["step"]) < fault.points:
                    return None
                words = "query processing would load too many samples into memory in query execution"
                return _json(_error("execution", words), 422)
            case "slow":
                await asyncio.sleep(fault.seconds)
                return None
            case "hang":
                await self._gone.wait()
                return web.Response(status=503)
            case "status":
                return web.Response(status=fault.status, text="<html>upstream says no</html>", content_type="text/html")
            case "refuse":
                return _json(_error("execution", "expanding series: context canceled"), fault.status)
            case "not-json":
                return web.Response(text="<html>login</html>", content_type="text/html")
            case "wrong-json":
                return _json(b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2,3]}]}}')
            case "redirect":
                return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"})
            case "huge":
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                await response.prepare(request)
                for _ in range(fault.bytes // 65536):
                    await response.write(b" " * 65536)
                return response
            case "truncated":
                response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b'{"status":"success","data":{"resultType":"vector","result":[{"metric":')
                _cut(request)
                return response
            case "disconnect":
                _cut(request)
                return web.Response()
            case "warning":
                return _json(b'{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["a store is away"]}')


def text_of(value: float) -> str:
    """A value as Prometheus writes it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def vector_body(series: Sequence[tuple[Mapping[str, str], float]], at_s: float) -> bytes:
    """A whole answer that is an instant vector."""
    result = [{"metric": dict(labels), "value": [at_s, text_of(value)]} for labels, value in series]
    return _success("vector", result)


def _success(kind: str, result: Any) -> bytes:
    document = {"status": "success", "data": {"resultType": kind, "result": result}}
    return json.dumps(document, separators=(",", ":")).encode()


def _error(kind: str, text: str) -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": text}).encode()


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


__all__ = ["Asked", "FakePrometheus", "Fault", "is_stale_marker", "text_of", "vector_body"]
