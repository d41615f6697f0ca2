"""Who else owns a number, as the API server itself notes it in managedFields.

A number that came with the object is a start value, and nobody's; one that somebody wrote later, or applies server-side (GitOps), is theirs.
That is seen from the object alone, so a restart sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoscaler.adapters.nodepools.kube_objects import FIELD_MANAGER, Object, dig


def other_owner(item: Object, path: Sequence[str]) -> str:
    """Who else than we owns the field at `path` (``("spec", "replicas")``), in words; "" nobody.

    A number at another path than that is found where it was written through the scale subresource, which holds nothing else. Where an update
    changes a value its manager takes it from all others, so as long as we hold it nobody has changed it; appliers own it beside us.
    """
    found, ours = "", False
    for entry in dig(item, "metadata", "managedFields") or ():
        if not _holds(entry.get("fieldsV1"), path) and entry.get("subresource") != "scale":
            continue
        manager = str(entry.get("manager") or "somebody")
        if manager == FIELD_MANAGER:
            ours = True
        elif entry.get("operation") == "Apply":
            return f"{manager} applies {'.'.join(path)} (take the field out of what it applies)"
        elif not _came_with(item, entry):
            when = entry.get("time")  # of a number written through a CRD's scale the API server notes none
            found = f"{manager} set {'.'.join(path)}" + (f" at {when}" if when else "")
    return "" if ours else found


def _came_with(item: Object, entry: Mapping[str, Any]) -> bool:
    """Whether this is what the object was made with. Times are whole seconds, so who made it is also told by its having written the spec."""
    made_at = str(dig(item, "metadata", "creationTimestamp") or "")
    # RFC 3339 in one time zone: the order of the texts is that of the moments.
    early = str(entry.get("time") or "") <= made_at
    return early and not entry.get("subresource") and _holds(entry.get("fieldsV1"), ("spec",))


def _holds(tree: Any, path: Sequence[str]) -> bool:
    for name in path:
        tree = tree.get(f"f:{name}") if isinstance(tree, dict) else None
    return tree is not None
