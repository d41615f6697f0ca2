"""Dotted overrides: ``--set PATH=VALUE`` reaches into a manifest or a scenario.

PATH is dotted, as fields are named in the file; a number (or ``[0]``) picks an item of a list, the next number appends one.

===========================================  ==================================================================
``objective.promised=99.9%``                 below ``spec`` of every InferenceAutoscaler
``policies.0.params.target=0.8``             a parameter of the first policy
``behavior.scaleDown.policies=[]``           VALUE is YAML where the field is no text
``pause=null``                               takes the field away (its default holds again)
``acceleratorPool.maxNodes=20``              below ``spec`` of every AcceleratorPool
``scenario.warmup=2d``                       below the scenario file's root (commands that take ``-s``)
===========================================  ==================================================================

Where a list is absent, its default is written out first, so ``policies.0.name=target`` changes the default policy. A path that the
schema doesn't know is wrong usage; a value that the schema refuses is a fault of the manifest, as if the file said so.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from autoscaler.errors import UsageError
from autoscaler.schema import Schema
from autoscaler.structure import did_you_mean
from autoscaler.yaml_tree import Path, value


def pairs(settings: Iterable[str]) -> dict[str, str]:
    """``PATH=VALUE`` texts, as a command line gives them, by path. Raises UsageError."""
    made: dict[str, str] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise UsageError(f"--set {setting}: write PATH=VALUE, such as objective.promised=99.9%")
        made[path.strip()] = text
    return made


def below(overrides: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The overrides whose path begins with ``prefix.``, without it."""
    return {path.removeprefix(f"{prefix}."): text for path, text in overrides.items() if path.startswith(f"{prefix}.")}


def apart_from(overrides: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """The overrides that belong to none of the prefixes."""
    starts = tuple(f"{prefix}." for prefix in prefixes)
    return {path: text for path, text in overrides.items() if not path.startswith(starts)}


def steps(path: str) -> Path:
    """``policies.0.params.x`` or ``policies[0].params.x`` as steps."""
    return tuple(int(step) if step.isdigit() else step for step in re.sub(r"\[(\d+)\]", r".\1", path).split("."))


def override(tree: dict[str, Any], path: str, text: str, schema: Schema | None = None, typed: str = "") -> Path:
    """Sets one value in a tree of mappings and lists, in place; makes what is missing on the way. Returns the path as steps.

    schema: what may be there (``autoscaler.schema``); without it any key is. typed: the setting as its author wrote it, for messages, where
    that is not ``--set PATH``. Raises UsageError.
    """
    at, typed = steps(path), typed or f"--set {path}"
    if not all(step != "" for step in at):
        raise UsageError(f"{typed}: an empty step in the path")
    here: Any = tree
    step: Any
    for position, step in enumerate(at):
        last = position == len(at) - 1
        part = _part(schema, step, typed)
        if isinstance(here, list):
            if not isinstance(step, int) or step > len(here):
                raise UsageError(f"{typed}: '{step}' is no item of a list of {len(here)}; 0 to {len(here)} is allowed")
            if step == len(here):
                here.append(None)
        elif isinstance(here, dict):
            step = str(step)
        else:
            raise UsageError(f"{typed}: there is nothing below '{'.'.join(map(str, at[:position]))}'")
        if last:
            _set(here, step, _parsed(text, part, typed))
        else:
            if (here[step] if isinstance(here, list) else here.get(step)) is None:
                here[step] = _new(part, at[position + 1])
            here = here[step]
        schema = part
    return at


def _part(schema: Schema | None, step: str | int, where: str) -> Schema | None:
    if schema is None:
        return None
    if "items" in schema:
        return schema["items"] if isinstance(step, int) else {}
    if str(step) in schema.get("properties", {}):
        part: Schema = schema["properties"][str(step)]
        return part
    if "additionalProperties" in schema:
        further: Schema = schema["additionalProperties"]
        return further
    if schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
        raise UsageError(f"{where}: unknown field '{step}'; {did_you_mean(str(step), schema['properties'])}")
    return None if schema.get("type", "object") == "object" else {"type": "nothing"}


def _new(part: Schema | None, following: str | int) -> Any:
    if part and "default" in part:
        return copy.deepcopy(part["default"])
    return [] if (part or {}).get("type") == "array" or (not part and isinstance(following, int)) else {}


def _parsed(text: str, part: Schema | None, typed: str) -> Any:
    if (part or {}).get("type") == "string" and text not in ("null", "~"):
        return text
    try:
        return value(text)
    except ValueError as fault:
        raise UsageError(f"{typed}={text}: {fault}") from None


def _set(here: dict[str, Any] | list[Any], step: str | int, new: Any) -> None:
    if isinstance(here, list):
        assert isinstance(step, int)
        if new is None:
            del here[step]
        else:
            here[step] = new
    elif new is None:
        here.pop(str(step), None)
    else:
        here[str(step)] = new
