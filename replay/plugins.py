"""Policies by name, found through the entry point group that plug-ins register in. Only those that are asked for are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from autoscaler.core.model import ParamValue, PolicyRef
from autoscaler.core.policy import PolicyType, complete_params
from autoscaler.errors import UsageError
from autoscaler.structure import did_you_mean

GROUP: Final = "inference_autoscaler.policies"


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def installed(names: Iterable[str]) -> dict[str, PolicyType]:
    """The policies of these names. Raises UsageError for one that isn't installed or can't be loaded."""
    found: dict[str, PolicyType] = {}
    for name in sorted(set(names)):
        point = _points().get(name)
        if point is None:
            raise UsageError(f"policy '{name}' is not installed; {did_you_mean(name, sorted(_points()))}")
        try:
            policy = point.load()
        except Exception as error:  # a stranger's plug-in may fail in any way
            raise UsageError(f"policy '{name}' can't be loaded from {point.value}: {error}") from error
        if not isinstance(policy, PolicyType):
            raise UsageError(f"policy '{name}': {point.value} is no PolicyType")
        found[name] = policy
    return found


def loadable() -> dict[str, PolicyType]:
    """Every installed policy that can be loaded; a broken plug-in is a fault only for those who name it."""
    found: dict[str, PolicyType] = {}
    for name in sorted(_points()):
        with suppress(UsageError):
            found.update(installed([name]))
    return found


def policy_ref(text: str) -> PolicyRef:
    """``name`` or ``name:key=value,key=value``, as a command line gives it. Raises UsageError with what is wrong."""
    name, _, given = text.partition(":")
    params: dict[str, ParamValue] = {}
    for setting in given.split(",") if given else ():
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"-p {text}: write NAME:KEY=VALUE,KEY=VALUE, such as fixed:replicas=30")
        params[key.strip()] = value.strip()
    (policy,) = installed([name]).values()
    _, faults = complete_params(policy, params)
    if faults:
        raise UsageError("\n".join(f"-p {text}: {fault}" for fault in faults))
    return PolicyRef(name=name, params=params)


def policy_text(ref: PolicyRef) -> str:
    """The same text again, for scores."""
    return ref.name + (":" + ",".join(f"{key}={value}" for key, value in ref.params.items()) if ref.params else "")
