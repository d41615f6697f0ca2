"""Who else owns a number, as the API server itself notes it in managedFields.

A number that came with the object is a start value, and nobody's; one that somebody wrote later, or applies server-side (GitOps), is theirs.
That is seen from the object alone, so a restart sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoscaler.adapters.nodepools.kube_objects import FIELD_MANAGER, Object, dig


def other_owner(item: Object, path: Sequence[str]) -> str:
    """Who else than we owns the field at `path` (``("spec", "replicas")``), in words; "" nobody.

    A number at another path than that is found where it was written through the scale subresource, which holds nothing else.
    """
    created = dig(item, "metadata", "creationTimestamp") or ""
    found, latest = "", ""
    ours = ""
    for entry in dig(item, "metadata", "managedFields") or ():
        if not _holds(entry.get("fieldsV1"), path) and entry.get("subresource") != "scale":
            continue
        manager, at = str(entry.get("manager") or "somebody"), str(entry.get("time") or "")
        if manager == FIELD_MANAGER:
            ours = max(ours, at)
        elif entry.get("operation") == "Apply":
            return f"{manager} applies {'.'.join(path)} (take the field out of what it applies)"
        elif at > created and at >= latest:
            found, latest = f"{manager} set {'.'.join(path)} at {at}", at
    # RFC 3339 in one time zone: the order of the texts is that of the moments.
    return found if latest > ours else ""


def _holds(tree: Any, path: Sequence[str]) -> bool:
    for name in path:
        tree = tree.get(f"f:{name}") if isinstance(tree, dict) else None
    return tree is not None
