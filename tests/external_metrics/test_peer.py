"""What a certificate is good for: chains of every shape against the two bundles, and real connections judged again when the trust changes."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from autoscaler.external_metrics.bundle import Bundle, bundle_of_pem
from autoscaler.external_metrics.peer import Peer, PeerCertificates, judged, within
from autoscaler.external_metrics.tls import ServingTls
from autoscaler.external_metrics.trust import FrontProxies, Trust
from tests.external_metrics.issued import SERVER, Issued, client_context, root

CLIENTS = root("client-ca")
PROXIES = root("front-proxy-ca")


def trust(clients: Sequence[Issued] = (), proxies: Sequence[Issued] = (), names: Sequence[str] = ("front-proxy",)) -> Trust:
    front_proxies = FrontProxies(
        authorities=bundle(proxies),
        names=frozenset(names),
        user_headers=("x-remote-user",),
        uid_headers=("x-remote-uid",),
        group_headers=("x-remote-group",),
        extra_prefixes=("x-remote-extra-",),
    )
    return Trust(clients=bundle(clients), front_proxies=front_proxies if proxies else None)


def bundle(issued: Sequence[Issued]) -> Bundle:
    return bundle_of_pem(b"".join(each.pem for each in issued)) if issued else Bundle()


def good_for(chain: Sequence[Issued], trusted: Trust, after_s: float = 0.0) -> str:
    """As what the leaf counts: "proxy", "client", "both" or ""."""
    peer = judged(tuple(issued.certificate for issued in chain), trusted)
    assert peer is not None
    return _words(peer, time.time() + after_s)


def _words(peer: Peer, now_s: float) -> str:
    proxy, client = within(peer.front_proxy, now_s), within(peer.client, now_s)
    return "both" if proxy and client else "proxy" if proxy else "client" if client else ""


BOTH = trust([CLIENTS], [PROXIES])


def test_each_ca_vouches_for_its_own() -> None:
    assert good_for([CLIENTS.issue("alice"), CLIENTS], BOTH) == "client"
    assert good_for([PROXIES.issue("front-proxy"), PROXIES], BOTH) == "proxy"
    assert good_for([root("stranger").issue("front-proxy"), root("stranger")], BOTH) == ""


def test_a_client_ca_s_certificate_is_no_front_proxy_whatever_its_name() -> None:
    assert good_for([CLIENTS.issue("front-proxy"), CLIENTS], BOTH) == "client"
    assert good_for([CLIENTS.issue("front-proxy"), CLIENTS], trust([CLIENTS], [PROXIES], names=())) == "client"


def test_a_front_proxy_needs_a_name_that_is_allowed() -> None:
    assert good_for([PROXIES.issue("somebody"), PROXIES], BOTH) == ""
    assert good_for([PROXIES.issue("front-proxy", "somebody"), PROXIES], BOTH) == ""  # the last name counts, as in Go
    assert good_for([PROXIES.issue(), PROXIES], BOTH) == ""
    assert good_for([PROXIES.issue("somebody"), PROXIES], trust([CLIENTS], [PROXIES], names=())) == "proxy"
    assert good_for([PROXIES.issue("somebody"), PROXIES], trust([CLIENTS], [PROXIES], names=("",))) == ""


def test_one_ca_in_both_bundles_is_told_apart_by_name_alone() -> None:
    same = trust([CLIENTS], [CLIENTS])
    assert good_for([CLIENTS.issue("front-proxy"), CLIENTS], same) == "both"
    assert good_for([CLIENTS.issue("alice"), CLIENTS], same) == "client"


def test_one_ca_in_both_bundles_and_any_name_makes_nobody_a_front_proxy() -> None:
    same = trust([CLIENTS], [CLIENTS, PROXIES], names=())
    assert good_for([CLIENTS.issue("front-proxy"), CLIENTS], same) == "client"
    assert good_for([PROXIES.issue("anybody"), PROXIES], same) == "proxy"


def test_a_client_ca_below_the_request_header_ca_makes_no_front_proxies_where_any_name_will_do() -> None:
    above = root("company")
    clients = above.authority("client-ca")
    trusted = trust([clients], [above], names=())
    assert good_for([clients.issue("alice"), clients, above], trusted) == "client"
    assert good_for([above.issue("aggregator"), above], trusted) == "proxy"


def test_intermediate_cas() -> None:
    issuing = PROXIES.authority("issuing")
    leaf = issuing.issue("front-proxy")
    assert good_for([leaf, issuing, PROXIES], BOTH) == "proxy"
    assert good_for([leaf, issuing], trust(proxies=[issuing])) == "proxy"
    assert good_for([leaf, issuing, PROXIES], trust(proxies=[issuing])) == "proxy"
    assert good_for([leaf, issuing, PROXIES], trust([CLIENTS], [root("front-proxy-ca")])) == ""  # the name is not the key


def test_the_ca_that_issued_the_leaf_counts_whichever_of_its_certificates_tls_found() -> None:
    crossed = CLIENTS.authority("front-proxy-ca", key=PROXIES.key)  # the same name and key, vouched for by another
    leaf = PROXIES.issue("front-proxy")
    assert good_for([leaf, crossed, CLIENTS], BOTH) == "both"  # the client CA did vouch for it
    assert good_for([leaf, crossed, CLIENTS], trust(proxies=[PROXIES])) == "proxy"
    renewed = root("front-proxy-ca", key=PROXIES.key, to_s=7200.0)
    assert good_for([leaf, PROXIES], trust(proxies=[renewed])) == "proxy"
    narrowed = root("front-proxy-ca", key=PROXIES.key, path_length=0)
    issuing = PROXIES.authority("issuing")
    assert good_for([issuing.issue("front-proxy"), issuing, PROXIES], trust(proxies=[narrowed])) == ""
    for_hosts = root(
        "front-proxy-ca",
        key=PROXIES.key,
        extensions=[x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.test")], excluded_subtrees=None)],
    )
    assert good_for([leaf, PROXIES], trust(proxies=[for_hosts])) == ""


def test_what_is_no_ca_vouches_for_nobody() -> None:
    for wrong in (
        root("front-proxy-ca", ca=None),
        root("front-proxy-ca", ca=False),
        root("front-proxy-ca", ca=None, signs=True),
        root("front-proxy-ca", ca=False, signs=True),
        root("front-proxy-ca", signs=False),
        root("front-proxy-ca", usages=SERVER),
    ):
        assert good_for([wrong.issue("front-proxy"), wrong], trust(proxies=[wrong])) == ""
    # A leaf that signs others, below a CA that is trusted.
    alice = CLIENTS.issue("alice")
    assert good_for([alice.issue("root"), alice, CLIENTS], BOTH) == ""
    no_constraints = CLIENTS.issue("alice", ca=None)
    assert good_for([no_constraints.issue("root"), no_constraints, CLIENTS], BOTH) == ""
    flat = CLIENTS.authority("flat", path_length=0)
    below = flat.authority("below")
    assert good_for([flat.issue("alice"), flat, CLIENTS], BOTH) == "client"
    assert good_for([below.issue("alice"), below, flat, CLIENTS], BOTH) == ""


def test_what_a_leaf_is_for() -> None:
    assert good_for([CLIENTS.issue("alice", usages=SERVER), CLIENTS], BOTH) == ""
    assert good_for([CLIENTS.issue("alice", usages=None), CLIENTS], BOTH) == "client"
    anything = (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)
    assert good_for([CLIENTS.issue("alice", usages=anything), CLIENTS], BOTH) == "client"


def test_a_leaf_may_itself_be_in_the_bundle() -> None:
    alone = root("alice", ca=False)
    assert good_for([alone], trust([alone])) == "client"
    twin = root("alice", ca=False, key=alone.key)
    assert good_for([twin], trust([alone])) == ""
    signed = CLIENTS.issue("alice")
    assert good_for([signed, CLIENTS], trust([signed])) == ""


@pytest.mark.parametrize("expired", ["leaf", "issuing", "root"])
def test_all_certificates_of_the_chain_have_their_time(expired: str) -> None:
    def to_s(name: str) -> float:
        return 60.0 if name == expired else 3600.0

    above = root("client-ca", to_s=to_s("root"))
    issuing = above.authority("issuing", to_s=to_s("issuing"))
    chain = [issuing.issue("alice", to_s=to_s("leaf")), issuing, above]
    assert good_for(chain, trust([above])) == "client"
    assert good_for(chain, trust([above]), after_s=120.0) == ""
    assert good_for(chain, trust([above]), after_s=-7200.0) == ""
    # What is above the bundle's own certificate is nobody's concern.
    assert good_for(chain, trust([issuing]), after_s=120.0) == ("client" if expired == "root" else "")


def test_of_two_certificates_of_one_ca_one_in_its_time_is_enough() -> None:
    old = root("client-ca", to_s=60.0)
    new = root("client-ca", key=old.key)
    assert good_for([old.issue("alice"), old], trust([old, new]), after_s=120.0) == "client"


@asynccontextmanager
async def met(tls: ServingTls, contexts: Sequence[ssl.SSLContext]) -> AsyncIterator[list[asyncio.Transport]]:
    """The server's side of one connection for each context; each client offers the session of the one before to be resumed."""
    transports: list[asyncio.Transport] = []
    writers: list[asyncio.StreamWriter] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transports.append(writer.transport)  # type: ignore[arg-type]
        writer.write(b"hello\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        session: ssl.SSLSession | None = None
        try:
            for context in contexts:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                client = context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                assert await _drive(client, incoming, outgoing, reader, writer) == b"hello\n"
                session = client.session
            yield transports
        finally:
            for writer in writers:
                writer.close()


async def _drive(
    client: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bytes:
    """By hand, since asyncio's own client never offers a session again."""
    while True:
        try:
            client.do_handshake()
            return client.read(100)
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            async with asyncio.timeout(5.0):
                incoming.write(await reader.read(65536))


async def test_a_session_that_is_resumed_is_known_by_the_chain_that_was_verified_for_it() -> None:
    server_ca = root("server-ca")
    pair = server_ca.issue("server", usages=SERVER, hosts=["localhost"])
    tls = ServingTls()
    tls.use(pair.pem, pair.key_pem)
    tls.trust([CLIENTS.pem])
    context = client_context(server_ca, CLIENTS.issue("alice", organizations=["team"]))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with met(tls, [context, context]) as (first, second):
        assert second.get_extra_info("ssl_object").session_reused
        peers = PeerCertificates()
        for transport in (first, second):
            peer = peers.of(transport, BOTH)
            assert peer is not None
            assert (peer.name, peer.organizations, _words(peer, time.time())) == ("alice", ("team",), "client")
        assert PeerCertificates().of(second, BOTH) is None  # nobody's word for it


async def test_a_connection_is_judged_once_for_each_version_of_the_trust() -> None:
    server_ca = root("server-ca")
    pair = server_ca.issue("server", usages=SERVER, hosts=["localhost"])
    tls = ServingTls()
    tls.use(pair.pem, pair.key_pem)
    tls.trust([CLIENTS.pem])
    async with met(tls, [client_context(server_ca, CLIENTS.issue("alice"))]) as (transport,):
        peers = PeerCertificates()
        before = peers.of(transport, BOTH)
        assert before is peers.of(transport, BOTH)
        after = peers.of(transport, trust([root("client-ca")], [PROXIES]))
        assert before is not None
        assert after is not None
        assert (_words(before, time.time()), _words(after, time.time())) == ("client", "")
