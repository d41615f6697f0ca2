"""A live copy of one resource's objects: list, then watch, for as long as it runs.

Level-triggered like everything here: after any fault the copy is made right again by watching on or by listing anew, and handlers are
told of every difference, also of objects that vanished while nobody watched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import orjson

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.api_error import ApiError, error_of_status
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.lines import LARGEST_LINE_BYTES, Lines, LineTooLongError
from autoscaler.backoff import Backoff

log = logging.getLogger(__name__)

T = TypeVar("T")
Key: TypeAlias = tuple[str, str]
"""(namespace, name); namespace "" for cluster-wide objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InformerSettings:
    """Limits and times of one informer.

    page_objects: objects a page of the list; halved where a page is too large. watch_s: the server is asked to end a watch after a
    time drawn from this range; it bounds how long a silently dead connection goes unnoticed. slice_objects: so many objects are taken
    in before others on the event loop get a turn.
    """

    page_objects: int = 500
    list_timeout_s: float = 30.0
    open_timeout_s: float = 10.0
    watch_s: tuple[float, float] = (120.0, 180.0)
    backoff_first_s: float = 0.5
    backoff_max_s: float = 30.0
    largest_line_bytes: int = LARGEST_LINE_BYTES
    slice_objects: int = 50


DEFAULTS = InformerSettings()


class _ListAgainError(Exception):
    """The watch can't go on from where it is."""


class Informer(Generic[T]):
    """Keeps `transform`ed objects of one resource, in one namespace or (None) in all.

    transform: takes what is needed of an object; None leaves the object out. on_change(key, old, new): called synchronously for every
    difference, new None = gone. Neither may await; a fault in one of them is logged with the object's name and felt by nobody else.
    """

    def __init__(
        self,
        api: KubeApi,
        resource: Resource,
        *,
        transform: Callable[[Object], T | None],
        on_change: Callable[[Key, T | None, T | None], None],
        monotonic_s: Callable[[], float],
        rng: np.random.Generator,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        settings: InformerSettings = DEFAULTS,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.has_synced = asyncio.Event()
        self.objects: dict[Key, T] = {}
        self.last_fault: ApiError | None = None
        self.lists = 0
        self.watches = 0
        self.broken_objects = 0
        self._api = api
        self._path = resource.path(namespace)
        self._transform = transform
        self._on_change = on_change
        self._monotonic_s = monotonic_s
        self._rng = rng
        self._settings = settings
        self._selectors = {
            name: value for name, value in (("labelSelector", label_selector), ("fieldSelector", field_selector)) if value
        }
        self._versions: dict[Key, str] = {}
        self._version = ""
        self._page_objects = settings.page_objects
        self._contact_at_s: float | None = None
        self._backoff = Backoff(rng, settings.backoff_first_s, settings.backoff_max_s)

    def staleness_s(self) -> float:
        """Seconds since the API server last told us anything; infinity before the first word."""
        return float("inf") if self._contact_at_s is None else self._monotonic_s() - self._contact_at_s

    async def run(self) -> None:
        """Never returns; cancel it."""
        while True:
            worked, wait_s = False, None
            try:
                if not self._version:
                    await self._list()
                worked = await self._watch()
                self.last_fault = None
            except _ListAgainError as why:
                log.info("%s: listing again: %s", self._path, why)
                self._version = ""
            except ApiError as fault:
                if str(fault) != str(self.last_fault):  # once, not with every try of a long outage
                    log.warning("%s: %s", self._path, fault)
                self.last_fault, wait_s = fault, fault.retry_after_s
            except Exception:
                # A fault of ours, or an answer that nobody foresaw: begin anew, never die.
                log.exception("%s: beginning anew", self._path)
                self._version = ""
            # Also after a watch that worked, or a server that ends each one after one event would be asked in a hot loop.
            await asyncio.sleep(0.05 + 0.05 * float(self._rng.random()) if worked else self._backoff.next_s(wait_s))

    # ------------------------------------------------------------ list

    async def _list(self) -> None:
        """Pages through the list; afterwards `objects` is what the server had at one moment."""
        seen: set[Key] = set()
        token = ""
        while True:
            params = {**self._selectors, "limit": str(self._page_objects)}
            if token:
                params["continue"] = token
            try:
                page = await self._api.request("GET", self._path, params=params, timeout_s=self._settings.list_timeout_s)
            except ApiError as fault:
                if fault.too_large and self._page_objects > 1:
                    self._page_objects = max(1, self._page_objects // 2)
                    continue
                if fault.gone and token:
                    # Paging took longer than the server keeps old versions: from the start, in larger steps.
                    self._page_objects = min(self._page_objects * 4, 10 * self._settings.page_objects)
                raise
            self._contact()
            await self._take_page(page.get("items") or [], seen)
            meta = page.get("metadata") or {}
            token = meta.get("continue") or ""
            if not token:
                break
        for key in [key for key in self._versions if key not in seen]:
            self._forget(key)
        self._version = str(meta.get("resourceVersion") or "")
        self.lists += 1
        self.last_fault = None
        # The page size stays as it is when it was made smaller, and goes back when paging was too slow.
        self._page_objects = min(self._page_objects, self._settings.page_objects)
        self.has_synced.set()

    async def _take_page(self, items: list[Object], seen: set[Key]) -> None:
        for count, item in enumerate(items, 1):
            key = _key(item)
            seen.add(key)
            self._store(key, item)
            if count % self._settings.slice_objects == 0:
                await asyncio.sleep(0)

    # ------------------------------------------------------------ watch

    async def _watch(self) -> bool:
        """One watch from where we are to its end. True where it told us something or was held open for a while: only that resets the
        backoff, since a stream that closes at once is as good as a refusal."""
        low_s, high_s = self._settings.watch_s
        watch_s = low_s + (high_s - low_s) * float(self._rng.random())
        params = {
            **self._selectors,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(watch_s))),
        }
        self.watches += 1
        try:
            async with self._api.stream(
                self._path, params=params, open_timeout_s=self._settings.open_timeout_s, total_timeout_s=watch_s + 15.0
            ) as chunks:
                self._contact()
                began_s = self._monotonic_s()
                told = await self._take_stream(chunks)
        except LineTooLongError as fault:
            # Watched from here it would come again and again; listed, the object arrives in a page of its own if it must.
            raise _ListAgainError(str(fault)) from fault
        except ApiError as fault:
            if fault.gone or fault.version_too_large:
                raise _ListAgainError(str(fault)) from fault
            if 400 <= fault.status < 500 and not (fault.forbidden or fault.unauthorized or fault.throttled):
                self._version = ""  # not a request that gets better by repeating it
            raise
        if not told and self._monotonic_s() - began_s < min(5.0, low_s / 2):
            return False
        self._backoff.progress()
        return True

    async def _take_stream(self, chunks: AsyncIterator[bytes]) -> bool:
        lines = Lines(self._settings.largest_line_bytes)
        count = 0
        async for chunk in chunks:
            self._contact()
            for event in _events(lines.feed(chunk)):
                self._take_event(event)
                count += 1
                if count == 1:
                    self._backoff.progress()
                if count % self._settings.slice_objects == 0:
                    await asyncio.sleep(0)
        return count > 0

    def _take_event(self, event: Object) -> None:
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            fault = error_of_status(item)
            if fault.gone or fault.version_too_large:
                raise _ListAgainError(str(fault))
            raise fault
        version = str((item.get("metadata") or {}).get("resourceVersion") or "")
        if kind in ("ADDED", "MODIFIED"):
            self._store(_key(item), item)
        elif kind == "DELETED":
            self._forget(_key(item))
        if version:
            self._version = version

    # ------------------------------------------------------------ the copy

    def _contact(self) -> None:
        self._contact_at_s = self._monotonic_s()

    def _store(self, key: Key, item: Object) -> None:
        version = str(item["metadata"].get("resourceVersion") or "")
        if version and self._versions.get(key) == version:
            return
        self._versions[key] = version
        try:
            new = self._transform(item)
        except Exception:
            # An object that nobody foresaw must not blind us for all the others.
            self.broken_objects += 1
            log.exception("%s: can't make sense of %s/%s", self._path, *key)
            new = None
        self._replace(key, new)

    def _forget(self, key: Key) -> None:
        self._versions.pop(key, None)
        self._replace(key, None)

    def _replace(self, key: Key, new: T | None) -> None:
        old = self.objects.get(key)
        if new is None:
            if old is None:
                return
            del self.objects[key]
        else:
            self.objects[key] = new
        try:
            self._on_change(key, old, new)
        except Exception:
            # A fault of whoever listens: the watch goes on, and the next change of the object is another try.
            self.broken_objects += 1
            log.exception("%s: the change of %s/%s was not taken in", self._path, *key)


def _events(lines: Iterator[bytes]) -> Iterator[Object]:
    for line in lines:
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError as fault:
            raise ApiError(0, "Malformed", f"a line of the watch is no JSON ({fault})") from None


def _key(item: Object) -> Key:
    meta = item["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"])
