"""Certificates that somebody else keeps, given as files: cert-manager's, or any Secret that is mounted.

A mounted Secret changes as a whole, by a symlink that is exchanged (Kubernetes, pkg/volume/util/atomic_writer.go), but its files are read one
after the other, and files that people copy are written in pieces: a certificate is used when its key fits, and not before.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from autoscaler.adapters.telemetry.families import Family
from autoscaler.errors import OutsideError
from autoscaler.external_metrics.certificates.authority import Pair
from autoscaler.external_metrics.certificates.figures import Figures
from autoscaler.external_metrics.certificates.reading import end_s, pair_of
from autoscaler.ports import Clock

log = logging.getLogger(__name__)

POLL_S = 5.0
_LARGEST_BYTES = 2**20


class CertificateFiles:
    """`run()` as a task; `use` is given the certificate (as it is in the file, with whatever chain) and its key whenever they changed. It may
    raise OutsideError where it can't.

    ready, client_pair, families: as those of the keeper. client_files: certificate and key towards upstream adapters, if any. What
    can't be used is said, and what is in hand goes on being served.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        use: Callable[[bytes, bytes], None],
        clock: Clock,
        client_files: tuple[Path, Path] | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self.ready = asyncio.Event()
        self.client_pair: Pair | None = None
        self.serving_pair: Pair | None = None
        self.figures = Figures()
        self._serving_files = (certificate, key)
        self._client_files = client_files
        self._use = use
        self._clock = clock
        self._poll_s = poll_s
        self._seen = b""

    def families(self) -> Iterable[Family]:
        """Own metrics."""
        return self.figures.families(serving=self.serving_pair, client=self.client_pair, now_s=self._clock.now_s())

    async def run(self) -> None:
        """Never returns; cancel it."""
        while True:
            await self.look()
            await asyncio.sleep(self._poll_s)

    async def look(self) -> None:
        """Reads the files once and takes in what changed. Never raises for a fault of theirs."""
        try:
            # In a thread: a file system over the network may take its time.
            contents = await asyncio.to_thread(self._read)
            digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in contents)).digest()
            if digest != self._seen:
                self._take(*contents)
                self._seen = digest
        except (OSError, ValueError, OutsideError) as fault:
            self._failed(str(fault))
            return
        self.figures.fault = ""
        pair, now_s = self.serving_pair, self._clock.now_s()
        if pair is not None and now_s >= end_s(pair.leaf):
            self._failed(f"{self._serving_files[0]} has expired and is served all the same, for want of another")

    def _read(self) -> tuple[bytes, ...]:
        return tuple(_content(path) for path in (*self._serving_files, *(self._client_files or ())))

    def _take(self, certificate: bytes, key: bytes, *of_client: bytes) -> None:
        pair = _named(self._serving_files, certificate, key)
        client = None if self._client_files is None else _named(self._client_files, *of_client)
        now_s, held = self._clock.now_s(), self.serving_pair
        if held is not None and now_s >= end_s(pair.leaf) and now_s < end_s(held.leaf):
            raise ValueError(f"{self._serving_files[0]} has expired; the one before it goes on being served")
        self.client_pair = client
        if pair != held:
            self._use(pair.certificate_pem, pair.key_pem)
            self.serving_pair = pair
            self.figures.writes["Taken"] += 1
            log.info("certificates: serving %r of %s", pair, self._serving_files[0])
        self.ready.set()

    def _failed(self, words: str) -> None:
        if self.figures.fail("files", words, self._clock.now_s()):
            log.warning("certificates: %s", words)


def _named(files: tuple[Path, Path], certificate: bytes, key: bytes) -> Pair:
    try:
        return pair_of(certificate, key)
    except ValueError as fault:
        raise ValueError(f"{files[0]} and {files[1]} are not used: {fault}") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise ValueError(f"{path} is larger than {_LARGEST_BYTES} bytes: no certificate")
    return content
