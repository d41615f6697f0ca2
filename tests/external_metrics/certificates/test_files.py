"""Certificates given as files, which change as those of a mounted Secret do, and as those that people copy."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import pytest

from autoscaler.clock import ManualClock, SystemClock
from autoscaler.errors import OutsideError
from autoscaler.external_metrics.certificates import CertificateFiles, Lifetimes, Pair, service_names
from autoscaler.external_metrics.certificates.authority import Authority, pem_of
from autoscaler.ports import Clock

NAMES = service_names("external-metrics", "metrics")
DAY_S = 86400.0


class Mounted:
    """A folder as the kubelet keeps it: names that point into ``..data``, which points to a folder that is exchanged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0

    def write(self, contents: dict[str, bytes]) -> None:
        self._number += 1
        new = self.folder / f"..{self._number}"
        new.mkdir()
        for name, content in contents.items():
            (new / name).write_bytes(content)
        link = self.folder / "..data_tmp"
        link.symlink_to(new.name)
        os.replace(link, self.folder / "..data")
        for name in contents:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")


def made(now_s: float | None = None) -> tuple[Pair, bytes]:
    now_s = time.time() if now_s is None else now_s
    authority = Authority.new(NAMES, Lifetimes(), now_s)
    return authority.serving(NAMES, Lifetimes(), now_s), pem_of(authority.certificate)


def contents(pair: Pair, ca: bytes) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate_pem + ca, "tls.key": pair.key_pem, "ca.crt": ca}


def reader(folder: Path, used: list[tuple[bytes, bytes]], clock: Clock | None = None) -> CertificateFiles:
    return CertificateFiles(
        folder / "tls.crt",
        folder / "tls.key",
        use=lambda certificate, key: used.append((certificate, key)),
        clock=clock or SystemClock(),
        poll_s=0.02,
    )


async def test_a_mounted_secret_that_is_exchanged(tmp_path: Path) -> None:
    mounted, used = Mounted(tmp_path), list[tuple[bytes, bytes]]()
    first, second = made(), made()
    mounted.write(contents(*first))
    files = reader(tmp_path, used)
    task = asyncio.create_task(files.run())
    try:
        await asyncio.wait_for(files.ready.wait(), 5)
        assert used == [(first[0].certificate_pem + first[1], first[0].key_pem)]  # with its chain
        mounted.write(contents(*second))
        async with asyncio.timeout(5):
            while len(used) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert files.serving_pair is not None
        assert files.serving_pair.leaf == second[0].leaf
        mounted.write(contents(*second))
        await asyncio.sleep(0.1)
        assert len(used) == 2  # the same once more
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_pair_that_is_half_written_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used: list[tuple[bytes, bytes]] = []
    first, second = made(), made()
    for name, content in contents(*first).items():
        (tmp_path / name).write_bytes(content)
    files = reader(tmp_path, used)
    await files.look()
    assert len(used) == 1
    (tmp_path / "tls.crt").write_bytes(second[0].certificate_pem)
    with caplog.at_level(logging.WARNING):
        await files.look()
        await files.look()
    assert len(used) == 1
    assert files.figures.fault == "files"
    assert len(caplog.records) == 1
    assert "tls.key are not used: the private key isn't the certificate's" in caplog.text
    (tmp_path / "tls.key").write_bytes(second[0].key_pem[:60])
    await files.look()
    assert len(used) == 1
    (tmp_path / "tls.key").write_bytes(second[0].key_pem)
    await files.look()
    assert len(used) == 2
    assert files.figures.fault == ""


async def test_files_that_come_later(tmp_path: Path) -> None:
    used: list[tuple[bytes, bytes]] = []
    files = reader(tmp_path, used)
    await files.look()
    assert not files.ready.is_set()
    assert "No such file" in files.figures.last_fault
    for name, content in contents(*made()).items():
        (tmp_path / name).write_bytes(content)
    await files.look()
    assert files.ready.is_set()
    (tmp_path / "tls.crt").unlink()
    await files.look()
    assert len(used) == 1
    assert files.figures.fault == "files"


async def test_an_expired_certificate_is_served_for_want_of_another_and_takes_no_place_of_a_valid_one(tmp_path: Path) -> None:
    used: list[tuple[bytes, bytes]] = []
    clock = ManualClock(1.8e9)
    old, valid = made(1.8e9 - 100 * DAY_S), made(1.8e9)
    for name, content in contents(*old).items():
        (tmp_path / name).write_bytes(content)
    files = reader(tmp_path, used, clock)
    await files.look()
    assert len(used) == 1
    assert "has expired and is served all the same" in files.figures.last_fault
    for name, content in contents(*valid).items():
        (tmp_path / name).write_bytes(content)
    await files.look()
    assert len(used) == 2
    assert files.figures.fault == ""
    for name, content in contents(*old).items():
        (tmp_path / name).write_bytes(content)
    await files.look()
    assert len(used) == 2
    assert "the one before it goes on being served" in files.figures.last_fault
    expiry = next(family for family in files.families() if family.name == "certificate_expiry_seconds")
    assert expiry.samples[(("kind", "serving"),)] == 90 * DAY_S
    assert expiry.samples.keys() == {(("kind", "serving"),)}


async def test_a_client_pair_and_what_is_no_certificate(tmp_path: Path) -> None:
    now_s = time.time()
    authority = Authority.new(NAMES, Lifetimes(), now_s)
    serving, client = authority.serving(NAMES, Lifetimes(), now_s), authority.client(Lifetimes(), now_s)
    for name, pair in (("tls", serving), ("client", client)):
        (tmp_path / f"{name}.crt").write_bytes(pair.certificate_pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)
    used: list[tuple[bytes, bytes]] = []
    files = CertificateFiles(
        tmp_path / "tls.crt",
        tmp_path / "tls.key",
        client_files=(tmp_path / "client.crt", tmp_path / "client.key"),
        use=lambda certificate, key: used.append((certificate, key)),
        clock=SystemClock(),
    )
    await files.look()
    assert files.client_pair == client
    (tmp_path / "tls.crt").write_bytes(b"x" * (2**20 + 1))
    await files.look()
    assert len(used) == 1
    assert "no certificate" in files.figures.last_fault


async def test_a_pair_that_the_server_refuses_is_said_and_read_again(tmp_path: Path) -> None:
    refuse = [True]
    used: list[bytes] = []

    def use(certificate: bytes, key: bytes) -> None:
        if refuse.pop():
            raise OutsideError("the key is too small")
        used.append(certificate)

    for name, content in contents(*made()).items():
        (tmp_path / name).write_bytes(content)
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key", use=use, clock=SystemClock())
    await files.look()
    assert files.figures.last_fault == "the key is too small"
    assert not files.ready.is_set()
    refuse.append(False)
    await files.look()
    assert len(used) == 1
    assert files.ready.is_set()
