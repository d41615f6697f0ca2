"""One session with the API server: dicts in and out, a deadline on every call, errors that can be told apart.

Own requests instead of the client library's: its sessions look up proxies and netrc with every request (twice the time), its calls
have no deadline by default, and its watch hides HTTP errors.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import aiohttp
import orjson

from autoscaler.adapters.kubernetes.api_error import ApiError, error_of_answer
from autoscaler.adapters.kubernetes.credentials import Credentials

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
LARGEST_ANSWER_BYTES = 64 * 2**20
LARGEST_ERROR_BYTES = 64 * 2**10
AT_ONCE = 32
"""Requests under way at the same time, watches apart: within what API priority and fairness gives a single user at ease."""

Params = Mapping[str, str]
Object = dict[str, Any]


class KubeApi(Protocol):
    """What the rest of the adapter needs of the API server."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content_type: str = JSON,
        timeout_s: float,
    ) -> Object:
        """One request; the answer's JSON object. Raises ApiError, also when `timeout_s` has passed."""

    def stream(
        self, path: str, *, params: Params, open_timeout_s: float, total_timeout_s: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A GET whose answer is read in chunks as they come. Entering raises ApiError where the server refuses or does not begin to
        answer in time; reading ends at the stream's end and raises ApiError where it breaks."""


class HttpKubeApi:
    """KubeApi over aiohttp. Use as an async context manager.

    requests: how many by (verb, resource, status), for the metrics; status 0 = no answer.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str = "inference-autoscaler",
        at_once: int = AT_ONCE,
        largest_answer_bytes: int = LARGEST_ANSWER_BYTES,
    ) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self._credentials = credentials
        self._largest_answer_bytes = largest_answer_bytes
        self._slots = asyncio.Semaphore(at_once)
        # Compressed answers cost more time on both sides than they save within a cluster, and would hide their size.
        self._headers = {"User-Agent": user_agent, "Accept": JSON, "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpKubeApi:
        context = self._credentials.ssl_context
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=True if context is None else context),
            headers=self._headers,
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content_type: str = JSON,
        timeout_s: float,
    ) -> Object:
        verb = _verb(method, path)
        status = 0
        try:
            # The deadline covers the wait for a free slot, too: it is the caller's, not the network's.
            async with asyncio.timeout(timeout_s), self._slots:
                headers = await self._authorized()
                data = None
                if body is not None:
                    headers["Content-Type"] = content_type
                    data = orjson.dumps(body)
                async with self._open.request(method, self._url(path), params=params, data=data, **self._how(headers)) as answer:
                    status = answer.status
                    return await self._decoded(answer)
        except TimeoutError:
            raise ApiError(0, "Timeout", f"{method} {path}: no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as fault:
            raise ApiError(0, "Unreachable", f"{method} {path}: {_words(fault)}") from fault
        finally:
            self.requests[verb, resource_of(path), status] += 1

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Params, open_timeout_s: float, total_timeout_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        status = 0
        answer: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(open_timeout_s):
                headers = await self._authorized()
                answer = await self._open.get(self._url(path), params=params, **self._how(headers))
                status = answer.status
                if status >= 400:
                    await self._decoded(answer)
        except TimeoutError:
            raise ApiError(0, "Timeout", f"watch {path}: no answer within {open_timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as fault:
            raise ApiError(0, "Unreachable", f"watch {path}: {_words(fault)}") from fault
        finally:
            self.requests["watch", resource_of(path), status] += 1
            if answer is not None and status >= 400:
                answer.close()
        try:
            yield _chunks(answer, path, total_timeout_s)
        finally:
            answer.close()  # not release(): the rest of a watch is never read

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ApiError(0, "Unreachable", "the session with the API server is closed")
        return self._session

    def _url(self, path: str) -> str:
        return self._credentials.url + path

    def _how(self, headers: dict[str, str]) -> dict[str, Any]:
        return {
            "headers": headers,
            "proxy": self._credentials.proxy,
            "server_hostname": self._credentials.server_name,
            "allow_redirects": False,  # a credential follows nobody
        }

    async def _authorized(self) -> dict[str, str]:
        authorization = await self._credentials.authorization()
        return {} if authorization is None else {"Authorization": authorization}

    async def _decoded(self, answer: aiohttp.ClientResponse) -> Object:
        if answer.status >= 300:
            if answer.status == 401:
                self._credentials.refused()
            body = await _read(answer, LARGEST_ERROR_BYTES, cut=True)
            raise error_of_answer(answer.status, body, answer.headers.get("Retry-After"))
        body = await _read(answer, self._largest_answer_bytes, cut=False)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as fault:
            raise ApiError(0, "Malformed", f"{answer.method} {answer.url.path}: the answer is no JSON ({fault})") from None
        if not isinstance(document, dict):
            raise ApiError(0, "Malformed", f"{answer.method} {answer.url.path}: the answer is no JSON object")
        return document


async def _chunks(answer: aiohttp.ClientResponse, path: str, total_timeout_s: float) -> AsyncIterator[bytes]:
    # The server ends a watch after the asked time; this is for one that has died without closing its connection. The timeout is taken
    # around each read and never over a yield: there it would cancel whatever our caller happens to wait for.
    end_s = asyncio.get_running_loop().time() + total_timeout_s
    while True:
        try:
            async with asyncio.timeout_at(end_s):
                chunk = await answer.content.readany()
        except TimeoutError:
            raise ApiError(0, "Timeout", f"watch {path}: not ended within {total_timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as fault:
            raise ApiError(0, "Unreachable", f"watch {path}: {_words(fault)}") from fault
        if not chunk:
            return
        yield chunk


async def _read(answer: aiohttp.ClientResponse, limit: int, *, cut: bool) -> bytes:
    """The body; where it is longer than `limit` either its beginning or an error, but never more memory than that."""
    parts, size = [], 0
    while chunk := await answer.content.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            answer.close()
            if cut:
                break
            raise ApiError(0, "TooLarge", f"{answer.method} {answer.url.path}: the answer is larger than {limit} bytes")
    return b"".join(parts)


def _words(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__


def _verb(method: str, path: str) -> str:
    """Kubernetes' word for the request, as RBAC and audit logs spell it."""
    if method == "GET":
        return "list" if len(_after_version(path)) == 1 else "get"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, method.lower())


def resource_of(path: str) -> str:
    """``deployments/scale`` of ``/apis/apps/v1/namespaces/team/deployments/llama/scale``; the path itself for discovery and health."""
    parts = _after_version(path)
    if not parts:
        return path
    return parts[0] if len(parts) < 3 else f"{parts[0]}/{parts[2]}"


def _after_version(path: str) -> list[str]:
    """[plural, name, subresource] as far as there."""
    parts = path.strip("/").split("/")
    rest = parts[3:] if parts[0] == "apis" else parts[2:] if parts[0] == "api" else []
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    return rest
