"""``check_policy``: the plug-in contract, run on any policy, ours or a stranger's. Use it in a test::

    from autoscaler.core.contract import check_policy

    def test_my_policy_keeps_the_contract() -> None:
        assert check_policy(POLICY) == []

Every rule is a function (``contract_rules``) that yields what it finds in words. The policy is driven through made observations
(``contract_world``); nothing is random, so a finding comes back until it is mended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autoscaler.core.contract_rules import RULES, SHAPE, Case, Rule
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
    fault = next(_declaration(policy_type, given), None)
    if fault is not None:
        return [Finding("declaration", fault)]
    case = Case(policy_type, complete_params(policy_type, given)[0])
    shaped = _first(SHAPE, case)
    if shaped:
        return shaped
    findings: list[Finding] = []
    for rule in RULES:
        if not any(finding.rule in rule.unless for finding in findings):
            findings += _first(rule, case)
    return list(dict.fromkeys(findings))


def _first(rule: Rule, case: Case) -> list[Finding]:
    """The rule's first finding, if any; an exception is one too."""
    try:
        words = next(rule.find(case), None)
    except Exception as error:  # whatever a stranger's plug-in raises is a finding about it
        if "read-only" in str(error):
            return [Finding("only reads", "it writes into the observation or its parameters, which belong to all policies")]
        return [Finding("runs" if rule is SHAPE else rule.name, f"{rule.doing} it raised {type(error).__name__}: {error}")]
    return [] if words is None else [Finding(rule.name, words)]


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
    if policy.settle_s is not None and not 0 <= policy.settle_s <= policy.lookback_s:
        yield f"settle_s {policy.settle_s:g} must lie between 0 and lookback_s {policy.lookback_s:g}"
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
    if parameter.search is not None:
        first, last = parameter.search
        if not first < last:
            yield f"is searched from {first:g} to {last:g}, which is no range"
        elif parameter.search_of == "value" and ((low is not None and first < low) or (high is not None and last > high)):
            yield f"is searched from {first:g} to {last:g}, beyond what is allowed"
        elif parameter.log_scale and first <= 0:
            yield f"is searched by ratio, which can't begin at {first:g}"
    if parameter.step is not None and (parameter.log_scale or not parameter.step > 0):
        yield f"has steps of {parameter.step:g}; more than 0 is allowed, and none of them together with log_scale"
