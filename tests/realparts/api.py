"""A thin client of the API server for tests: plain requests, and waiting for a state through a watch.

It is the tests' own on purpose: what the product's adapter does is judged by something that shares no code with it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

import aiohttp

Object = dict[str, Any]
Objects = dict[str, Object]  # by name, or namespace/name where the list spans namespaces

_LARGEST_OBJECT = 8 * 2**20
_RELIST_AFTER_S = 0.1


class ApiError(Exception):
    """The API server answered with an error; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One user's view of the API server."""

    def __init__(self, url: str, context: ssl.SSLContext, *, token: str | None = None) -> None:
        self._url = url
        self._context = context
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        # A connection for each request: after a restart of the server no dead one is left in a pool.
        connector = aiohttp.TCPConnector(ssl=self._context, force_close=True)
        self._session = aiohttp.ClientSession(self._url, connector=connector, headers=self._headers, read_bufsize=_LARGEST_OBJECT)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | list[Any] | None = None,
        *,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
        timeout_s: float = 20.0,
    ) -> Object:
        """One request; the answer's JSON, or ApiError."""
        data = None if body is None else json.dumps(body)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        headers = {"Content-Type": content_type} if body is not None else {}
        async with self._http.request(method, path, data=data, params=params, headers=headers, timeout=timeout) as answer:
            text = await answer.text()
        try:
            document = json.loads(text)
        except ValueError:
            document = {"message": text}
        if answer.status >= 400:
            raise ApiError(answer.status, document.get("message", text))
        return dict(document)

    async def get(self, path: str, **params: str) -> Object:
        """An object, or a list."""
        return await self.request("GET", path, params=params)

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """POST to a collection."""
        return await self.request("POST", path, body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Object:
        """A merge patch."""
        return await self.request("PATCH", path, body, content_type="application/merge-patch+json")

    async def delete(self, path: str, **params: str) -> Object:
        """An object or, with its path, a whole collection."""
        return await self.request("DELETE", path, params=params)

    async def until(self, path: str, condition: Callable[[Objects], bool], *, timeout_s: float = 30.0, **params: str) -> Objects:
        """Watch a collection until its objects meet the condition; returns them. Survives restarts of the server."""
        seen: Objects = {}
        try:
            async with asyncio.timeout(timeout_s):
                async for seen in self._states(path, params):
                    if condition(seen):
                        return dict(seen)
        except TimeoutError:
            raise AssertionError(f"{path}: not within {timeout_s:g} s; last seen: {_brief(seen)}") from None
        raise AssertionError("a watch never ends by itself")

    async def _states(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Objects]:
        """The collection's objects after the list and after each change."""
        while True:
            try:
                listed = await self.request("GET", path, params=params)
                objects = {_name(item): item for item in listed.get("items") or []}
                yield objects
                watch = {**params, "watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
                no_limit = aiohttp.ClientTimeout(total=None, sock_connect=5)
                async with self._http.get(path, params=watch, timeout=no_limit) as answer:
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        if event["type"] == "DELETED":
                            objects.pop(_name(event["object"]), None)
                        else:
                            objects[_name(event["object"])] = event["object"]
                        yield objects
            except (aiohttp.ClientError, TimeoutError):
                pass  # the server is away
            except ApiError as error:
                if error.status not in {410, 429, 500, 503, 504}:
                    raise
            await asyncio.sleep(_RELIST_AFTER_S)

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use `async with`")
        return self._session


def conditions(item: Object) -> dict[str, str]:
    """An object's status conditions: type -> status."""
    return {entry["type"]: entry["status"] for entry in item.get("status", {}).get("conditions") or []}


def is_ready(item: Object) -> bool:
    """Whether a pod or a node has the condition Ready."""
    return conditions(item).get("Ready") == "True"


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _brief(objects: Objects) -> str:
    return json.dumps({name: item.get("status") for name, item in objects.items()}, default=str)[:2000]
