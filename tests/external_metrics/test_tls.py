"""The serving side of TLS on real handshakes."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from autoscaler.errors import OutsideError
from autoscaler.external_metrics.peer import verified_chain
from autoscaler.external_metrics.tls import ServingTls
from tests.external_metrics.issued import SERVER, Issued, client_context, root, rsa_key

CA = root("server-ca")
ONE = CA.issue("one", usages=SERVER, hosts=["localhost"])
OTHER = CA.issue("other", usages=SERVER, hosts=["localhost"])
REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


class Connection:
    """A client's connection to a server that sends each line back, after the length of the chain that it verified."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def tls(self) -> ssl.SSLObject:
        found: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return found

    @property
    def served(self) -> str:
        """The common name of the certificate that the server showed."""
        der = self.tls.getpeercert(binary_form=True)
        assert der is not None
        return str(x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    async def echo(self, word: str) -> str:
        self.writer.write(word.encode() + b"\n")
        async with asyncio.timeout(5.0):
            return (await self.reader.readuntil(b"\n")).decode().strip()


@asynccontextmanager
async def served(tls: ServingTls) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chain = verified_chain(writer.get_extra_info("ssl_object"))
        while line := await reader.readline():
            writer.write(b"%d " % len(chain) + line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext | None = None, name: str | None = "localhost"
) -> AsyncIterator[Connection]:
    context = context or client_context(CA)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def refused(port: int, context: ssl.SSLContext) -> bool:
    try:
        async with connected(port, context) as connection:
            await connection.echo("hello")
    except REFUSED:
        return True
    return False


def only(version: ssl.TLSVersion, shown: Issued | None = None) -> ssl.SSLContext:
    context = client_context(CA, shown)
    context.minimum_version = context.maximum_version = version
    return context


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


async def test_before_the_first_pair_connections_are_refused_and_not_kept_waiting() -> None:
    tls = ServingTls()
    async with served(tls) as port:
        assert await refused(port, client_context(CA))
        tls.use(ONE.pem, ONE.key_pem)
        async with connected(port) as connection:
            assert await connection.echo("hello") == "0 hello"


@VERSIONS
async def test_a_new_pair_is_served_at_once_and_open_connections_go_on(version: ssl.TLSVersion) -> None:
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    async with served(tls) as port, connected(port, only(version)) as open_before:
        tls.use(OTHER.pem, OTHER.key_pem)
        async with connected(port, only(version)) as new:
            assert (open_before.served, new.served) == ("one", "other")
            assert await new.echo("new") == "0 new"
            assert await open_before.echo("old") == "0 old"


@VERSIONS
async def test_a_pair_of_another_type_of_key_replaces_the_one_before(version: ssl.TLSVersion) -> None:
    rsa = CA.issue("rsa", usages=SERVER, hosts=["localhost"], key=rsa_key())
    tls = ServingTls()
    tls.use(rsa.pem, rsa.key_pem)
    async with served(tls) as port:
        for pair, name in ((ONE, "one"), (rsa, "rsa"), (ONE, "one")):
            tls.use(pair.pem, pair.key_pem)
            async with connected(port, only(version)) as connection:
                assert connection.served == name


async def test_a_client_that_names_no_server_is_served() -> None:
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    context = client_context(CA)
    context.check_hostname = False
    async with served(tls) as port, connected(port, context, "127.0.0.1") as connection:
        assert await connection.echo("hello") == "0 hello"


def under_password(issued: Issued) -> bytes:
    return issued.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (OTHER.pem, ONE.key_pem),
        (OTHER.pem, b""),
        (b"", OTHER.key_pem),
        (b"garbage", OTHER.key_pem),
        (OTHER.pem, under_password(OTHER)),
        (OTHER.pem, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    ],
    ids=["another's key", "no key", "no certificate", "garbage", "key under a password", "broken key"],
)
async def test_a_pair_that_does_not_fit_is_refused_and_the_old_one_stays(certificate: bytes, key: bytes) -> None:
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    with pytest.raises(OutsideError, match="What was served before, if anything, still is"):
        tls.use(certificate, key)
    async with served(tls) as port, connected(port) as connection:
        assert connection.served == "one"


@pytest.mark.parametrize("memory", [True, False])
def test_the_key_is_left_nowhere(memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not memory:
        monkeypatch.delattr("os.memfd_create", raising=False)
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    with pytest.raises(OutsideError):
        tls.use(ONE.pem, OTHER.key_pem)
    assert list(tmp_path.iterdir()) == []


@VERSIONS
async def test_client_certificates_are_let_through_once_their_ca_is_trusted(version: ssl.TLSVersion) -> None:
    clients = root("client-ca")
    alice = clients.issue("alice")
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    async with served(tls) as port:
        assert await refused(port, only(version, alice))
        async with connected(port, only(version)) as without:
            assert await without.echo("hello") == "0 hello"
            tls.trust([clients.pem])
            async with connected(port, only(version, alice)) as connection:
                assert await connection.echo("hello") == "2 hello"
            assert await without.echo("still") == "0 still"
        tls.use(OTHER.pem, OTHER.key_pem)
        async with connected(port, only(version, alice)) as connection:
            assert await connection.echo("hello") == "2 hello"


async def test_an_earlier_ca_is_let_through_as_long_as_none_of_its_name_has_followed() -> None:
    old, other = root("client-ca", identified=False), root("other-ca", identified=False)
    new = root("client-ca", identified=False)
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    async with served(tls) as port:
        tls.trust([old.pem])
        tls.trust([other.pem])
        for authority in (old, other):
            async with connected(port, client_context(CA, authority.issue("alice", identified=False))) as connection:
                assert await connection.echo("hello") == "2 hello"
        tls.trust([new.pem])
        assert await refused(port, client_context(CA, old.issue("alice", identified=False)))
        for authority in (new, other):
            async with connected(port, client_context(CA, authority.issue("alice", identified=False))) as connection:
                assert await connection.echo("hello") == "2 hello"


async def test_an_earlier_ca_makes_way_for_one_of_its_name() -> None:
    old, new = root("client-ca"), root("client-ca")
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    tls.trust([old.pem])
    tls.trust([new.pem])
    async with served(tls) as port:
        assert await refused(port, client_context(CA, old.issue("alice")))


async def test_two_cas_of_one_name_whose_certificates_name_their_keys() -> None:
    old, new = root("client-ca"), root("client-ca")
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    tls.trust([old.pem, new.pem])
    async with served(tls) as port:
        for authority in (old, new):
            async with connected(port, client_context(CA, authority.issue("alice"))) as connection:
                assert await connection.echo("hello") == "2 hello"


async def test_of_a_bad_client_ca_nothing_is_taken_in() -> None:
    clients = root("client-ca")
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    with pytest.raises(OutsideError, match="a client CA can't be used"):
        tls.trust([clients.pem, b"garbage"])
    async with served(tls) as port:
        assert await refused(port, client_context(CA, clients.issue("alice")))


async def test_an_expired_client_certificate_is_left_to_be_judged_with_the_request() -> None:
    clients = root("client-ca", to_s=-60.0)
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    tls.trust([clients.pem])
    async with served(tls) as port:
        for issued in (clients.issue("late", to_s=-60.0), clients.issue("early", from_s=600.0)):
            async with connected(port, client_context(CA, issued)) as connection:
                assert await connection.echo("hello") == "2 hello"


async def test_a_server_s_certificate_is_no_client_s() -> None:
    clients = root("client-ca")
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    tls.trust([clients.pem])
    async with served(tls) as port:
        assert await refused(port, client_context(CA, clients.issue("server", usages=SERVER)))


async def test_a_bundle_may_hold_an_intermediate_ca_alone() -> None:
    issuing = root("above").authority("issuing")
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    tls.trust([issuing.pem])
    async with served(tls) as port, connected(port, client_context(CA, issuing.issue("alice"))) as connection:
        assert await connection.echo("hello") == "2 hello"


async def test_old_tls_is_refused() -> None:
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    context = client_context(CA)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with served(tls) as port:
        assert await refused(port, context)


@VERSIONS
async def test_no_session_tickets(version: ssl.TLSVersion) -> None:
    tls = ServingTls()
    tls.use(ONE.pem, ONE.key_pem)
    async with served(tls) as port, connected(port, only(version)) as connection:
        assert await connection.echo("hello") == "0 hello"
        session = connection.tls.session
        assert session is None or not session.has_ticket
