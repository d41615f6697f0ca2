"""Whose a pod was that Kubernetes has forgotten: what is left of its name without the parts that a Deployment (two) or
StatefulSet (the ordinal) put on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from autoscaler.core.model import Fleet

_DEPLOYMENT_POD: Final = re.compile(r"(.+)-[a-z0-9]{1,10}-[a-z0-9]{5}")
_ORDINAL_POD: Final = re.compile(r"(.+)-[0-9]+")


class PodNames:
    """Rows of pods that may be long gone, by name."""

    def __init__(self, fleet: Fleet, rows_by_pod: Mapping[tuple[str, str], int]) -> None:
        self._row_of = dict(rows_by_pod)
        self._row_by_base: dict[tuple[str, str, str], int] = {}
        kinds = []
        for row, spec in enumerate(fleet.specs):
            kind, _, name = spec.target.partition("/")
            kinds.append(kind)
            for pattern in _patterns(kind):
                self._row_by_base.setdefault((spec.namespace, pattern, name), row)
        # Targets whose pods aren't called after them (a custom resource's inner Deployment): learnt from the pods that are there.
        for (namespace, pod), row in rows_by_pod.items():
            for pattern in _patterns(kinds[row]):
                base = _base(pattern, pod)
                if base is not None:
                    self._row_by_base.setdefault((namespace, pattern, base), row)

    def row(self, namespace: str, pod: str) -> int:
        """The row that a pod counts for; -1 for none of ours."""
        found = self._row_of.get((namespace, pod))
        if found is None:
            found = -1
            for pattern in ("deployment", "ordinal"):
                base = _base(pattern, pod)
                if base is not None and (namespace, pattern, base) in self._row_by_base:
                    found = self._row_by_base[namespace, pattern, base]
                    break
            self._row_of[namespace, pod] = found
        return found


def _patterns(kind: str) -> tuple[str, ...]:
    return {"Deployment": ("deployment",), "StatefulSet": ("ordinal",)}.get(kind, ("deployment", "ordinal"))


def _base(pattern: str, pod: str) -> str | None:
    match = (_DEPLOYMENT_POD if pattern == "deployment" else _ORDINAL_POD).fullmatch(pod)
    return match.group(1) if match else None
