"""A fake API server on loopback that behaves like the real one where the adapter relies on it, and misbehaves on command.

The contract tests run the same tests on it and on the real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.kube_store import BUILT_IN, Change, Key, Kind, Object, Store, StoreError, Table, bury, dig


@dataclass
class Fault:
    """What to do wrong with the next `times` requests that `where` says yes to (method, path, query).

    status: answer with it. hang: no answer. empty: a watch that ends at once. line_bytes: a watch with one line so long.
    drop: cut the connection. expired: a watch that says 410 within the stream. document: answer 200 with this, whatever was asked for.
    """

    where: Callable[[str, str, dict[str, str]], bool]
    times: float = 1
    status: int | None = None
    retry_after_s: int | None = None
    hang: bool = False
    empty: bool = False
    line_bytes: int = 0
    drop: bool = False
    document: Any = None
    expired: bool = False


@dataclass(frozen=True)
class Request:
    """A request that arrived, and what it got."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    content_type: str

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


class FakeKubeApi:
    """`async with FakeKubeApi() as api:` then `api.url`. `bookmark_s`: how often watches that want it get a bookmark."""

    def __init__(self, kinds: tuple[Kind, ...] = BUILT_IN, bookmark_s: float = 60.0) -> None:
        self.store = Store(kinds)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.bookmark_s = bookmark_s
        self.may_read_definitions = True
        self.may: Callable[[Object], bool] = lambda _spec: False
        """What a SubjectAccessReview's spec is answered."""
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._let_go = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeKubeApi:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; after a stop on the same port again, with the same objects."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._let_go = asyncio.Event()
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Breaks all connections."""
        self._let_go.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # ------------------------------------------------------------ shortcuts for tests

    def create(self, plural: str, item: Object, namespace: str = "team", manager: str = "test") -> Object:
        return self.store.create(self.store.table(plural), namespace, item, manager)

    def patch(
        self, plural: str, name: str, patch: Object, namespace: str = "team", part: str | None = None, manager: str = "test"
    ) -> Object:
        table = self.store.table(plural)
        return self.store.patch(table, self._key(table, namespace, name), patch, part=part, manager=manager)

    def delete(self, plural: str, name: str, namespace: str = "team") -> Object:
        table = self.store.table(plural)
        return self.store.delete(table, self._key(table, namespace, name))

    def get(self, plural: str, name: str, namespace: str = "team") -> Object:
        table = self.store.table(plural)
        return self.store.get(table, self._key(table, namespace, name))

    def fail(self, method: str, ending: str, *, watch: bool | None = None, **how: Any) -> Fault:
        """A fault for requests by method ("" = any) and end of the path; `watch` narrows to watches or to all others."""

        def where(asked: str, path: str, query: dict[str, str]) -> bool:
            return method in ("", asked) and path.endswith(ending) and (watch is None or watch == ("watch" in query))

        fault = Fault(where, **how)
        self.faults.append(fault)
        return fault

    @staticmethod
    def _key(table: Table, namespace: str, name: str) -> Key:
        return (namespace if table.kind.namespaced else "", name)

    # ------------------------------------------------------------ requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        body = await request.read()
        document = json.loads(body) if body else None
        self.requests.append(Request(request.method, request.path, query, document, request.content_type))
        fault = self._fault(request.method, request.path, query)
        if fault is not None:
            if fault.hang:
                await self._let_go.wait()
                raise web.HTTPServiceUnavailable
            if fault.drop:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if fault.document is not None:
                return web.json_response(fault.document)
            if fault.status is not None:
                answer = _status(StoreError(fault.status, "", f"made fault {fault.status}"))
                if fault.retry_after_s is not None:
                    answer.headers["Retry-After"] = str(fault.retry_after_s)
                return answer
        try:
            return await self._answer(request, query, document, fault)
        except StoreError as error:
            return _status(error)

    def _fault(self, method: str, path: str, query: dict[str, str]) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.where(method, path, query):
                fault.times -= 1
                return fault
        return None

    async def _answer(self, request: web.Request, query: dict[str, str], body: Any, fault: Fault | None) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        if not rest:
            return self._discover(group, version)
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        if rest == ["selfsubjectaccessreviews"]:
            return web.json_response({**body, "status": {"allowed": self.may_read_definitions}}, status=201)
        if rest == ["subjectaccessreviews"]:
            return web.json_response({**body, "status": {"allowed": self.may(body["spec"])}}, status=201)
        table = self.store.tables.get((group, version, rest[0]))
        if table is None:
            raise StoreError(404, "NotFound", "the server could not find the requested resource")
        manager = str(query.get("fieldManager") or request.headers.get("User-Agent") or "unknown")
        if len(rest) == 1:
            if request.method == "POST":
                return web.json_response(self.store.create(table, namespace, body, manager), status=201)
            if "watch" in query:
                return await self._watch(request, table, namespace, query, fault)
            return self._list(table, namespace, query)
        key = self._key(table, namespace, rest[1])
        part = rest[2] if len(rest) > 2 else None
        if part == "scale":
            return self._scale(request.method, table, key, body, manager)
        if request.method == "GET":
            return web.json_response(self.store.get(table, key))
        if request.method == "DELETE":
            return web.json_response(self.store.delete(table, key))
        if request.method == "PUT":
            return web.json_response(self.store.update(table, key, body, part=part, manager=manager))
        if request.content_type != "application/merge-patch+json":
            raise StoreError(
                415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {request.content_type}"
            )
        return web.json_response(self.store.patch(table, key, body, part=part, manager=manager))

    def _discover(self, group: str, version: str) -> web.Response:
        resources: list[Object] = []
        for table in self.store.tables.values():
            kind = table.kind
            if (kind.group, kind.version) != (group, version):
                continue
            resources.append({"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced, "verbs": ["get", "list"]})
            if kind.status:
                resources.append(
                    {"name": f"{kind.plural}/status", "kind": kind.kind, "namespaced": kind.namespaced, "verbs": ["get"]}
                )
            if kind.replicas:
                scale = {"name": f"{kind.plural}/scale", "kind": "Scale", "group": "autoscaling", "version": "v1"}
                resources.append({**scale, "namespaced": kind.namespaced, "verbs": ["get", "update"]})
        if not resources:
            raise StoreError(404, "NotFound", "the server could not find the requested resource")
        group_version = f"{group}/{version}" if group else version
        return web.json_response({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources})

    def _list(self, table: Table, namespace: str, query: dict[str, str]) -> web.Response:
        token = query.get("continue")
        if token:
            version, items = self._pages.pop(token, (0, []))
            if version < table.compacted_at or not version:
                raise StoreError(410, "Expired", "The provided continue parameter is too old")
        else:
            version = self.store.version
            items = [item for key, item in sorted(table.items.items()) if _selected(item, namespace, query)]
        limit = int(query.get("limit", 0)) or len(items)
        meta: Object = {"resourceVersion": str(version)}
        if len(items) > limit:
            meta["continue"] = f"{version}-{len(self._pages)}-{len(items)}"
            self._pages[meta["continue"]] = (version, items[limit:])
        # As the real one: items of a list carry neither kind nor apiVersion.
        bare = [{name: value for name, value in item.items() if name not in ("kind", "apiVersion")} for item in items[:limit]]
        return web.json_response(
            {"kind": f"{table.kind.kind}List", "apiVersion": table.kind.api_version, "metadata": meta, "items": bare}
        )

    def _scale(self, method: str, table: Table, key: Key, body: Any, manager: str) -> web.Response:
        kind = table.kind
        item = self.store.get(table, key)
        if kind.replicas is None:
            raise StoreError(404, "NotFound", "the server could not find the requested resource")
        if method == "PUT":
            wanted = json.loads(json.dumps(item))
            given = body["metadata"]
            wanted["metadata"] = {**wanted["metadata"], **{n: given[n] for n in ("uid", "resourceVersion") if given.get(n)}}
            if not given.get("resourceVersion"):
                wanted["metadata"].pop("resourceVersion")
            bury(wanted, kind.replicas, int(body["spec"].get("replicas", 0)))
            item = self.store.update(table, key, wanted, part="scale", manager=manager)
        meta = item["metadata"]
        scale = {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")},
            "spec": {"replicas": dig(item, kind.replicas) or 0},
            "status": {"replicas": dig(item, "status.replicas") or 0, "selector": _selector_text(kind, item)},
        }
        return web.json_response(scale)

    # ------------------------------------------------------------ watches

    async def _watch(
        self, request: web.Request, table: Table, namespace: str, query: dict[str, str], fault: Fault | None
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        if fault is not None and fault.empty:
            return answer
        if fault is not None and fault.line_bytes:
            await answer.write(b'{"type":"MODIFIED","object":{"padding":"' + b"x" * fault.line_bytes + b'"}}\n')
            return answer
        after = int(query.get("resourceVersion") or 0)
        if after < table.compacted_at or (fault is not None and fault.expired):
            await _send(answer, "ERROR", _document(StoreError(410, "Expired", f"too old resource version: {after}")))
            return answer
        loop = asyncio.get_running_loop()
        end_s = loop.time() + float(query.get("timeoutSeconds", 300))
        bookmark_s = loop.time() + self.bookmark_s
        while not self._let_go.is_set() and loop.time() < end_s:
            changed = self.store.changed
            for change in [change for change in table.log if change.version > after]:
                after = change.version
                for type_, item in _seen(change, namespace, query):
                    await _send(answer, type_, item)
            if loop.time() >= bookmark_s and query.get("allowWatchBookmarks") == "true":
                bookmark_s = loop.time() + self.bookmark_s
                meta = {"resourceVersion": str(max(after, self.store.version)), "creationTimestamp": None}
                await _send(answer, "BOOKMARK", {"kind": table.kind.kind, "apiVersion": table.kind.api_version, "metadata": meta})
            await self._change_or(changed, min(end_s, bookmark_s) - loop.time())
        return answer

    async def _change_or(self, changed: asyncio.Event, timeout_s: float) -> None:
        waiting = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(self._let_go.wait())]
        try:
            await asyncio.wait(waiting, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


async def _send(answer: web.StreamResponse, type_: str, item: Object) -> None:
    await answer.write(json.dumps({"type": type_, "object": item}).encode() + b"\n")


def _seen(change: Change, namespace: str, query: dict[str, str]) -> Iterator[tuple[str, Object]]:
    """The change as a watch with selectors sees it: what leaves the selection is deleted, what enters it is added."""
    now = change.type != "DELETED" and _selected(change.item, namespace, query)
    before = change.old is not None and _selected(change.old, namespace, query)
    if now:
        yield ("MODIFIED" if before else "ADDED"), change.item
    elif before:
        yield "DELETED", change.item


def _selected(item: Object, namespace: str, query: dict[str, str]) -> bool:
    meta = item["metadata"]
    if namespace and meta.get("namespace") != namespace:
        return False
    labels = meta.get("labels") or {}
    wanted = [pair.split("=", 1) for pair in query.get("labelSelector", "").split(",") if pair]
    if any(labels.get(name) != value for name, value in wanted):
        return False
    fields = [pair.split("=", 1) for pair in query.get("fieldSelector", "").split(",") if pair]
    return all(dig(item, path) == value for path, value in fields)


def _selector_text(kind: Kind, item: Object) -> str:
    value = dig(item, kind.selector) if kind.selector else None
    if isinstance(value, dict):
        return ",".join(f"{name}={label}" for name, label in sorted((value.get("matchLabels") or {}).items()))
    return value or ""


def _document(error: StoreError) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
    }


def _status(error: StoreError) -> web.Response:
    return web.json_response(_document(error), status=error.code)
