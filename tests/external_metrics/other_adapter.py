"""Another adapter, as an upstream sees fit to be: a TLS server of its own authority in this process, which answers as a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from tests.realparts.certificates import Authority, KeyPair
from tests.realparts.ports import LOOPBACK

NAME = "other-adapter.other.svc"
VALUES = {
    "kind": "ExternalMetricValueList",
    "apiVersion": "external.metrics.k8s.io/v1beta1",
    "metadata": {},
    "items": [{"metricName": "s0-prometheus", "metricLabels": None, "timestamp": "2026-11-22T12:31:50Z", "value": "7"}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came over the wire; header names in lower case."""

    line: str
    headers: list[tuple[str, str]]
    peer: str | None
    """Common name of the client's certificate."""

    def all(self, name: str) -> list[str]:
        return [value for one, value in self.headers if one == name]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.headers}


Reply = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def answer(code: int, body: Any, *headers: str, content_type: str = "application/json") -> Reply:
    """An answer that is whole."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def reply(_: Seen, writer: asyncio.StreamWriter) -> None:
        head = (f"HTTP/1.1 {code} Words", f"Content-Type: {content_type}", f"Content-Length: {len(content)}", *headers, "", "")
        writer.write("\r\n".join(head).encode() + content)

    return reply


class OtherAdapter:
    """`async with OtherAdapter(directory) as other:`; `other.reply` is what the next requests get."""

    def __init__(self, directory: Path, *, names: Sequence[str] = (NAME,), days: tuple[float, float] = (-1, 7)) -> None:
        self.authority = Authority(f"other-authority-{id(self)}", directory)
        self.reply: Reply = answer(200, VALUES)
        self.seen: list[Seen] = []
        self.connections = 0
        self.arrived = asyncio.Event()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.use(self.authority.server(f"other-{id(self)}", names=names, days=days))
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    def use(self, pair: KeyPair) -> None:
        """Its serving certificate from now on."""
        self._context.load_cert_chain(pair.certificate, pair.key)

    def ask_for(self, clients: Authority) -> None:
        """Take client certificates of this authority, as a front proxy's are taken."""
        self._context.load_verify_locations(clients.certificate)
        self._context.verify_mode = ssl.CERT_REQUIRED

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def ca(self) -> Path:
        return self.authority.certificate

    async def __aenter__(self) -> OtherAdapter:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=self._context)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        serving = list(self._open.values())
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Close every connection, as a restart does."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen = _seen(head, writer)
                self.seen.append(seen)
                self.arrived.set()
                await self.reply(seen, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done
        finally:
            del self._open[writer]
            writer.close()


def _seen(head: bytes, writer: asyncio.StreamWriter) -> Seen:
    line, *rest = head.decode("utf-8").split("\r\n")[:-2]
    headers = [(name.lower(), value.strip(" ")) for name, _, value in (one.partition(":") for one in rest)]
    certificate = writer.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return Seen(line=line, headers=headers, peer=names[0] if names else None)
