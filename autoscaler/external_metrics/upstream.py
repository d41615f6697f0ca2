"""One other adapter, asked on behalf of a user: bounded in time, size and number, and left alone while it does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Final, NoReturn

import aiohttp
import numpy as np
import orjson
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

from autoscaler.backoff import Backoff
from autoscaler.external_metrics.answers import JSON, RefusedError, json_answer
from autoscaler.external_metrics.breaker import Breaker, State
from autoscaler.external_metrics.carried_identity import Headers, front_proxy_headers, impersonation_headers
from autoscaler.external_metrics.federation import Upstream
from autoscaler.external_metrics.identity import User
from autoscaler.external_metrics.reread import RereadFile
from autoscaler.external_metrics.upstream_tls import ClientCertificate, TlsUnusableError, UpstreamTls
from autoscaler.ports import Clock
from autoscaler.spec import duration_s

log: Final = logging.getLogger(__name__)

FAULTY_CODES: Final = frozenset({502, 503, 504})
"""By which an upstream says that it is not itself. A 500 is not among them: adapters say it of one object whose source is broken (KEDA of
each whose trigger fails), and one tenant's broken query must not cut off the others."""


class _FaultyError(Exception):
    """No answer, or none that is one. code: ours for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class UpstreamClient:
    """`get` asks it. Made within a running loop; `close` when done.

    requests: how many by the code that was answered here; seconds: how long they took in all.
    """

    def __init__(
        self, upstream: Upstream, *, clock: Clock, rng: np.random.Generator, client_certificate: ClientCertificate | None
    ) -> None:
        self.upstream = upstream
        self.requests: Counter[int] = Counter()
        self.seconds = 0.0
        self.under_way = 0
        pauses = upstream.breaker
        backoff = Backoff(rng, duration_s(pauses.first_pause), duration_s(pauses.longest_pause))
        self.breaker = Breaker(faults=pauses.faults, backoff=backoff, monotonic_s=clock.monotonic_s)
        self._clock = clock
        self._deadline_s = duration_s(upstream.deadline)
        self._base = URL(upstream.address)
        self._places = asyncio.Semaphore(upstream.concurrency)
        self._proxies = upstream.identity == "frontProxy"
        authority = upstream.ca if upstream.ca is not None else RereadFile(upstream.ca_file or "", clock.monotonic_s)
        self._tls = UpstreamTls(upstream.name, authority, client_certificate if self._proxies else None)
        self._token = RereadFile(upstream.token_file, clock.monotonic_s)
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, query: str, user: User) -> web.Response:
        """Its answer: a status with a JSON body, as it gave it and nothing else of it. path, query: as they stand in a URL.

        Raises RefusedError: 502 what it answers is no answer, 503 it is left alone or too many wait, 504 no answer in time."""
        began_s = self._clock.monotonic_s()
        code = 500
        try:
            answer = await self._guarded(path, query, user)
            code = answer.status
            return answer
        except RefusedError as refused:
            code = refused.code
            raise
        except asyncio.CancelledError:
            code = 499  # whoever asked went away
            raise
        finally:
            self.requests[code] += 1
            self.seconds += self._clock.monotonic_s() - began_s

    async def _guarded(self, path: str, query: str, user: User) -> web.Response:
        carried = self._carried(user)
        if not self.breaker.passes:
            self._refuse_while_open()
        if self.under_way >= 2 * self.upstream.concurrency:
            self._refuse(503, f"{self.under_way} requests to it are under way or wait already; none more is let wait")
        self.under_way += 1
        end_s = asyncio.get_running_loop().time() + self._deadline_s
        try:
            # Half of it at most, so that who gets a place at last still has time: what is only late because of us tells the breaker nothing.
            await self._take_place(end_s - self._deadline_s / 2)
            try:
                answer = await self._attempted(path, query, carried, end_s)
            finally:
                self._places.release()
        finally:
            self.under_way -= 1
        if answer.status == 401:
            # Of our own credential, not of the user's, who was authenticated here.
            told = "client certificate" if self._proxies else f"token ({self.upstream.token_file})"
            self._refuse(502, f"it does not accept our {told}: {_message_of(answer)}")
        return answer

    async def _take_place(self, until_s: float) -> None:
        try:
            async with asyncio.timeout_at(until_s):
                await self._places.acquire()
        except TimeoutError:  # those that have the places tell the breaker
            self._refuse(
                503,
                f"{self.upstream.concurrency} requests to it are under way, and no place became free in {self._deadline_s / 2:g} s",
            )

    async def _attempted(self, path: str, query: str, carried: Headers, end_s: float) -> web.Response:
        before = self.breaker.state
        attempt = self.breaker.attempt()
        if attempt is None:  # opened while this one waited for its place
            self._refuse_while_open()
        told, why = attempt.abandoned, ""
        try:
            async with asyncio.timeout_at(end_s):
                answer = await self._asked(path, query, carried)
            told, why = (attempt.failed if answer.status in FAULTY_CODES else attempt.succeeded), f"code {answer.status}"
            return answer
        except _FaultyError as fault:
            told, why = attempt.failed, str(fault)
            self._refuse(fault.code, why)
        except TimeoutError:
            told, why = attempt.failed, f"no answer within {self._deadline_s:g} s"
            self._refuse(504, why)
        finally:
            told()
            self._tell_change(before, why)

    async def _asked(self, path: str, query: str, carried: Headers) -> web.Response:
        url = self._base.join(URL.build(path=path, query_string=query, encoded=True))
        try:
            headers = CIMultiDict(carried)
            if not self._proxies:
                headers["Authorization"] = "Bearer " + self._token.content().decode("ascii").strip()
            async with self._open_session().get(
                url, headers=headers, ssl=self._tls.context(), server_hostname=self.upstream.expected_name, allow_redirects=False
            ) as answer:
                body = await self._body_of(answer)
        except TlsUnusableError as error:
            raise _FaultyError(502, str(error)) from None
        except UnicodeDecodeError:
            raise _FaultyError(502, f"{self.upstream.token_file} holds no token") from None
        except aiohttp.ClientError as error:
            raise _FaultyError(502, _words(error)) from None
        except OSError as error:
            raise _FaultyError(502, f"{self.upstream.token_file}: {error.strerror}") from None
        return self._checked(answer, body)

    async def _body_of(self, answer: aiohttp.ClientResponse) -> bytes:
        most = self.upstream.largest_answer_bytes
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > most:
                answer.close()  # not released: the rest is never read
                raise _FaultyError(502, f"its answer has more than {most} bytes (largestAnswerBytes)")
        return bytes(body)

    def _checked(self, answer: aiohttp.ClientResponse, body: bytes) -> web.Response:
        """Nothing but status and body are taken over: no Retry-After, no cookie, no header of the hop."""
        if 300 <= answer.status < 400:
            raise _FaultyError(
                502, f"it answers with a redirect ({answer.status}), which isn't followed: url must name the adapter itself"
            )
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            readable = kind == JSON and "Content-Encoding" not in answer.headers and isinstance(orjson.loads(body), dict)
        except orjson.JSONDecodeError:
            readable = False
        if not readable:
            begin = " ".join(body[:200].decode("utf-8", "replace").split())
            raise _FaultyError(
                502, f"it answers {answer.status} with {kind or 'no Content-Type'}, which is no JSON object: {begin!r}"
            )
        return json_answer(body, answer.status)

    def _carried(self, user: User) -> Headers:
        return front_proxy_headers(user) if self._proxies else impersonation_headers(user)

    def _open_session(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=self.upstream.concurrency, ttl_dns_cache=30),
                # Our own deadline covers everything; aiohttp's five minutes would only confuse.
                timeout=ClientTimeout(total=None),
                headers={"Accept": JSON, "Accept-Encoding": "identity", "User-Agent": "inference-autoscaler"},
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _refuse_while_open(self) -> NoReturn:
        if self.breaker.state is State.PROBING:
            self._refuse(503, "it did not answer lately; one request is under way to see whether it does again")
        self._refuse(503, f"it did not answer lately; it is asked again in {self.breaker.opens_in_s:.1f} s")

    def _refuse(self, code: int, why: str) -> NoReturn:
        raise RefusedError(code, f"upstream {self.upstream.name} ({self.upstream.address}): {why}") from None

    def _tell_change(self, before: State, why: str) -> None:
        after = self.breaker.state
        if after is State.OPEN and before is State.CLOSED:
            log.warning(
                "upstream %s: %d faults in a row, the last: %s; it is left alone",
                self.upstream.name,
                self.upstream.breaker.faults,
                why,
            )
        elif after is State.CLOSED and before is State.OPEN:
            log.info("upstream %s answers again", self.upstream.name)


def _words(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate can't be verified: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it closed the connection within its answer"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    return str(error) or type(error).__name__


def _message_of(answer: web.Response) -> str:
    message = orjson.loads(answer.body if isinstance(answer.body, bytes) else b"{}").get("message")
    return message if isinstance(message, str) else "no reason given"
