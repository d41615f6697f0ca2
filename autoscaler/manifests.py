"""Manifest files: the very files that ``kubectl apply`` takes, read with every fault found, each with its file and line.

``load_manifests`` gives valid manifests or raises; ``validate`` gives what it found, for those who want to show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

import msgspec

from autoscaler import beyond_schema, spec
from autoscaler import overrides as settings
from autoscaler.beyond_schema import CheckQuery
from autoscaler.compiled import scaling_spec
from autoscaler.core.policy import PolicyType
from autoscaler.core.roles import Roles
from autoscaler.errors import Fault, InvalidManifest, OutsideError, UsageError
from autoscaler.manifest_rules import broken
from autoscaler.schema import schema_of
from autoscaler.shared_demand import shared_demand
from autoscaler.structure import Flaw, check, did_you_mean, dotted, shown
from autoscaler.yaml_tree import Document, Path, documents

KINDS: Final[dict[str, type[spec.InferenceAutoscaler] | type[spec.AcceleratorPool]]] = {
    "InferenceAutoscaler": spec.InferenceAutoscaler,
    "AcceleratorPool": spec.AcceleratorPool,
}
_POOL_PREFIX: Final = "acceleratorPool"


@dataclass(slots=True, kw_only=True)
class Reading:
    """What files hold: the manifests that are valid, every fault of the others, how many objects of other kinds were passed over.

    warnings: of valid manifests, what they may do but what their owner may not expect."""

    manifests: list[spec.Manifest] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    skipped: int = 0


@dataclass(slots=True, kw_only=True)
class _Found:
    """One object of ours in a file. base: its path within the document (an item of a List)."""

    file: str
    document: Document
    base: Path
    tree: dict[str, Any]
    label: str
    overridden: dict[Path, str] = field(default_factory=dict)

    def fault(self, flaw: Flaw) -> Fault:
        """The flaw as people find it: in the file, or in the override that brought it."""
        for path, setting in self.overridden.items():
            if flaw.path[: len(path)] == path:
                return self._fault(flaw, f"--set {setting}", 0)
        return self._fault(flaw, self.file, self.document.line_of((*self.base, *flaw.path)))

    def _fault(self, flaw: Flaw, file: str, line: int) -> Fault:
        return Fault(file=file, line=line, object=self.label, path=dotted(flaw.path), value=_harmless(flaw), message=flaw.message)


def _harmless(flaw: Flaw) -> str:
    """The value as it may be shown: a password that was written where none belongs must not end in a log as well."""
    if "headers" in flaw.path and flaw.path[-1] == "value":
        return "…" if flaw.value else ""
    return re.sub(r"//[^/@]*@", "//…@", shown(flaw.value))


def load_manifests(
    sources: Sequence[FilePath | str],
    overrides: Mapping[str, str] | None = None,
    policies: Mapping[str, PolicyType] | None = None,
    check_query: CheckQuery | None = None,
) -> list[spec.Manifest]:
    """The manifests of files (paths) and texts (a str with a line feed), in their order.

    overrides: dotted paths, see ``autoscaler.overrides``. policies: judge names and parameters by these.
    Raises InvalidManifest with every fault of every source, UsageError for a path or override that doesn't exist.
    """
    reading = validate(sources, overrides, policies, check_query)
    if reading.faults:
        raise InvalidManifest(reading.faults)
    return reading.manifests


def validate(
    sources: Sequence[FilePath | str],
    overrides: Mapping[str, str] | None = None,
    policies: Mapping[str, PolicyType] | None = None,
    check_query: CheckQuery | None = None,
) -> Reading:
    """As load_manifests, but faults are part of the answer. Raises UsageError, OutsideError."""
    reading = Reading()
    found: list[_Found] = []
    for source in sources:
        file, text = _text(source)
        before = len(found), len(reading.faults)
        found += _objects(file, text, reading)
        if before == (len(found), len(reading.faults)):
            words = f"holds no InferenceAutoscaler or AcceleratorPool of {spec.API_VERSION}"
            reading.faults.append(Fault(file=file, line=0, object="file", path="", value="", message=words))
    for path, text in (overrides or {}).items():
        _override(found, path, text)
    valid: list[tuple[_Found, spec.Manifest]] = []
    for item in found:
        manifest, flaws = _judge(item.tree, policies, check_query)
        reading.faults += [item.fault(flaw) for flaw in flaws]
        if manifest is not None and not flaws:
            valid.append((item, manifest))
    reading.faults += _twice(found)
    reading.faults += _one_target_each(valid)
    _judge_roles(valid, reading)
    reading.manifests = [manifest for _, manifest in valid]
    for item, manifest in valid:
        if isinstance(manifest, spec.InferenceAutoscaler):
            reading.warnings += [item.fault(flaw) for flaw in beyond_schema.warnings(manifest)]
    services = [(item, one) for item, one in valid if isinstance(one, spec.InferenceAutoscaler)]
    for place, words in shared_demand([one for _, one in services]).items():
        reading.warnings.append(services[place][0].fault(Flaw(path=("spec", "signals"), value=None, message=words)))
    order = {str(file): number for number, file in enumerate(dict.fromkeys(item.file for item in found))}
    reading.faults.sort(key=lambda fault: (order.get(fault.file, -1), fault.line))
    return reading


def _text(source: FilePath | str) -> tuple[str, str]:
    """(name for messages, text) of a source."""
    if isinstance(source, str) and "\n" in source:
        return "<text>", source
    path = FilePath(source)
    try:
        return str(path), path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder; name the files in it, such as {path}/*.yaml") from None
    except UnicodeDecodeError as fault:
        raise InvalidManifest(
            [Fault(file=str(path), line=0, object="file", path="", value="", message=f"not UTF-8 text (byte {fault.start})")]
        ) from None
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None


def _objects(file: str, text: str, reading: Reading) -> Iterator[_Found]:
    """The objects of ours in a text; other kinds are counted, faults of the text itself are noted."""
    for number, document in enumerate(documents(text), start=1):
        places: list[tuple[Path, Any]] = [((), document.tree)]
        if isinstance(document.tree, dict) and document.tree.get("kind") == "List":
            items = document.tree.get("items")
            places = [(("items", index), item) for index, item in enumerate(items if isinstance(items, list) else [])]
        named: list[_Found] = []
        for base, tree in places:
            if tree is None:
                continue
            label = _label(tree, number)
            item = _Found(file=file, document=document, base=base, tree=tree if isinstance(tree, dict) else {}, label=label)
            if (flaw := _not_an_object(tree)) is not None:
                reading.faults.append(item.fault(flaw))
            elif not _ours(item.tree):
                reading.skipped += 1
                continue
            else:
                yield item
            named.append(item)
        for problem in document.problems if named or document.tree is None else ():
            owner = next((item for item in named if problem.path[: len(item.base)] == item.base), None)
            path = problem.path[len(owner.base) :] if owner else problem.path
            reading.faults.append(
                Fault(
                    file=file,
                    line=problem.line,
                    object=owner.label if owner else f"document {number}",
                    path=dotted(path),
                    value=problem.value,
                    message=problem.message,
                )
            )


def _label(tree: Any, number: int) -> str:
    metadata = tree.get("metadata") if isinstance(tree, dict) else None
    if not isinstance(metadata, dict) or not metadata.get("name") or not tree.get("kind"):
        return f"document {number}"
    name = str(metadata["name"])
    if tree["kind"] != "AcceleratorPool":
        name = f"{metadata.get('namespace') or 'default'}/{name}"
    return f"{tree['kind']} {name}"


def _not_an_object(tree: Any) -> Flaw | None:
    if not isinstance(tree, dict):
        return Flaw(path=(), value=tree, message="a mapping with apiVersion, kind, metadata and spec is expected")
    for key in ("apiVersion", "kind"):
        if not isinstance(tree.get(key), str):
            return Flaw(path=(key,), value=tree.get(key), message=f"needed, such as {_EXAMPLES[key]}")
    group = tree["apiVersion"].partition("/")[0]
    if group == spec.GROUP and tree["kind"] not in KINDS:
        return Flaw(path=("kind",), value=tree["kind"], message=f"unknown kind; {did_you_mean(tree['kind'], KINDS)}")
    return None


_EXAMPLES: Final = {"apiVersion": spec.API_VERSION, "kind": "InferenceAutoscaler"}


def _ours(tree: Mapping[str, Any]) -> bool:
    """Also with a wrong apiVersion: that is a fault to tell, not another kind to pass over."""
    return tree["kind"] in KINDS


def _override(found: Sequence[_Found], path: str, text: str) -> None:
    kind, below = (
        ("AcceleratorPool", path.removeprefix(f"{_POOL_PREFIX}."))
        if path.startswith(f"{_POOL_PREFIX}.")
        else (
            "InferenceAutoscaler",
            path,
        )
    )
    items = [item for item in found if item.tree["kind"] == kind]
    if not items and found:
        raise UsageError(f"--set {path}: there is no {kind} here")
    schema = schema_of(KINDS[kind])["properties"]["spec"]
    for item in items:
        inner = item.tree.get("spec")
        if isinstance(inner, dict):
            steps = settings.override(inner, below, text, schema, typed=f"--set {path}")
            item.overridden[("spec", *steps)] = f"{path}={text}"


def _judge(
    tree: Mapping[str, Any], policies: Mapping[str, PolicyType] | None, check_query: CheckQuery | None
) -> tuple[spec.Manifest | None, list[Flaw]]:
    """The manifest, if it could be made, and every flaw of it."""
    kind: str = tree["kind"]
    if tree["apiVersion"] != spec.API_VERSION:
        return None, [Flaw(path=("apiVersion",), value=tree["apiVersion"], message=f"{spec.API_VERSION} is allowed")]
    whole, flaws = check(schema_of(KINDS[kind]), tree)
    flaws += [
        Flaw(path=path, value=_value_at(whole, path), message=rule.message)
        for rule, path in broken(kind, whole, {flaw.path for flaw in flaws})
    ]
    if flaws:
        return None, flaws
    try:
        manifest: spec.Manifest = msgspec.convert(whole, KINDS[kind])
    except msgspec.ValidationError as fault:  # the schema is made from the types: this would be a fault of ours
        return None, [Flaw(path=(), value=None, message=str(fault))]
    if isinstance(manifest, spec.InferenceAutoscaler):
        flaws = beyond_schema.flaws(manifest, policies=policies, check_query=check_query)
    return manifest, flaws


def _value_at(tree: Any, path: Path) -> Any:
    for step in path:
        if isinstance(tree, Mapping):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return None if isinstance(tree, (Mapping, list)) else tree


def _twice(found: Sequence[_Found]) -> Iterator[Fault]:
    """Two objects of the same kind and name: the second would overwrite the first."""
    first: dict[str, _Found] = {}
    for item in found:
        if re.match(r"document \d+$", item.label):
            continue
        before = first.setdefault(item.label, item)
        if before is not item:
            where = f"{before.file}:{before.document.line_of((*before.base, 'metadata', 'name'))}"
            yield item.fault(
                Flaw(path=("metadata", "name"), value=item.tree["metadata"]["name"], message=f"the same object as in {where}")
            )


def _one_target_each(valid: Sequence[tuple[_Found, spec.Manifest]]) -> Iterator[Fault]:
    """Two manifests that scale one target: in the cluster both would keep their hands off it."""
    first: dict[tuple[str, str, str, str], _Found] = {}
    for item, manifest in valid:
        if isinstance(manifest, spec.InferenceAutoscaler):
            target = manifest.spec.scale_target_ref
            group = target.api_version.rpartition("/")[0]
            before = first.setdefault((manifest.metadata.namespace, group, target.kind, target.name), item)
            if before is not item and before.label != item.label:
                message = f"{before.label} scales this target already"
                yield item.fault(Flaw(path=("spec", "scaleTargetRef", "name"), value=target.name, message=message))


def _judge_roles(valid: Sequence[tuple[_Found, spec.Manifest]], reading: Reading) -> None:
    """What is wrong with services of several roles as these files have them. A role whose others are all in other files is only warned of."""
    found = [
        (item, manifest) for item, manifest in valid if isinstance(manifest, spec.InferenceAutoscaler) and manifest.spec.role
    ]
    roles = Roles([scaling_spec(manifest) for _, manifest in found])
    for row, (item, _) in enumerate(found):
        for fault in roles.faults.get(row, ()):
            value = roles.name(row) if fault.field == "name" else None
            flaw = Flaw(path=("spec", "role", fault.field), value=value, message=fault.words)
            (reading.warnings if fault.passing else reading.faults).append(item.fault(flaw))
        if words := roles.doubts(row):
            reading.warnings.append(item.fault(Flaw(path=("spec", "role"), value=None, message=words)))
