"""What a step leaves in the Secret."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.external_metrics.certificates.authority import Authority
from autoscaler.external_metrics.certificates.plan import Plan
from autoscaler.external_metrics.certificates.steps import Announce, Begin, Renew, Restart, Restore, Retire, Switch
from autoscaler.external_metrics.certificates.stored import Generation, Stored

Write = Begin | Restore | Renew | Announce | Switch | Restart | Retire
"""The steps that write the Secret."""


def after(step: Write, stored: Stored, plan: Plan, now_s: float) -> Stored:
    """The Secret's new content; `stored` is what of the present one can be used. Keys are drawn from the operating system."""
    match step:
        case Begin():
            made = _generation(Authority.new(plan.names, plan.lifetimes, now_s), plan, now_s)
            if step.kept:
                return Stored(current=None, coming=made, bundle=step.kept, since_s=now_s, why=step.why)
            return Stored(current=made, since_s=now_s, why=step.why)
        case Restore():
            return step.stored
        case Renew():
            assert stored.current is not None
            return replace(stored, current=_generation(stored.current.authority(), plan, now_s))
        case Announce():
            made = _generation(Authority.new(plan.names, plan.lifetimes, now_s), plan, now_s)
            return replace(stored, coming=made, since_s=now_s, why=step.why)
        case Switch():
            return replace(stored, current=stored.coming, coming=None, since_s=now_s)
        case Restart():
            return replace(stored, since_s=now_s)
        case Retire():
            return replace(stored, bundle=(), since_s=now_s)


def _generation(authority: Authority, plan: Plan, now_s: float) -> Generation:
    return Generation(
        ca=authority.certificate,
        key_pem=authority.key_pem,
        serving=authority.serving(plan.names, plan.lifetimes, now_s),
        client=authority.client(plan.lifetimes, now_s),
    )
