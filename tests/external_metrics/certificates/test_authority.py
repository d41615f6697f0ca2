"""What our authority signs, judged by OpenSSL at its strictest. Go judges in the tests through the aggregator."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from autoscaler.external_metrics.certificates.authority import CLIENT_NAME, Authority, Lifetimes, Pair, pem_of, service_names
from autoscaler.external_metrics.certificates.reading import (
    certificates_in,
    dns_names,
    due_s,
    end_s,
    is_issued_by,
    is_trusted,
    is_valid,
    may_sign_for,
    pair_of,
)
from tests.realparts.ports import LOOPBACK

NAMES = service_names("external-metrics", "metrics")
DAY_S = 86400.0


def context_of(pair: Pair, folder: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose)
    file = folder / f"{purpose.name}.pem"
    file.write_bytes(pair.key_pem + pair.certificate_pem)
    context.load_cert_chain(file)
    return context


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict[str, object]:
    """What the server sees of the client's certificate. Raises what the client or the server raises."""
    seen: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("peercert") or {})
        writer.write(b"x")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, LOOPBACK, 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=client, server_hostname=name)
        assert await reader.read() == b"x"
        writer.close()
        return await seen


def trusting(authority: Authority, purpose: ssl.Purpose, pair: Pair | None = None, folder: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose) if pair is None or folder is None else context_of(pair, folder, purpose)
    context.load_verify_locations(cadata=pem_of(authority.certificate).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", NAMES)
async def test_every_name_of_the_service_verifies_strictly(name: str, tmp_path: Path) -> None:
    authority = Authority.new(NAMES, Lifetimes(), time.time())
    server = context_of(authority.serving(NAMES, Lifetimes(), time.time()), tmp_path, ssl.Purpose.CLIENT_AUTH)
    await handshake(server, trusting(authority, ssl.Purpose.SERVER_AUTH), name)


async def test_another_name_does_not_verify(tmp_path: Path) -> None:
    authority = Authority.new(NAMES, Lifetimes(), time.time())
    server = context_of(authority.serving(NAMES, Lifetimes(), time.time()), tmp_path, ssl.Purpose.CLIENT_AUTH)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await handshake(server, trusting(authority, ssl.Purpose.SERVER_AUTH), "external-metrics.other.svc")


async def test_the_authority_is_good_for_nobody_else(tmp_path: Path) -> None:
    authority = Authority.new(NAMES, Lifetimes(), time.time())
    foreign = authority.serving(["kubernetes.default.svc"], Lifetimes(), time.time())
    server = context_of(foreign, tmp_path, ssl.Purpose.CLIENT_AUTH)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        await handshake(server, trusting(authority, ssl.Purpose.SERVER_AUTH), "kubernetes.default.svc")


async def test_the_client_certificate_names_the_front_proxy(tmp_path: Path) -> None:
    lifetimes, now_s = Lifetimes(), time.time()
    authority = Authority.new(NAMES, lifetimes, now_s)
    serving, client = authority.serving(NAMES, lifetimes, now_s), authority.client(lifetimes, now_s)
    server = trusting(authority, ssl.Purpose.CLIENT_AUTH, serving, tmp_path)
    server.verify_mode = ssl.CERT_REQUIRED
    seen = await handshake(server, trusting(authority, ssl.Purpose.SERVER_AUTH, client, tmp_path), NAMES[0])
    assert seen["subject"] == ((("commonName", CLIENT_NAME),),)


@pytest.mark.parametrize(
    ("kind", "usage"), [("serving", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)]
)
def test_a_leaf_is_for_one_use(kind: str, usage: x509.ObjectIdentifier) -> None:
    authority = Authority.new(NAMES, Lifetimes(), 1e9)
    pair = authority.serving(NAMES, Lifetimes(), 1e9) if kind == "serving" else authority.client(Lifetimes(), 1e9)
    assert list(pair.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
    assert is_issued_by(pair.leaf, authority.certificate)
    assert pair_of(pair.certificate_pem, pair.key_pem) == pair
    assert not may_sign_for(pair.leaf, NAMES)


def test_names_longer_than_a_common_name_may_be() -> None:
    names = service_names("s" * 63, "n" * 63)
    authority = Authority.new(names, Lifetimes(), 1e9)
    assert dns_names(authority.serving(names, Lifetimes(), 1e9).leaf) == set(names)


def test_two_authorities_have_two_names() -> None:
    one, other = (Authority.new(NAMES, Lifetimes(), 1e9).certificate for _ in range(2))
    assert one.subject != other.subject


def test_times() -> None:
    lifetimes, now_s = Lifetimes(), 1.8e9
    authority = Authority.new(NAMES, lifetimes, now_s)
    leaf = authority.serving(NAMES, lifetimes, now_s).leaf
    assert end_s(leaf) == now_s + 90 * DAY_S
    assert due_s(leaf, lifetimes) == now_s + 60 * DAY_S
    assert due_s(authority.certificate, lifetimes) == now_s + 2 * 365 * DAY_S
    assert is_valid(leaf, now_s - 3600)
    assert not is_valid(leaf, now_s - 3601)
    assert not is_valid(leaf, now_s + 90 * DAY_S)


def test_a_leaf_ends_with_its_authority() -> None:
    lifetimes, now_s = Lifetimes(), 1.8e9
    authority = Authority.new(NAMES, lifetimes, now_s)
    late_s = end_s(authority.certificate) - 10 * DAY_S
    assert end_s(authority.serving(NAMES, lifetimes, late_s).leaf) == end_s(authority.certificate)


def test_a_lifetime_shorter_than_the_backdating_has_a_middle() -> None:
    lifetimes = Lifetimes(ca_s=60.0, leaf_s=6.0)
    leaf = Authority.new(NAMES, lifetimes, 1.8e9).serving(NAMES, lifetimes, 1.8e9).leaf
    assert due_s(leaf, lifetimes) == 1.8e9 + 4.0


def test_what_an_authority_may_sign_for() -> None:
    ca = Authority.new(NAMES, Lifetimes(), 1e9).certificate
    assert may_sign_for(ca, NAMES)
    assert not may_sign_for(ca, [*NAMES, "other.metrics.svc"])
    assert not may_sign_for(ca, ["not-external-metrics"])


def test_trust_is_by_signature_and_time() -> None:
    lifetimes, now_s = Lifetimes(), 1.8e9
    one, other = (Authority.new(NAMES, lifetimes, now_s) for _ in range(2))
    leaf = one.serving(NAMES, lifetimes, now_s).leaf
    assert is_trusted(leaf, [other.certificate, one.certificate], now_s)
    assert not is_trusted(leaf, [other.certificate], now_s)
    assert not is_trusted(leaf, [one.certificate], now_s + 4 * 365 * DAY_S)
    assert is_trusted(leaf, [leaf], now_s)


def test_a_bundle_with_junk_in_it() -> None:
    one, other = (Authority.new(NAMES, Lifetimes(), 1e9).certificate for _ in range(2))
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    text = b"# old\n" + pem_of(one) + broken + b"\x00\xff" + pem_of(other, one) + b"-----BEGIN CERTIFICATE-----\nMII"
    assert certificates_in(text) == [one, other]


def test_pairs_that_are_none() -> None:
    authority = Authority.new(NAMES, Lifetimes(), 1e9)
    one, other = (authority.serving(NAMES, Lifetimes(), 1e9) for _ in range(2))
    with pytest.raises(ValueError, match="isn't the certificate's"):
        pair_of(one.certificate_pem, other.key_pem)
    with pytest.raises(ValueError, match="certificate can't be read"):
        pair_of(b"", one.key_pem)
    with pytest.raises(ValueError, match="private key can't be read"):
        pair_of(one.certificate_pem, one.key_pem[:100])
    with pytest.raises(ValueError, match="isn't the one of its certificate"):
        Authority(authority.certificate, one.key_pem)
    assert b"PRIVATE" not in repr(one).encode()


@pytest.mark.parametrize(
    "wrong", [{"ca_s": 1.0, "leaf_s": 2.0}, {"leaf_s": 0.0}, {"renew_ratio": 1.0}, {"renew_ratio": 0.0}, {"backdated_s": -1.0}]
)
def test_lifetimes_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Lifetimes(**wrong)
