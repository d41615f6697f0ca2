"""How the user is carried on to another API server: the two ways that those built on k8s.io/apiserver know.

Only what was verified here is carried; nothing of the headers that the caller sent.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.identity import AUTHENTICATED, User

Headers: TypeAlias = list[tuple[str, str]]

SERVICE_ACCOUNT: Final = "system:serviceaccount:"
SERVICE_ACCOUNTS: Final = "system:serviceaccounts"
_TOKEN: Final = frozenset(b"!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""What a header's name may hold (RFC 9110, 5.6.2), but for '%', which begins an escape."""


def front_proxy_headers(user: User) -> Headers:
    """X-Remote-… as client-go writes them (transport/round_trippers.go, SetAuthProxyHeaders). Raises RefusedError (403) for what no header
    can hold."""
    headers = [("X-Remote-User", user.name)]
    if user.uid:
        headers.append(("X-Remote-Uid", user.uid))
    headers += [("X-Remote-Group", group) for group in user.groups]
    headers += [("X-Remote-Extra-" + escaped(key), value) for key, values in user.extra for value in values]
    return _held(headers)


def impersonation_headers(user: User) -> Headers:
    """Impersonate-… (apiserver, pkg/endpoints/filters/impersonation). Raises RefusedError (403) for what no header can hold.

    Of a service account its name alone: its groups follow from that on the other side, and constrained impersonation (Kubernetes 1.36),
    which needs no right to act as it anywhere else, takes no more. system:authenticated is added there, too, and left out here, so that
    nobody has to be allowed to impersonate that group.
    """
    headers = [("Impersonate-User", user.name)]
    if not is_plain_service_account(user):
        if user.uid:
            headers.append(("Impersonate-Uid", user.uid))
        headers += [("Impersonate-Group", group) for group in user.groups if group != AUTHENTICATED]
        headers += [("Impersonate-Extra-" + escaped(key), value) for key, values in user.extra for value in values]
    return _held(headers)


def is_plain_service_account(user: User) -> bool:
    """Whether it is a service account with the groups that every one has, and no other."""
    if not user.name.startswith(SERVICE_ACCOUNT):
        return False
    namespace, _, name = user.name.removeprefix(SERVICE_ACCOUNT).partition(":")
    implied = {SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}", AUTHENTICATED}
    return bool(namespace and name) and ":" not in name and set(user.groups) <= implied


def escaped(key: str) -> str:
    """An extra's key as a part of a header's name: every byte that may not stand there as %XX."""
    return "".join(chr(byte) if byte in _TOKEN else f"%{byte:02X}" for byte in key.encode("utf-8", "surrogateescape"))


def _held(headers: Headers) -> Headers:
    for name, value in headers:
        # White space at an end is taken off by whoever reads a header: "admin " would arrive as "admin".
        if value != value.strip(" \t") or any(
            ord(sign) < 0x20 or ord(sign) == 0x7F or 0xD800 <= ord(sign) < 0xE000 for sign in value
        ):
            raise RefusedError(
                403,
                f"{name.partition('-Extra-')[0]}: {value!r} can't be told to another adapter: no header can hold it unchanged",
            )
    # An empty one says nothing, and Kubernetes' reader leaves it out.
    return [(name, value) for name, value in headers if value]
