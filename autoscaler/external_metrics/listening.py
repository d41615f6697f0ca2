"""The listener: accepts, shakes hands within a deadline, and lets go of the port without losing who came last.

Accepts by itself instead of through ``loop.create_server``: there, connections that never begin to shake hands are counted nowhere, and what
waits in the kernel's queue is reset when the listener closes, which a second process on the same port makes likely.

A connection costs tens of KiB from the moment on in which TLS begins. So it begins with the first byte: who is silent costs a descriptor, and
is closed for the next one rather than somebody who speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator
from typing import Any, Final

from autoscaler.errors import OutsideError
from autoscaler.external_metrics.connections import Connections
from autoscaler.listen import not_listening

log = logging.getLogger(__name__)

_GOODBYE_S: Final = 2.0
_MOST_SILENT: Final = 1024
_MOST_HANDSHAKES: Final = 256
_FIRST_BYTE_S: Final = 1.0
"""How long who is silent may go on to be when the server stops: they may have come a moment ago."""
_BACKLOG: Final = 1024
_AT_ONCE: Final = 64
_PAUSE_S: Final = 0.1
_BUFFER_BYTES: Final = 32 * 1024
_OUT_OF_THEM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """Hands each connection that was accepted on `listening` to `connections`."""

    def __init__(self, listening: socket.socket, connections: Connections, tls: ssl.SSLContext | None) -> None:
        self._listening = listening
        self._connections = connections
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._silent: dict[socket.socket, float] = {}
        self._shaking: dict[asyncio.Task[None], socket.socket | None] = {}
        self._nobody_silent = asyncio.Event()
        self._resuming: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def open(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Takes in who is waiting already, then no more. Once is enough."""
        if self._listening.fileno() < 0:
            return
        self._closing = True
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._listening.fileno())
        while self._accept():
            pass
        self._listening.close()

    async def shaken(self) -> None:
        """Returns when nobody is shaking hands any more; each has a deadline. Who says nothing is let go before."""
        if self._silent:
            self._nobody_silent.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_BYTE_S):
                    await self._nobody_silent.wait()
        while self._silent:
            self._let_go("shutdown")
        while self._shaking:
            await asyncio.wait(set(self._shaking))

    async def watch(self) -> None:
        """Lets go who is silent for too long, until it is cancelled."""
        deadlines = self._connections.deadlines
        while True:
            await asyncio.sleep(deadlines.look_s)
            too_long_s = self._loop.time() - deadlines.handshake_s
            while self._silent and next(iter(self._silent.values())) < too_long_s:
                self._let_go("no handshake")

    def _accept(self) -> bool:
        """Whether there may be more."""
        for _ in range(_AT_ONCE):
            try:
                accepted, _address = self._listening.accept()
            except BlockingIOError:
                return False
            except OSError as fault:
                if fault.errno in _OUT_OF_THEM:
                    self._out_of_descriptors(fault)
                    return False
                # Of the connection that would have been next: it ended, or its network did (accept(2), "Error handling").
                log.debug("a connection could not be accepted: %s", fault)
                continue
            self._resuming = None
            accepted.setblocking(False)
            if self._tls is None:
                self._begin(accepted)
            else:
                self._hear(accepted)
        return True

    def _hear(self, accepted: socket.socket) -> None:
        """Begins TLS with who has spoken, which honest clients nearly always have when they are accepted."""
        try:
            accepted.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            if len(self._silent) >= _MOST_SILENT:
                self._let_go("too many silent")
            self._silent[accepted] = self._loop.time()
            self._loop.add_reader(accepted.fileno(), self._spoke, accepted)
        except OSError:
            accepted.close()
        else:
            self._begin(accepted)

    def _spoke(self, accepted: socket.socket) -> None:
        self._forget(accepted)
        self._begin(accepted)

    def _let_go(self, reason: str) -> None:
        """Of who has been silent for longest."""
        accepted = next(iter(self._silent))
        self._forget(accepted)
        accepted.close()
        self._connections.closed[reason] += 1

    def _forget(self, accepted: socket.socket) -> None:
        del self._silent[accepted]
        self._loop.remove_reader(accepted.fileno())
        if not self._silent:
            self._nobody_silent.set()

    def _begin(self, accepted: socket.socket) -> None:
        if len(self._shaking) >= _MOST_HANDSHAKES:
            # The one that has taken longest; an honest client needs milliseconds. Of those that came in this moment none has begun yet.
            oldest = next((task for task, waiting in self._shaking.items() if waiting is None), None)
            if oldest is not None:
                self._connections.closed["too many handshakes"] += 1
                del self._shaking[oldest]
                oldest.cancel()
        task = self._loop.create_task(self._shake(accepted))
        self._shaking[task] = accepted
        task.add_done_callback(self._shook)

    async def _shake(self, accepted: socket.socket) -> None:
        task = asyncio.current_task()
        if task in self._shaking:
            self._shaking[task] = None  # from here on the transport closes it
        secure = self._tls is not None
        try:
            await self._loop.connect_accepted_socket(
                self._connections,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._connections.deadlines.handshake_s if secure else None,
                ssl_shutdown_timeout=_GOODBYE_S if secure else None,
            )
        except (OSError, TimeoutError) as fault:  # ssl.SSLError is an OSError
            self._connections.closed["no handshake"] += 1
            log.debug("no connection came of it: %s", fault)

    def _shook(self, task: asyncio.Task[None]) -> None:
        never_begun = self._shaking.pop(task, None)
        if never_begun is not None:
            never_begun.close()
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a connection could not be taken in", exc_info=fault)

    def _out_of_descriptors(self, fault: OSError) -> None:
        """Without a pause the ready listener would be asked again and again, and nobody else served."""
        if self._resuming is None:
            log.warning(
                "connections can't be accepted: %s; those that were silent or idle for longest are closed", fault.strerror
            )
        for _ in range(min(_AT_ONCE, len(self._silent))):
            self._let_go("too many silent")
        self._connections.make_room()
        if self._closing:
            return
        self._loop.remove_reader(self._listening.fileno())
        self._resuming = self._loop.call_later(_PAUSE_S, self.open)


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """A listening socket. host: "" for all addresses. reuse_port: further processes may listen there as well, which then share what comes.
    Raises OutsideError."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        if not host:  # the IPv6 socket takes IPv4 as well; where there is no IPv6, the other does
            found.sort(key=lambda one: one[0] != socket.AF_INET6)
        for last, (family, _, _, _, address) in enumerate(found, 1 - len(found)):
            try:
                return _bound(family, address, both=not host, reuse_port=reuse_port)
            except OSError as fault:
                if last == 0 or fault.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
    except OSError as fault:
        raise not_listening(host, port, fault) from fault
    raise OutsideError(f"--listen: '{host}' is no address of this machine")


def _bound(family: int, address: Any, *, both: bool, reuse_port: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if both and family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def allow_descriptors() -> int:
    """Raises this process' limit of open files to what it may have; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def shrink_tls_buffers() -> None:
    """asyncio reads TLS through a buffer of 256 KiB for each connection, which it fills with zeros: a quarter of a gigabyte for a thousand that
    say nothing. Requests here have a few hundred bytes, and a TLS record 16 KiB at most."""
    sslproto.SSLProtocol.max_size = min(sslproto.SSLProtocol.max_size, _BUFFER_BYTES)


@contextlib.asynccontextmanager
async def listen(listening: socket.socket, connections: Connections, tls: ssl.SSLContext | None) -> AsyncIterator[Listener]:
    """Accepts while the context is open."""
    listener = Listener(listening, connections, tls)
    watching = [asyncio.create_task(one.watch()) for one in (connections, listener)]
    listener.open()
    try:
        yield listener
    finally:
        listener.close()
        for task in watching:
            task.cancel()
