"""Slow, silent and very many clients: each ends by a deadline or makes room, and everybody else is answered meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from autoscaler.clock import SystemClock
from autoscaler.external_metrics.connections import Deadlines
from autoscaler.published import DESIRED, Column, Published
from tests.external_metrics.served import MASTER, VALUES, Client, authority, served, store_of
from tests.realparts.certificates import Authority
from tests.realparts.ports import LOOPBACK

VALUE = f"{VALUES}/team/{DESIRED}"
OBJECTS = [Published(namespace="team", name="llama", max_age_s=3600.0)]
QUICK = Deadlines(handshake_s=0.3, head_s=0.3, answer_s=0.5, idle_s=0.4, look_s=0.05)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="session")
def signed_by(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("connections"))


@contextlib.asynccontextmanager
async def serving(signed_by: Authority, *, port: int = 0, **how: Any) -> AsyncIterator[Client]:
    store = store_of(SystemClock(), OBJECTS, [Column(metric=DESIRED, values=[7.0])])
    async with served(store, authority=signed_by, port=port, serving=how) as client:
        yield client


class Peer:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, client: Client, tls: ssl.SSLContext | None) -> Peer:
        return cls(
            *await asyncio.open_connection(LOOPBACK, client.serving.port, ssl=tls, server_hostname="localhost" if tls else None)
        )

    async def ask(self, sent: bytes = GET) -> bytes:
        self.writer.write(sent)
        return await self.answer()

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def ended(self, within_s: float = 10.0) -> bool:
        """Whether the server ends it."""
        try:
            async with asyncio.timeout(within_s):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self.writer.close()


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the server's own count is looked at
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("begun", "reason"),
    [
        (b"", "slow first head"),
        (b"GET /apis HTTP/1.1\r\nHost: x\r\nX-Slow: ", "slow head"),
        (GET, "idle"),
        (GET + b"GET /ap", "slow head"),
    ],
)
async def test_who_says_nothing_more_is_let_go(signed_by: Authority, begun: bytes, reason: str) -> None:
    async with serving(signed_by, deadlines=QUICK) as client:
        peer = await Peer.to(client, signed_by.client_context())
        if begun.startswith(GET):
            await peer.ask(GET)
            peer.writer.write(begun.removeprefix(GET))
        else:
            peer.writer.write(begun)
        assert await peer.ended()
        assert client.serving.connections.closed[reason] == 1
        peer.close()


async def test_a_head_that_comes_byte_by_byte_has_one_deadline_for_all_of_it(signed_by: Authority) -> None:
    async with serving(signed_by, deadlines=QUICK) as client:
        peer = await Peer.to(client, signed_by.client_context())
        ended = asyncio.ensure_future(peer.ended())
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /apis HTTP/1.1\r\nX-Slow: " + b"x" * 1000:
                peer.writer.write(bytes((byte,)))
                if ended in (await asyncio.wait((ended,), timeout=0.02))[0]:
                    break
        assert ended.done(), "each byte would have begun another deadline"
        assert client.serving.connections.closed["slow head"] == 1
        peer.close()


async def test_who_does_not_shake_hands_is_let_go(signed_by: Authority) -> None:
    async with serving(signed_by, deadlines=QUICK) as client:
        peer = await Peer.to(client, None)
        assert await peer.ended()
        await until(lambda: client.serving.connections.closed["no handshake"] == 1)
        peer.close()


async def test_who_does_not_read_the_answer_is_let_go(signed_by: Authority) -> None:
    async with serving(signed_by, deadlines=QUICK) as client:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.connect((LOOPBACK, client.serving.port))
            plain.setblocking(False)
            reader, writer = await asyncio.open_connection(
                sock=plain, ssl=signed_by.client_context(), server_hostname="localhost"
            )
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(f"GET /openapi/v2 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n\r\n".encode() * 2000)
            await until(lambda: client.serving.connections.closed["slow answer"] == 1)
            assert (await client.get("/healthz")).code == 200
            writer.transport.abort()
            del reader


async def test_of_too_many_those_that_were_idle_for_longest_make_room(signed_by: Authority) -> None:
    context = signed_by.client_context()
    async with serving(signed_by, most_connections=4) as client:
        first, second, third = [await Peer.to(client, context) for _ in range(3)]
        for peer in (first, second, third):
            await peer.ask()
        assert (await client.get("/healthz")).code == 200, "the fourth"
        await first.ask()
        fifth = await Peer.to(client, context)
        await fifth.ask()
        assert await second.ended()
        assert b"200 OK" in await first.ask(), "who was heard of lately stays"
        assert client.serving.connections.closed["too many"] == 1
        assert len(client.serving.connections) == 4
        for peer in (first, second, third, fifth):
            peer.close()


async def test_handshakes_that_never_end_make_room(signed_by: Authority) -> None:
    """More than may shake hands at once, all of which begin and then say nothing: who is honest gets through, and at once."""
    async with serving(signed_by) as client:
        begun = []
        for _ in range(300):
            begun.append(await Peer.to(client, None))
            begun[-1].writer.write(b"\x16\x03\x01")
            await asyncio.sleep(0)
        await until(lambda: client.serving.connections.closed["too many handshakes"] > 0)
        async with asyncio.timeout(5):
            assert (await client.get("/healthz")).code == 200
        for peer in begun:
            peer.close()


async def test_out_of_descriptors_it_goes_on(signed_by: Authority) -> None:
    """The process' limit is met for real: connections are closed for new ones, and it is answered."""
    context = signed_by.client_context()
    async with serving(signed_by) as client:
        idle = [await Peer.to(client, context) for _ in range(20)]
        for peer in idle:
            await peer.ask()
        silent = await Peer.to(client, None)
        await asyncio.sleep(0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as newest:
            taken = newest.fileno()
        try:
            # The client's own end takes the last one: the server, in this same process, has none to accept with.
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
            with socket.socket() as knocking:
                knocking.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    knocking.connect((LOOPBACK, client.serving.port))
                await until(lambda: client.serving.connections.closed["too many"] > 0)
                assert client.serving.connections.closed["too many silent"] == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await client.get("/healthz")).code == 200
        assert await silent.ended()
        for peer in (*idle, silent):
            peer.close()


# ------------------------------------------------------------ stopping


async def test_draining_says_so_first_and_answers_meanwhile(signed_by: Authority) -> None:
    context = signed_by.client_context()
    leave = asyncio.Event()
    started: asyncio.Future[Client] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with serving(signed_by, drain_s=0.5) as client:
            started.set_result(client)
            await leave.wait()

    running = asyncio.create_task(run())
    client = await started
    kept = await Peer.to(client, context)
    await kept.ask()
    leave.set()
    await until(lambda: client.app.draining)
    ready = await kept.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"503" in ready.split(b"\r\n")[0]
    assert b"this process is about to stop" in ready
    assert b"connection: close" in ready.lower()
    assert await kept.ended()
    fresh = await Peer.to(client, context)
    value = await fresh.ask(f"GET {VALUE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n\r\n".encode())
    assert b"200 OK" in value
    assert b"connection: close" in value.lower()
    await running
    with pytest.raises(ConnectionRefusedError):
        await Peer.to(client, context)
    kept.close()
    fresh.close()


async def test_what_is_under_way_is_finished(signed_by: Authority) -> None:
    """A request whose head is half there, and one that shakes hands, when the listener closes: both are answered."""
    context = signed_by.client_context()
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(serving(signed_by, finish_s=5.0))
        begun = await Peer.to(client, context)
        begun.writer.write(GET[:10])
        idle = await Peer.to(client, context)
        await idle.ask()
        shaking = asyncio.ensure_future(Peer.to(client, context))
        await asyncio.sleep(0)
        leaving = asyncio.ensure_future(stack.aclose())
        assert await idle.ended(), "who asks nothing is let go"
        begun.writer.write(GET[10:])
        assert b"200 OK" in await begun.answer()
        late = await shaking
        assert b"200 OK" in await late.ask()
        await leaving
        for peer in (begun, idle, late):
            peer.close()


async def test_what_was_opened_in_store_keeps_nobody_waiting(signed_by: Authority) -> None:
    loop = asyncio.get_running_loop()
    async with serving(signed_by, finish_s=30.0) as client:
        peer = await Peer.to(client, signed_by.client_context())
        await until(lambda: len(client.serving.connections) == 1)
        began_s = loop.time()
    assert loop.time() - began_s < 10.0
    assert await peer.ended()
    peer.close()


async def test_what_never_ends_is_ended(signed_by: Authority) -> None:
    peer: Peer | None = None
    loop = asyncio.get_running_loop()
    async with serving(signed_by, finish_s=0.3) as client:
        peer = await Peer.to(client, signed_by.client_context())
        peer.writer.write(GET[:10])
        began_s = loop.time()
    assert loop.time() - began_s < 5.0
    assert await peer.ended()
    peer.close()


async def test_two_share_a_port_and_one_is_restarted_under_load(signed_by: Authority) -> None:
    """No request fails while one of two leaves the port and comes back, three times, with new connections all along."""
    context = signed_by.client_context()
    answered = 0
    done = False

    async def ask_on(client: Client) -> None:
        nonlocal answered
        while not done:
            peer = await Peer.to(client, context)
            for _ in range(3):
                answer = await peer.ask(f"GET {VALUE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n\r\n".encode())
                assert b"200 OK" in answer
                answered += 1
                if b"connection: close" in answer.lower():
                    break
            peer.close()

    async with serving(signed_by, reuse_port=True) as staying:
        port = staying.serving.port
        askers = [asyncio.create_task(ask_on(staying)) for _ in range(4)]
        for _ in range(3):
            async with serving(signed_by, port=port, reuse_port=True, drain_s=0.1) as coming:
                before = answered
                await until(lambda: answered > before + 40)  # noqa: B023
                assert coming.serving.port == port
        done = True
        await asyncio.gather(*askers)


OPENS_MANY = """
import resource, socket, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
print(len(kept), flush=True)
sys.stdin.read()
"""


async def test_ten_thousand_that_say_nothing_shut_out_nobody(signed_by: Authority) -> None:
    """Opened from a process of its own, for each takes a descriptor on both sides."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(10_000, hard - 100)
    slowest_s = 0.0
    loop = asyncio.get_running_loop()
    async with serving(signed_by) as client:
        opening = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OPENS_MANY, LOOPBACK, str(client.serving.port), str(many)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert opening.stdin is not None
        assert opening.stdout is not None
        opened = asyncio.ensure_future(opening.stdout.readline())
        before = resident_mib()
        try:
            while True:
                asked_s = loop.time()
                assert (await client.get(VALUE)).code == 200
                slowest_s = max(slowest_s, loop.time() - asked_s)
                # On a new connection as well: nobody who comes now is behind those who say nothing.
                peer = await Peer.to(client, signed_by.client_context())
                assert b"200 OK" in await peer.ask()
                peer.close()
                if opened.done():
                    break
            assert int(await opened) == many
            closed = client.serving.connections.closed
            await until(lambda: closed["too many silent"] + closed["no handshake"] >= many - 1024)
            assert resident_mib() - before < 100
            assert slowest_s < 5.0
        finally:
            opening.stdin.close()
            await opening.wait()


def resident_mib() -> float:
    """Of this process, where the server runs; Linux only, as is what it is deployed on."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
