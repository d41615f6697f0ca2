"""What a server must be shown: bearer token, user name and password, client certificate, own CA, extra headers.

Each secret comes from a file or from a key of a Secret and is read again when it changes: files when their modification time, size or
inode does (a mounted Secret is swapped by renaming, so the inode tells), Secrets at most every `SECRET_TTL_S` seconds and only taken over
when their version differs. Nothing here shows a secret: values sit in `Hidden`, whose repr and str say so, and errors name the place only.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from autoscaler.adapters.prometheus.problems import CredentialsUnusable
from autoscaler.adapters.prometheus.tls import tls_context
from autoscaler.errors import AutoscalerError
from autoscaler.hidden import Hidden
from autoscaler.ports import Clock, SecretReader

SECRET_TTL_S: Final = 60.0
SECRET_READ_S: Final = 5.0
MAX_FILE_BYTES: Final = 1 << 20
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Plain:
    """A value given in the open, such as a tenant id; not shown either, since people put tokens anywhere."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FromFile:
    """The content of a file; one newline at its end is not part of it."""

    path: str


@dataclass(frozen=True, slots=True)
class FromSecret:
    """One key of a Secret."""

    namespace: str
    name: str
    key: str


Place: TypeAlias = Plain | FromFile | FromSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialPlaces:
    """Where each credential lies. username goes with password, cert with key. ca: trusted instead of the system's.
    server_name: the name to expect in the server's certificate where it isn't the URL's."""

    bearer_token: Place | None = None
    username: str | None = None
    password: Place | None = None
    ca: Place | None = None
    cert: Place | None = None
    key: Place | None = None
    server_name: str | None = None
    headers: Mapping[str, Place] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """What doesn't fit together, in words."""
        found = []
        if self.bearer_token and self.password:
            found.append("a bearer token and basic authentication exclude each other")
        if (self.username is None) != (self.password is None):
            found.append("basic authentication needs a user name and a password")
        if (self.cert is None) != (self.key is None):
            found.append("mutual TLS needs a certificate and a key")
        for name in self.headers:
            if not _HEADER_NAME.fullmatch(name):
                found.append(f"'{name[:64]}' is no header name")
            elif name.lower() in (
                "authorization",
                "host",
                "content-length",
                "content-type",
                "transfer-encoding",
                "accept-encoding",
            ):
                found.append(f"the header {name} is set by the client itself")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What goes with one request. tls: False never appears; True means the system's defaults."""

    headers: Hidden[Mapping[str, str]]
    tls: ssl.SSLContext | bool
    server_name: str | None

    def revealed_headers(self) -> Mapping[str, str]:
        return self.headers.reveal()


class Credentials:
    """The credentials for one server, as they are now.

    One object a server; cheap where nothing changed: a stat per file, nothing for Secrets within their TTL. A new SSL context is made only
    when the bytes behind it changed; the session stays, since every request is handed the context of the moment.
    """

    def __init__(self, places: CredentialPlaces, clock: Clock, secrets: SecretReader | None = None) -> None:
        faults = places.faults()
        if faults:
            raise CredentialsUnusable("; ".join(faults))
        self._places = places
        self._clock = clock
        self._secrets = secrets
        self._read: dict[Place, _Read] = {}
        self._tls_of: Hidden[tuple[bytes | None, bytes | None, bytes | None]] | None = None
        self._tls: ssl.SSLContext | bool = True
        self._one_at_a_time = asyncio.Lock()

    def __repr__(self) -> str:
        return "Credentials(<hidden>)"

    async def access(self, timeout_s: float = SECRET_READ_S) -> Access:
        """Headers and TLS for the next request. Raises CredentialsUnusable; the text names the place, never the content."""
        async with self._one_at_a_time:
            places, headers = self._places, {}
            if places.bearer_token:
                headers["Authorization"] = "Bearer " + await self._line(places.bearer_token, timeout_s)
            if places.username is not None and places.password:
                pair = f"{places.username}:{await self._line(places.password, timeout_s)}"
                headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            for name, place in places.headers.items():
                headers[name] = await self._line(place, timeout_s)
            tls = await self._tls_now(timeout_s)
            return Access(headers=Hidden(headers), tls=tls, server_name=places.server_name)

    async def _tls_now(self, timeout_s: float) -> ssl.SSLContext | bool:
        places = self._places
        if not (places.ca or places.cert):
            return True
        parts = (
            await self._bytes(places.ca, timeout_s) if places.ca else None,
            await self._bytes(places.cert, timeout_s) if places.cert else None,
            await self._bytes(places.key, timeout_s) if places.key else None,
        )
        if self._tls_of is None or self._tls_of.reveal() != parts:
            self._tls = tls_context(*parts)
            self._tls_of = Hidden(parts)
        return self._tls

    async def _line(self, place: Place, timeout_s: float) -> str:
        """A value for a header: one line of printable text."""
        try:
            text = (await self._bytes(place, timeout_s)).decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise CredentialsUnusable(f"{_where(place)} is not UTF-8 text") from None
        if not text or any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in text):
            raise CredentialsUnusable(f"{_where(place)} is empty or more than one line; a header takes exactly one line")
        return text

    async def _bytes(self, place: Place, timeout_s: float) -> bytes:
        match place:
            case Plain(value):
                return value.encode()
            case FromFile(path):
                return self._from_file(place, path)
            case FromSecret():
                return await self._from_secret(place, timeout_s)

    def _from_file(self, place: Place, path: str) -> bytes:
        before = self._read.get(place)
        try:
            stat = os.stat(path)
            version = f"{stat.st_mtime_ns} {stat.st_size} {stat.st_ino} {stat.st_dev}"
            if before is not None and before.version == version:
                return before.value.reveal()
            with open(path, "rb") as file:
                value = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise CredentialsUnusable(f"{_where(place)} can't be read: {error.strerror}") from None
        if len(value) > MAX_FILE_BYTES:
            raise CredentialsUnusable(f"{_where(place)} is larger than {MAX_FILE_BYTES} bytes")
        self._read[place] = _Read(Hidden(value), version, 0.0)
        return value

    async def _from_secret(self, place: FromSecret, timeout_s: float) -> bytes:
        before, now_s = self._read.get(place), self._clock.monotonic_s()
        if before is not None and now_s - before.at_s < SECRET_TTL_S:
            return before.value.reveal()
        if self._secrets is None:
            raise CredentialsUnusable(f"{_where(place)} can't be read: this process reads no Secrets")
        try:
            value, version = await self._secrets.read_secret(
                place.namespace, place.name, place.key, timeout_s=min(timeout_s, SECRET_READ_S)
            )
        except AutoscalerError:
            # The API server being away for a while must not blind us: what was read before still counts; a Secret that was changed
            # meanwhile ends in the server's refusal, which is visible.
            if before is not None:
                return before.value.reveal()
            raise CredentialsUnusable(f"{_where(place)} is missing or can't be read") from None
        if before is not None and before.version == version:
            self._read[place] = _Read(before.value, version, now_s)
            return before.value.reveal()
        self._read[place] = _Read(Hidden(value), version, now_s)
        return value


@dataclass(frozen=True, slots=True)
class _Read:
    value: Hidden[bytes]
    version: str
    at_s: float


def _where(place: Place) -> str:
    match place:
        case FromFile(path):
            return f"the file {path}"
        case FromSecret(namespace, name, key):
            return f"key {key} of the Secret {namespace}/{name}"
        case _:
            return "a header's value"
