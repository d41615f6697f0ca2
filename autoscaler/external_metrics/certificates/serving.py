"""What of the Secret can be gone on with, and which certificate is served: by the Secret, and by what clients trust."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography import x509

from autoscaler.external_metrics.certificates.authority import Pair
from autoscaler.external_metrics.certificates.clients import Clients, Whose
from autoscaler.external_metrics.certificates.reading import end_s, is_trusted, is_valid
from autoscaler.external_metrics.certificates.stored import Generation, Stored

MOST_KEPT: Final = 8
"""Authorities of before that stay trusted where all else was lost. More than one or two of them nobody has made by a rotation."""


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
    bundle = tuple(dict.fromkeys((*found.bundle, *known_to(clients, now_s))))[:MOST_KEPT]
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


def known_to(clients: Clients, now_s: float) -> list[x509.Certificate]:
    """What clients trust by a caBundle that is ours to write, the longest-lived first. What others write they look after themselves."""
    return sorted(
        (one for one in clients.trusted if clients.whose is Whose.OURS and is_valid(one, now_s)), key=end_s, reverse=True
    )
