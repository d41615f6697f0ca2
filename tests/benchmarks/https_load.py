"""An open-loop load of GETs over TLS: requests begin when they are due, whatever became of those before, and wait times count.

A program of its own, so that it has a core beside the server's: python -m tests.benchmarks.https_load PLAN.json
"""

from __future__ import annotations

import asyncio
import json
import selectors
import ssl
import sys
import time
from collections import Counter, deque
from typing import Any


class Connection(asyncio.Protocol):
    """One keep-alive connection; a request at a time. Just enough of HTTP/1.1 for answers with a Content-Length."""

    def __init__(self, idle: deque[Connection], freed: asyncio.Event) -> None:
        self._idle = idle
        self._freed = freed
        self._buffer = b""
        self._answered: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._free()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None])
        if len(self._buffer) < end + 4 + length:
            return
        status, self._buffer = int(head[9:12]), self._buffer[end + 4 + length :]
        answered, self._answered = self._answered, None
        self._free()
        if answered is not None and not answered.done():
            answered.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(0)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def _free(self) -> None:
        self._idle.append(self)
        self._freed.set()


async def load(plan: dict[str, Any]) -> dict[str, Any]:
    """plan: host, port, ca, cert, key (files), headers, paths (asked in turn), rate_per_s, for_s, connections."""
    context = ssl.create_default_context(cafile=plan["ca"])
    context.check_hostname = False
    context.load_cert_chain(plan["cert"], plan["key"])
    loop = asyncio.get_running_loop()
    idle: deque[Connection] = deque()
    freed = asyncio.Event()
    for _ in range(plan["connections"]):
        await loop.create_connection(lambda: Connection(idle, freed), plan["host"], plan["port"], ssl=context)
    headers = "".join(f"{name}: {value}\r\n" for name, value in plan["headers"])
    requests = [f"GET {path} HTTP/1.1\r\nHost: {plan['host']}\r\n{headers}\r\n".encode() for path in plan["paths"]]
    waits_s: list[float] = []
    answered: Counter[int] = Counter()
    under_way: set[asyncio.Task[None]] = set()

    async def one(number: int, due_s: float) -> None:
        while not idle:
            freed.clear()
            await freed.wait()
        status = await idle.popleft().ask(requests[number % len(requests)])
        waits_s.append(time.perf_counter() - due_s)
        answered[status] += 1

    began_s = time.perf_counter()
    for number in range(int(plan["rate_per_s"] * plan["for_s"])):
        due_s = began_s + number / plan["rate_per_s"]
        if (left_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(left_s)
        elif number % 64 == 0:
            await asyncio.sleep(0)
        task = loop.create_task(one(number, due_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        if len(under_way) > 5000:  # hopeless: whatever comes now waits for seconds
            break
    if under_way:
        await asyncio.wait(under_way, timeout=10)
    waits_s.sort()
    return {
        "asked": len(waits_s) + len(under_way),
        "unanswered": len(under_way),
        "statuses": {str(status): count for status, count in answered.items()},
        **{
            f"p{name}_ms": 1000 * _quantile(waits_s, share)
            for name, share in (("50", 0.5), ("90", 0.9), ("99", 0.99), ("999", 0.999))
        },
        "max_ms": 1000 * waits_s[-1],
    }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def on_time() -> asyncio.AbstractEventLoop:
    """A loop that wakes when it is to: epoll, which others use, takes whole milliseconds, and would begin each request half a one late."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file, asyncio.Runner(loop_factory=on_time) as runner:
        print(json.dumps(runner.run(load(json.load(file)))))
