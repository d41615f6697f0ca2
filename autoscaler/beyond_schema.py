"""What a schema can't say of a service's manifest: whether its policies are installed and take these parameters, its time zones exist,
its PromQL parses and stays in its namespace. The API server lets such a manifest in; it ends in a condition on the object.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from autoscaler import spec
from autoscaler.compiled import capacity, objectives
from autoscaler.core.model import ParamValue
from autoscaler.core.objectives import warnings_of
from autoscaler.core.policy import PolicyType, complete_params
from autoscaler.structure import Flaw, did_you_mean
from autoscaler.yaml_tree import Path

CheckQuery: TypeAlias = Callable[[str, str], str]
"""(PromQL, namespace) → what is wrong with it, in words; "" where nothing is."""


def flaws(
    manifest: spec.InferenceAutoscaler, *, policies: Mapping[str, PolicyType] | None = None, check_query: CheckQuery | None = None
) -> list[Flaw]:
    """Every flaw, with its path from the manifest's root. policies, check_query: None leaves those checks out."""
    found = list(_time_zones(manifest.spec))
    if policies is not None:
        found += _policies(manifest.spec, policies)
    if check_query is not None:
        for index, query in enumerate(manifest.spec.signals.queries):
            if words := check_query(query.query, manifest.metadata.namespace):
                found.append(Flaw(path=("spec", "signals", "queries", index, "query"), value=query.query, message=words))
    return found


def warnings(manifest: spec.InferenceAutoscaler) -> list[Flaw]:
    """What a valid manifest's owner should know of its objectives and its share of the work."""
    found = []
    for place, words in warnings_of(objectives(manifest.spec), capacity(manifest.spec)):
        one = manifest.spec.objectives[place - 1] if place else manifest.spec.objective
        path: Path = ("spec", "objectives", place - 1, "signal") if place else ("spec", "objective", "signal")
        found.append(Flaw(path=path, value=one.signal, message=words))
    share = manifest.spec.signals.share
    if share is not None and not spec.share_ratio(share):
        words = "of what own PromQL and the gateway tell of work nothing counts: the service is sized for none of it"
        found.append(Flaw(path=("spec", "signals", "share"), value=share, message=words))
    return found


def _time_zones(wanted: spec.InferenceAutoscalerSpec) -> Iterator[Flaw]:
    for index, window in enumerate(wanted.schedules):
        try:
            zoneinfo.ZoneInfo(window.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            guess = did_you_mean(window.timezone, zoneinfo.available_timezones())
            more = f"; {guess}" if guess.startswith("did") else ""
            yield Flaw(
                path=("spec", "schedules", index, "timezone"),
                value=window.timezone,
                message=f"an IANA time zone is expected, such as Europe/Berlin or UTC{more}",
            )


def _policies(wanted: spec.InferenceAutoscalerSpec, policies: Mapping[str, PolicyType]) -> Iterator[Flaw]:
    known = [policies[use.name] for use in wanted.policies if use.name in policies]
    for index, use in enumerate(wanted.policies):
        at = ("spec", "policies", index)
        policy = policies.get(use.name)
        if policy is None:
            yield Flaw(
                path=(*at, "name"), value=use.name, message=f"no such policy is installed; {did_you_mean(use.name, policies)}"
            )
            continue
        params: dict[str, ParamValue] = {}
        for name, value in use.params.items():
            if isinstance(value, (bool, int, float, str)):
                params[name] = value
            else:
                yield Flaw(path=(*at, "params", name), value=value, message="a number, a text, true or false is expected")
        if len(params) < len(use.params):
            continue
        completed, faults = complete_params(policy, params)
        for fault in faults:
            name, _, words = fault.partition(": ")
            if words and (name in params or any(name == parameter.name for parameter in policy.parameters)):
                yield Flaw(path=(*at, "params", name), value=params.get(name), message=words)
            else:
                yield Flaw(path=(*at, "params"), value=None, message=fault)
        if not faults and not wanted.signals.presets:
            yield from _without_source(wanted, policy, completed)
    if known and len(known) == len(wanted.policies) and not any(policy.alone for policy in known):
        names = " and ".join(policy.name for policy in known)
        yield Flaw(
            path=("spec", "policies"), value=names, message=f"{names} is only a floor; another policy must stand beside it"
        )


def _without_source(wanted: spec.InferenceAutoscalerSpec, policy: PolicyType, params: Mapping[str, ParamValue]) -> Iterator[Flaw]:
    """With no preset, every signal must have a query. Concurrency is also known from its two parts."""
    there = {query.signal for query in wanted.signals.queries}
    if {"queue", "running"} <= there:
        there.add("concurrency")
    for signal in policy.signals(params):
        if signal not in there:
            yield Flaw(
                path=("spec", "signals", "queries"),
                value=None,
                message=f"policy '{policy.name}' needs the signal '{signal}': with no presets it needs a query",
            )
