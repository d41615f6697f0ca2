"""The next step towards certificates that are valid and known to every client: a pure function of what is there.

A rotation of the authority goes so, each step only when the one before is seen to be done, and whoever looks next takes it:

1. ``Announce``: the Secret holds a coming authority, with its certificates, beside the current one.
2. ``Tell``: the caBundle holds both.
3. ``Switch``: some time after clients know both, the coming one becomes the current one, and every replica serves its certificate.
4. ``Retire``: when the overlap is over the old one leaves the Secret; a last ``Tell`` takes it out of the caBundle.

At any moment the caBundle that is wanted is what the Secret lists, so that a step that was interrupted, or undone by somebody, is done again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509

from autoscaler.external_metrics.certificates.clients import Clients, Whose
from autoscaler.external_metrics.certificates.plan import Asked, Plan
from autoscaler.external_metrics.certificates.reading import dns_names, due_s, end_s, is_valid, may_sign_for
from autoscaler.external_metrics.certificates.serving import MOST_KEPT, known_to, usable
from autoscaler.external_metrics.certificates.steps import (
    Announce,
    Begin,
    Next,
    Renew,
    Restart,
    Restore,
    Retire,
    Switch,
    Tell,
    Wait,
)
from autoscaler.external_metrics.certificates.stored import Generation, Stored

_EXCHANGED: Final = "the Secret was exchanged for one whose authority clients don't know"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one replica knows.

    stored: of the Secret; None: there is none. remembered: the last one that was whole. told_s: for how long this process itself has seen
    without a break, by a clock that never steps, that clients know what `stored` lists. now_s: by the API server's clock.
    """

    stored: Stored | None
    remembered: Stored | None
    clients: Clients
    told_s: float
    now_s: float
    asked: Asked = Asked.NOTHING


def next_step(seen: Seen, plan: Plan) -> Next:
    """What is to be done now. The order is that of what hurts most: nothing to serve, clients that don't trust it, all else."""
    stored = usable(seen.stored, seen.clients, seen.now_s)
    if stored is None or stored.is_empty:
        return _from_nothing(seen, "there is no Secret" if seen.stored is None else _lost(seen.stored))
    if restored := _restored(seen, stored):
        return restored
    clients, current, coming = seen.clients, stored.current, stored.coming
    if clients.whose is Whose.OURS and not clients.is_told(stored.bundle):
        return Tell(why=_difference(clients, stored))
    if current is not None:
        if current.key_pem is not None and (why := _leaves_due(current, seen, plan)):
            return Renew(why=why)
        if coming is None and (why := _authority_due(current, seen, plan)):
            return Announce(why=why)
    if stored.faults and stored.is_whole:
        # Nothing that is needed is lost; but others may read it, too.
        return Restore(stored=stored, why=_lost(stored))
    if coming is not None:
        return _announced(stored, seen, plan)
    if len(stored.bundle) > 1:
        return _overlapping(stored, seen, plan)
    assert current is not None
    return Wait(for_s=_until_due_s(current, seen, plan), why=clients.why)


# ------------------------------------------------------------ the parts


def _lost(stored: Stored) -> str:
    words = "; ".join(stored.faults) or ("it holds nothing" if not stored.bundle else "its authority has expired")
    return f"the Secret can't be used as it is: {words}"


def _from_nothing(seen: Seen, why: str) -> Next:
    back = usable(seen.remembered, None, seen.now_s)
    if back is not None and not back.is_empty and _is_of_use(back, seen):
        return _restore(back, seen, why)
    listed = () if seen.stored is None else seen.stored.bundle
    valid = (one for one in listed if is_valid(one, seen.now_s))
    return Begin(kept=tuple(dict.fromkeys((*known_to(seen.clients, seen.now_s), *valid)))[:MOST_KEPT], why=why)


def _restore(back: Stored, seen: Seen, why: str) -> Restore:
    # Others may have gone on since then, and serve by what isn't remembered here.
    more = tuple(one for one in known_to(seen.clients, seen.now_s) if one not in back.bundle)[:MOST_KEPT]
    return Restore(stored=replace(back, bundle=(*back.bundle, *more), since_s=seen.now_s) if more else back, why=why)


def _is_of_use(back: Stored, seen: Seen) -> bool:
    """Whether clients still trust what is remembered: a process that was cut off may remember what all others have long left."""
    known = known_to(seen.clients, seen.now_s)
    return not known or not set(known).isdisjoint(back.bundle)


def _restored(seen: Seen, stored: Stored) -> Restore | None:
    """Where a part of the Secret is lost that is remembered."""
    back, current = usable(seen.remembered, None, seen.now_s), stored.current
    if back is None or back.current is None or not back.current.is_whole or not _is_of_use(back, seen):
        return None
    if current is None and stored.faults and stored.coming == back.coming:
        return _restore(back, seen, _lost(stored))
    if current is not None and not current.is_whole and current.ca == back.current.ca:
        return _restore(back, seen, _lost(stored))
    known = seen.clients.trusted if seen.clients.whose is Whose.OURS else frozenset()
    if (
        current is not None
        and current.is_whole
        and current.ca not in known
        and back.current.ca in known
        and back.current != current
    ):
        # Somebody put another, whole one there (a backup, say): clients are to learn of it before it is served.
        exchanged = Stored(current=back.current, coming=current, bundle=stored.bundle, since_s=seen.now_s, why=_EXCHANGED)
        return Restore(stored=exchanged, why=_EXCHANGED)
    return None


def _difference(clients: Clients, stored: Stored) -> str:
    if not clients.verifies:
        return "the APIService says insecureSkipTLSVerify"
    missing, extra = set(stored.bundle) - clients.trusted, clients.trusted - set(stored.bundle)
    return f"the caBundle lacks {len(missing)} and holds {len(extra)} other than the Secret's {len(stored.bundle)} authorities"


def _leaves_due(current: Generation, seen: Seen, plan: Plan) -> str:
    if seen.asked is Asked.LEAVES:
        return "asked for"
    for kind, pair in (("serving", current.serving), ("client", current.client)):
        if pair is None:
            return f"there is no {kind} certificate"
        if why := _replaceable(pair.leaf, seen.now_s, plan):
            return f"the {kind} certificate {why}"
    assert current.serving is not None
    lacking = set(plan.names) - dns_names(current.serving.leaf)
    if lacking and may_sign_for(current.ca, plan.names):
        return f"the serving certificate isn't for {', '.join(sorted(lacking))}"
    return ""


def _replaceable(certificate: x509.Certificate, now_s: float, plan: Plan) -> str:
    if now_s >= end_s(certificate):
        return "has expired"
    if now_s < certificate.not_valid_before_utc.timestamp():
        return "isn't valid yet"
    return "is due" if now_s >= due_s(certificate, plan.lifetimes) else ""


def _authority_due(current: Generation, seen: Seen, plan: Plan) -> str:
    if seen.asked is Asked.ALL:
        return "asked for"
    if current.key_pem is None:
        return "the authority's key is lost"
    if why := _replaceable(current.ca, seen.now_s, plan):
        return f"the authority {why}"
    return "" if may_sign_for(current.ca, plan.names) else f"the authority may not sign for {', '.join(plan.names)}"


def _announced(stored: Stored, seen: Seen, plan: Plan) -> Next:
    if not seen.clients.knows(stored.bundle):
        return Wait(for_s=math.inf, why=f"the new authority isn't in the caBundle yet: {seen.clients.why}")
    if seen.told_s < plan.settle_s:
        return Wait(for_s=plan.settle_s - seen.told_s, why=seen.clients.why)
    return Switch(why=stored.why)


def _overlapping(stored: Stored, seen: Seen, plan: Plan) -> Next:
    since_s = stored.since_s
    if since_s is None or since_s > seen.now_s + plan.lifetimes.backdated_s:
        return Restart(why="since when isn't told" if since_s is None else "since when lies in the future")
    # Also by the clock that never steps: two replicas whose clocks differ must not shorten it to nothing.
    left_s = max(since_s + plan.overlap_s - seen.now_s, min(plan.settle_s, plan.overlap_s) - seen.told_s)
    if left_s > 0:
        due_after_s = _until_due_s(stored.current, seen, plan) if stored.current is not None else math.inf
        return Wait(for_s=min(left_s, due_after_s), why=seen.clients.why)
    return Retire(why=stored.why)


def _until_due_s(current: Generation, seen: Seen, plan: Plan) -> float:
    leaves = [pair.leaf for pair in (current.serving, current.client) if pair is not None]
    return max(0.0, min(due_s(one, plan.lifetimes) for one in (current.ca, *leaves)) - seen.now_s)
