"""``check_policy``: the plug-in contract, run on any policy, ours or a stranger's. Use it in a test::

    from autoscaler.core.contract import check_policy

    def test_my_policy_keeps_the_contract() -> None:
        assert check_policy(POLICY) == []

Every rule is a function (``contract_rules``) that yields what it finds in words. The policy is driven through made observations
(``contract_world``); nothing is random, so a finding comes back until it is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from autoscaler.core.contract_rules import RULES, Case, shapes
from autoscaler.core.model import ParamValue
from autoscaler.core.policy import Parameter, PolicyType, complete_params
from autoscaler.core.signals import SIGNALS


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a policy breaks the contract. rule: its short name. words: what happened, with numbers."""

    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


def check_policy(policy_type: PolicyType, params: Mapping[str, ParamValue] | None = None) -> list[Finding]:
    """Everything in which the policy breaks the contract, at most one finding a rule; an empty list says that it keeps it.

    params: parameters of one service, as a manifest gives them; needed only for those without a default."""
    given = params or {}
    declared = _first("declaration", partial(_declaration, policy_type, given))
    if declared:
        return declared
    case = Case(policy_type, complete_params(policy_type, given)[0])
    shaped = _first("shape", partial(shapes, case))
    if shaped:
        return shaped
    findings = [finding for rule, check in RULES for finding in _first(rule, partial(check, case))]
    return list(dict.fromkeys(findings))


def _first(rule: str, check: Callable[[], Iterator[str]]) -> list[Finding]:
    """The rule's first finding, if any; an exception is one too."""
    try:
        words = next(check(), None)
    except Exception as error:
        if "read-only" in str(error):
            return [Finding("only reads", "it writes into the observation or its parameters; they belong to all policies")]
        return [Finding(rule if rule != "shape" else "runs", f"{type(error).__name__}: {error}")]
    return [] if words is None else [Finding(rule, words)]


def _declaration(policy: PolicyType, given: Mapping[str, ParamValue]) -> Iterator[str]:
    names = [parameter.name for parameter in policy.parameters]
    yield from (f"'{name}' is declared twice" for name in sorted({name for name in names if names.count(name) > 1}))
    for parameter in policy.parameters:
        yield from (f"'{parameter.name}': {fault}" for fault in _parameter_faults(parameter))
    completed, faults = complete_params(policy, given)
    yield from faults
    if faults:
        return
    for name in (*policy.signals(completed), *policy.optional_signals):
        if name not in SIGNALS:
            yield f"signal '{name}' does not exist; there are {', '.join(SIGNALS)}"
    if policy.lookback_s < 0 or policy.backfill_s < 0:
        yield f"lookback_s {policy.lookback_s:g} and backfill_s {policy.backfill_s:g} must not be negative"
    if not policy.summary:
        yield "summary is empty"


def _parameter_faults(parameter: Parameter) -> Iterator[str]:
    low, high = parameter.minimum, parameter.maximum
    if not parameter.name.isidentifier():
        yield "its name can't be written as name=value"
    if not parameter.description:
        yield "has no description"
    if low is not None and high is not None and low > high:
        yield f"minimum {low:g} lies above maximum {high:g}"
    if parameter.tunable and parameter.kind in ("float", "int") and (low is None or high is None):
        yield "is tunable but lacks a minimum or a maximum, so a tuner has no range to search"
