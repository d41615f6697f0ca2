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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from cryptography import x509

from autoscaler.external_metrics.certificates.authority import Lifetimes, Pair
from autoscaler.external_metrics.certificates.clients import Clients, Whose
from autoscaler.external_metrics.certificates.reading import dns_names, due_s, end_s, is_trusted, is_valid, may_sign_for
from autoscaler.external_metrics.certificates.stored import Generation, Stored

MOST_KEPT: Final = 8
"""Authorities of before that stay trusted where all else was lost. More than one or two of them nobody has made by a rotation."""
_EXCHANGED: Final = "the Secret was exchanged for one whose authority clients don't know"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is wanted. names: the DNS names of the serving certificate. settle_s: from the caBundle's being written until every API server
    has taken it in. overlap_s: from the switch until every replica, also one that was cut off, serves the new certificate."""

    names: Sequence[str]
    lifetimes: Lifetimes
    settle_s: float = 60.0
    overlap_s: float = 86400.0


class Asked(Enum):
    """What an administrator asked for."""

    NOTHING = ""
    LEAVES = "leaf"
    ALL = "now"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do for `for_s` seconds, unless something changes. why: what hinders, in words; "" where all is well."""

    for_s: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Make everything anew. kept: authorities that clients go on trusting meanwhile, since others may serve by them; without any, nobody
    waits for anything, and the new authority is the current one at once."""

    kept: tuple[x509.Certificate, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Write back what is remembered: for clients nothing changes."""

    stored: Stored
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """New serving and client certificates of the current authority."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """A coming authority, and its certificates."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """The caBundle becomes what the Secret lists."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The coming authority becomes the current one."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The overlap counts from now: when it began isn't known, or lies in what by now is the future."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Only the current authority is left."""

    why: str


Next: TypeAlias = Wait | Begin | Restore | Renew | Announce | Tell | Switch | Restart | Retire


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


def usable(stored: Stored | None, clients: Clients | None, now_s: float) -> Stored | None:
    """What of `stored` can be gone on with. clients: None: not known.

    Without generations that serve nobody any more: of an authority that has expired, or that can neither sign nor serve. Where something was
    wrong with it, what it lists may be less than what others serve by: then what clients trust stays trusted for an overlap.
    """
    if stored is None:
        return None

    def is_dead(one: Generation | None) -> bool:
        return one is not None and (now_s >= end_s(one.ca) or (one.key_pem is None and one.serving is None))

    found = stored.without(current=is_dead(stored.current), coming=is_dead(stored.coming))
    if not found.faults or clients is None or found.is_empty:
        return found
    bundle = tuple(dict.fromkeys((*found.bundle, *_known(clients, now_s))))[:MOST_KEPT]
    return found if bundle == found.bundle else replace(found, bundle=bundle, since_s=now_s)


def pair_to_serve(stored: Stored | None, in_hand: Pair | None, clients: Clients | None, now_s: float) -> Pair | None:
    """Which certificate is served by who has `in_hand`; None: go on with that, if there is any.

    clients: None: not known. What clients trust is not let go for what they don't know yet, while it lasts.
    """
    if stored is None:
        return None
    current = stored.current.serving if stored.current is not None else None
    coming = stored.coming.serving if stored.coming is not None else None
    found = [pair for pair in (current, coming) if pair is not None]
    wanted = next((pair for pair in found if now_s < end_s(pair.leaf)), found[-1] if found else None)
    if in_hand is None or wanted is None or now_s >= end_s(in_hand.leaf):
        return wanted
    if clients is None:
        return None  # it works; and what was swapped in blindly might not
    if clients.reach_us and clients.verifies:
        trusted = is_trusted(wanted.leaf, clients.trusted, now_s)
        if not trusted and is_trusted(in_hand.leaf, clients.trusted, now_s):
            return None
    # Of a current generation that is lost only `coming` is left, which clients are still learning of.
    return None if current is None and is_trusted(in_hand.leaf, stored.bundle, now_s) else wanted


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
    return Begin(kept=tuple(dict.fromkeys((*_known(seen.clients, seen.now_s), *valid)))[:MOST_KEPT], why=why)


def _restore(back: Stored, seen: Seen, why: str) -> Restore:
    # Others may have gone on since then, and serve by what isn't remembered here.
    more = tuple(one for one in _known(seen.clients, seen.now_s) if one not in back.bundle)[:MOST_KEPT]
    return Restore(stored=replace(back, bundle=(*back.bundle, *more), since_s=seen.now_s) if more else back, why=why)


def _known(clients: Clients, now_s: float) -> list[x509.Certificate]:
    """What clients trust by a caBundle that is ours to write, the longest-lived first. What others write they look after themselves."""
    return sorted(
        (one for one in clients.trusted if clients.whose is Whose.OURS and is_valid(one, now_s)), key=end_s, reverse=True
    )


def _is_of_use(back: Stored, seen: Seen) -> bool:
    """Whether clients still trust what is remembered: a process that was cut off may remember what all others have long left."""
    known = _known(seen.clients, seen.now_s)
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
