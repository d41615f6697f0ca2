"""The tuned manifest: the files that were given, with the tuned parameters and a comment on top that says where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from autoscaler import spec
from autoscaler.core.model import PolicyRef
from autoscaler.core.policy import PolicyType
from autoscaler.errors import OutsideError
from autoscaler.manifests import KINDS, load_manifests
from autoscaler.yaml_tree import Path as TreePath
from autoscaler.yaml_tree import documents
from replay.tune.result import Tuned
from replay.tune.trial import cost_of
from replay.tune.yaml_edit import CannotEdit, put

_HEAD: Final = "# Tuned by replay tune"
_BODY: Final = "#   "


def tuned_text(
    sources: Sequence[Path], results: Sequence[Tuned], policies: dict[str, PolicyType], came_from: Sequence[str]
) -> str:
    """One text of all the files. came_from: lines about version, traces and settings. Raises InvalidManifest."""
    text = "\n---\n".join(_without_head(path.read_text(encoding="utf-8-sig")).rstrip("\n") for path in sources) + "\n"
    wanted = {result.service: result.tuned.policies for result in results}
    before = load_manifests([text], policies=policies)
    expected = [_with(manifest, wanted) for manifest in before]
    head = _head(results, came_from)
    try:
        made = _edited(text, before, wanted)
        if load_manifests([made], policies=policies) == expected:
            return head + made
    except (CannotEdit, yaml.YAMLError):
        pass
    # An alias, say, that stands for several services' parameters: the same objects, written anew, without their comments.
    plain = yaml.safe_dump_all(_trees(text, wanted), sort_keys=False, allow_unicode=True)
    load_manifests([plain], policies=policies)
    return f"{head}{_BODY}the files' own comments are left out: their parameters could not be changed in place\n{plain}"


def write(path: Path, text: str) -> None:
    """Raises OutsideError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None


def _head(results: Sequence[Tuned], came_from: Sequence[str]) -> str:
    lines = [f"{_HEAD}; the search saw the training part only.", *(_BODY + line for line in came_from)]
    for result in results:
        lines.append(
            f"{_BODY}{result.service}: {len(result.trials)} candidates, {result.promised_ratio:.2%} promised; was {result.untuned.text}"
        )
        for part, title in (("training", "training"), ("held_out", "held out")):
            for score, before in zip(getattr(result.tuned, part), getattr(result.untuned, part), strict=True):
                unit = "cost" if result.money else "replica hours"
                lines.append(
                    f"{_BODY}  {title}, {score['trace']}: {score['attained_ratio']:.3%} kept, {cost_of(score, result.money):.1f} {unit}, "
                    f"{score['actions_per_h']:.1f} actions/h (untuned {before['attained_ratio']:.3%}, {cost_of(before, result.money):.1f}, "
                    f"{before['actions_per_h']:.1f})"
                )
        lines += [f"{_BODY}  WARNING: {words}" for words in result.warnings]
    return "\n".join(lines) + "\n"


def _without_head(text: str) -> str:
    """An earlier tuning's comment makes room for this one's."""
    lines = text.splitlines(keepends=True)
    if lines and lines[0].startswith(_HEAD):
        place = 1
        while place < len(lines) and lines[place].startswith(_BODY):
            place += 1
        lines = lines[place:]
    return "".join(lines)


def _objects(text: str) -> list[tuple[int, TreePath, dict[str, Any]]]:
    """Every object of ours: its document, its path there, its tree."""
    found: list[tuple[int, TreePath, dict[str, Any]]] = []
    for number, document in enumerate(documents(text)):
        tree = document.tree
        many = isinstance(tree, dict) and tree.get("kind") == "List"
        places: list[tuple[TreePath, Any]] = (
            [(("items", place), item) for place, item in enumerate(tree.get("items") or ())] if many else [((), tree)]
        )
        found += [(number, path, item) for path, item in places if isinstance(item, dict) and item.get("kind") in KINDS]
    return found


def _edited(text: str, before: Sequence[spec.Manifest], wanted: dict[str, tuple[PolicyRef, ...]]) -> str:
    for (number, base, tree), manifest in zip(_objects(text), before, strict=True):
        refs = wanted.get(_key(manifest))
        if refs is None:
            continue
        at = (*base, "spec", "policies")
        listed = tree["spec"].get("policies")
        if listed is None or [one["name"] for one in listed] != [ref.name for ref in refs]:
            text = put(text, number, at, [_plain(ref) for ref in refs])
            continue
        for place, ref in enumerate(refs):
            own = listed[place].get("params") or {}
            for name, value in ref.params.items():
                if own.get(name) != value:
                    text = put(text, number, (*at, place, "params", name), value)
    return text


def _trees(text: str, wanted: dict[str, tuple[PolicyRef, ...]]) -> list[Any]:
    found = []
    for _, _, tree in _objects(text):
        metadata = tree.get("metadata", {})
        refs = (
            wanted.get(f"{metadata.get('namespace') or 'default'}/{metadata.get('name')}")
            if "scaleTargetRef" in tree["spec"]
            else None
        )
        found.append(tree if refs is None else {**tree, "spec": {**tree["spec"], "policies": [_plain(ref) for ref in refs]}})
    return found


def _with(manifest: spec.Manifest, wanted: dict[str, tuple[PolicyRef, ...]]) -> spec.Manifest:
    refs = wanted.get(_key(manifest))
    if refs is None or not isinstance(manifest, spec.InferenceAutoscaler):
        return manifest
    uses = [spec.PolicyUse(name=ref.name, params=dict(ref.params)) for ref in refs]
    return msgspec.structs.replace(manifest, spec=msgspec.structs.replace(manifest.spec, policies=uses))


def _key(manifest: spec.Manifest) -> str:
    return f"{manifest.metadata.namespace}/{manifest.metadata.name}" if isinstance(manifest, spec.InferenceAutoscaler) else ""


def _plain(ref: PolicyRef) -> dict[str, Any]:
    return {"name": ref.name, "params": dict(ref.params)}
