"""Policies as a replay's command line names them; which ones there are says ``autoscaler.plugins``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from autoscaler import plugins
from autoscaler.core.model import ParamValue, PolicyRef
from autoscaler.core.policy import PolicyType, complete_params
from autoscaler.errors import UsageError
from autoscaler.structure import did_you_mean


@cache
def _found() -> plugins.Installed:
    return plugins.installed()


def installed(names: Iterable[str]) -> dict[str, PolicyType]:
    """The policies of these names. Raises UsageError for one that isn't installed or can't be used."""
    there = _found()
    chosen: dict[str, PolicyType] = {}
    for name in sorted(set(names)):
        if name in there.broken:
            raise UsageError(f"policy '{name}' can't be used: {there.broken[name]}")
        if name not in there.policies:
            raise UsageError(f"policy '{name}' is not installed; {did_you_mean(name, there.policies)}")
        chosen[name] = there.policies[name]
    return chosen


def loadable() -> dict[str, PolicyType]:
    """Every policy that can be used; a broken plug-in is a fault only for those who name it."""
    return _found().policies


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
