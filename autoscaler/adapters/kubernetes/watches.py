"""All informers with a fixed resource, run together, and whether they can be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from autoscaler.adapters.kubernetes.api import KubeApi, Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.informer import Informer, InformerSettings, Key

T = TypeVar("T")


class Watches:
    """Makes informers that share session, clock and settings, and runs them until cancelled."""

    def __init__(
        self,
        api: KubeApi,
        *,
        namespaces: Sequence[str | None],
        monotonic_s: Callable[[], float],
        rng: np.random.Generator,
        settings: InformerSettings,
    ) -> None:
        self.namespaces = namespaces
        self._api = api
        self._monotonic_s = monotonic_s
        self._rng = rng
        self._settings = settings
        self._all: list[tuple[Informer[Any], bool]] = []

    def make(
        self,
        resource: Resource,
        namespace: str | None,
        transform: Callable[[Object], T | None],
        on_change: Callable[[Key, T | None, T | None], None],
        field_selector: str = "",
    ) -> Informer[T]:
        """An informer that the caller runs itself."""
        return Informer(
            self._api,
            resource,
            transform=transform,
            on_change=on_change,
            monotonic_s=self._monotonic_s,
            rng=self._rng,
            namespace=namespace,
            field_selector=field_selector,
            settings=self._settings,
        )

    def add(
        self,
        resource: Resource,
        transform: Callable[[Object], T | None],
        on_change: Callable[[Key, T | None, T | None], None],
        *,
        namespaces: Sequence[str | None] | None = None,
        required: bool = True,
        field_selector: str = "",
    ) -> None:
        """One informer per namespace. Without a `required` one nothing may be decided; others may be missing or forbidden."""
        for namespace in self.namespaces if namespaces is None else namespaces:
            self._all.append((self.make(resource, namespace, transform, on_change, field_selector), required))

    async def run(self) -> None:
        """Runs them all; never returns, cancel it."""
        async with asyncio.TaskGroup() as group:
            for informer, _ in self._all:
                group.create_task(informer.run(), name=f"informer {informer.resource.full_name}")

    def missing(self) -> list[str]:
        """What is not there yet and has to be, in words; empty once all of it has been listed."""
        words = []
        for informer, required in self._all:
            fault = informer.last_fault
            refused = fault is not None and (fault.forbidden or fault.not_found)
            if not informer.has_synced.is_set() and (required or not refused):
                words.append(f"{informer.resource.full_name} ({fault})" if fault is not None else informer.resource.full_name)
        return words

    def staleness_s(self) -> float:
        """Of the required one that heard nothing for the longest."""
        return max((informer.staleness_s() for informer, required in self._all if required), default=0.0)
