"""Forwarding to a real second TLS server: what it answers, what it is told, and what never passes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from autoscaler.clock import ManualClock
from autoscaler.errors import UsageError
from autoscaler.external_metrics.answers import RefusedError, status_of
from autoscaler.external_metrics.carried_identity import is_plain_service_account
from autoscaler.external_metrics.federation import Federation, Upstream
from autoscaler.external_metrics.identity import User
from autoscaler.external_metrics.upstream_tls import ClientCertificate, Pair
from autoscaler.external_metrics.upstreams import Upstreams
from tests.external_metrics.other_adapter import NAME, VALUES, OtherAdapter, Seen, answer
from tests.realparts.certificates import Authority, KeyPair

HPA = User(
    name="system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    groups=("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"),
    uid="0b1c",
    extra=(("authentication.kubernetes.io/credential-id", ("JTI=1",)),),
)
PERSON = User(
    name="Zoë",
    groups=("team a", "sre", "system:authenticated"),
    uid="u-1",
    extra=(("example.com/scopes", ("a", "b")), ("50%", ("x",))),
)


def upstream(other: OtherAdapter, tmp_path: Path, **settings: Any) -> Upstream:
    """By impersonation unless said otherwise, of every namespace."""
    token = tmp_path / "token"
    token.write_text("our-own-token\n")
    given: dict[str, Any] = {
        "name": "other",
        "url": f"https://127.0.0.1:{other.port}",
        "ca_file": str(other.ca),
        "server_name": NAME,
        "namespaces": ["*"],
        "identity": "impersonation",
        "token_file": str(token),
    }
    return Upstream(**{**given, **settings})


def upstreams(
    *all_of_them: Upstream, clock: ManualClock | None = None, certificate: ClientCertificate | None = None
) -> Upstreams:
    return Upstreams(
        Federation(upstreams=list(all_of_them)),
        clock=clock or ManualClock(1000.0),
        rng=np.random.default_rng(1),
        client_certificate=certificate,
        is_own=lambda metric: metric == "desired-replicas",
    )


def counted(all_of_them: Upstreams, name: str) -> dict[str, float]:
    """Samples of one of the own metrics by their last label's value."""
    (family,) = [one for one in all_of_them.families() if one.name == f"external_metrics_upstream_{name}"]
    return {labels[-1][1]: value for labels, value in family.samples.items() if value}


async def refused(all_of_them: Upstreams, user: User = HPA, metric: str = "s0-prometheus") -> RefusedError:
    with pytest.raises(RefusedError) as error:
        await all_of_them.forward("models", metric, "", user)
    return error.value


def pem(pair: KeyPair) -> Pair:
    return pair.certificate.read_bytes(), pair.key.read_bytes()


async def test_the_request_goes_on_as_it_came(tmp_path: Path) -> None:
    """Path and raw query unchanged, JSON asked for, one connection for all, and nothing of a caller's headers can be in it."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        query = "labelSelector=scaledobject.keda.sh%2Fname%3Dllama%2Ca+in+%28b%29&x=%c3%A9&&y"
        for _ in range(3):
            found = await ours.forward("models", "s0-Prometheus", query, HPA)
        assert (found.status, found.content_type) == (200, "application/json")
        assert isinstance(found.body, bytes)
        assert orjson.loads(found.body) == VALUES
        assert other.connections == 1
        path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/models/s0-Prometheus"
        assert {seen.line for seen in other.seen} == {f"GET {path}?{query} HTTP/1.1"}
        assert other.seen[0].names == {"host", "accept", "accept-encoding", "user-agent", "authorization", "impersonate-user"}
        assert other.seen[0].all("accept") == ["application/json"]
        assert counted(ours, "requests_total") == {"200": 3}
        assert counted(ours, "breaker") == {"closed": 1}


async def test_a_service_account_is_impersonated_by_its_name_alone(tmp_path: Path) -> None:
    """Its groups follow from that, and constrained impersonation takes no more."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        await ours.forward("models", "m", "", HPA)
        (seen,) = other.seen
        assert seen.all("impersonate-user") == [HPA.name]
        assert seen.all("authorization") == ["Bearer our-own-token"]
        assert [name for name in seen.names if name.startswith(("impersonate-", "x-remote-"))] == ["impersonate-user"]
        assert seen.peer is None


@pytest.mark.parametrize(
    ("name", "groups", "plain"),
    [
        (HPA.name, HPA.groups, True),
        (HPA.name, (), True),
        (HPA.name, ("system:serviceaccounts:other",), False),
        ("system:serviceaccount:kube-system:a:b", HPA.groups, False),
        ("system:serviceaccount:kube-system:", HPA.groups, False),
        ("system:serviceaccount::a", ("system:serviceaccounts",), False),
        ("system:node:a", ("system:serviceaccounts",), False),
    ],
)
def test_what_is_a_plain_service_account(name: str, groups: tuple[str, ...], plain: bool) -> None:
    assert is_plain_service_account(User(name=name, groups=groups)) == plain


async def test_others_are_impersonated_whole(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        await ours.forward("models", "m", "", PERSON)
        odd = User(name=HPA.name, groups=(*HPA.groups, "admins"))
        await ours.forward("models", "m", "", odd)
        first, second = other.seen
        assert [(name, value) for name, value in first.headers if name.startswith("impersonate-")] == [
            ("impersonate-user", "Zoë"),
            ("impersonate-uid", "u-1"),
            ("impersonate-group", "team a"),
            ("impersonate-group", "sre"),
            ("impersonate-extra-example.com%2fscopes", "a"),
            ("impersonate-extra-example.com%2fscopes", "b"),
            ("impersonate-extra-50%25", "x"),
        ]
        assert second.all("impersonate-group") == ["system:serviceaccounts", "system:serviceaccounts:kube-system", "admins"]


async def test_the_front_proxy_s_headers_are_client_go_s(tmp_path: Path) -> None:
    """Behind our certificate, which is exchanged while connections are open; no token."""
    clients = Authority("clients", tmp_path)
    pairs = [pem(clients.client(name, user=name)) for name in ("first", "second")]
    now: list[Pair | None] = [None]
    async with OtherAdapter(tmp_path) as other:
        other.ask_for(clients)
        async with upstreams(upstream(other, tmp_path, identity="frontProxy"), certificate=lambda: now[0]) as ours:
            assert "no client certificate of ours yet" in (await refused(ours)).message
            now[0] = pairs[0]
            await ours.forward("models", "m", "", PERSON)
            now[0] = pairs[1]
            await ours.forward("models", "m", "", HPA)
    first, second = other.seen
    assert [(name, value) for name, value in first.headers if name.startswith("x-remote-")] == [
        ("x-remote-user", "Zoë"),
        ("x-remote-uid", "u-1"),
        ("x-remote-group", "team a"),
        ("x-remote-group", "sre"),
        ("x-remote-group", "system:authenticated"),
        ("x-remote-extra-example.com%2fscopes", "a"),
        ("x-remote-extra-example.com%2fscopes", "b"),
        ("x-remote-extra-50%25", "x"),
    ]
    assert (first.peer, second.peer) == ("first", "second")
    assert first.all("authorization") == []


@pytest.mark.parametrize("name", ["admin ", "\tadmin", "a\r\nX-Remote-Group: system:masters", "a\x00", "a\udc80"])
@pytest.mark.parametrize("identity", ["impersonation", "frontProxy"])
async def test_a_name_that_no_header_holds_goes_nowhere(tmp_path: Path, name: str, identity: str) -> None:
    """It would arrive as another one's."""
    async with OtherAdapter(tmp_path) as other:
        async with upstreams(upstream(other, tmp_path, identity=identity), certificate=lambda: (b"", b"")) as ours:
            assert (await refused(ours, User(name=name))).code == 403
            assert (await refused(ours, User(name="a", groups=(name,)))).code == 403
        assert other.seen == []


@pytest.mark.parametrize(
    ("metric", "query", "code"),
    [
        ("..", "", 400),
        (".", "", 400),
        ("a/b", "", 400),
        ("a%2fb", "", 400),
        ("m", "a b", 400),
        ("m", "a#b", 400),
        ("m", "é", 400),
    ],
)
async def test_what_would_be_another_request_is_refused(tmp_path: Path, metric: str, query: str, code: int) -> None:
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        with pytest.raises(RefusedError) as error:
            await ours.forward("models", metric, query, HPA)
        assert error.value.code == code
        assert other.seen == []


@pytest.mark.parametrize("code", [400, 403, 404, 429, 500, 503])
async def test_its_errors_are_kept(tmp_path: Path, code: int) -> None:
    """Code and body; no Retry-After, no cookie, nothing of the hop."""
    body = status_of(code, "ScaledObject not found")
    async with OtherAdapter(tmp_path) as other:
        # By a name: nobody keeps a cookie of a bare address anyway.
        ours = upstreams(upstream(other, tmp_path, url=f"https://localhost:{other.port}"))
        other.reply = answer(code, body, "Retry-After: 1", "Set-Cookie: a=b", "X-Other: c", "WWW-Authenticate: Basic")
        found = await ours.forward("models", "m", "", HPA)
        assert isinstance(found.body, bytes)
        assert (found.status, orjson.loads(found.body)) == (code, body)
        assert {name.lower() for name in found.headers} == {"content-type", "cache-control"}
        await ours.forward("models", "m", "", HPA)
        assert other.seen[1].all("cookie") == []
        assert counted(ours, "requests_total") == {str(code): 2}
        await ours.close()


async def test_that_it_does_not_accept_us_is_not_the_user_s_fault(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        other.reply = answer(401, status_of(401, "Unauthorized"))
        error = await refused(ours)
        assert error.code == 502
        assert "upstream other" in error.message
        assert "does not accept our token" in error.message


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(404, b"<html>not here</html>", content_type="text/html"), "404 with text/html"),
        (answer(200, b"<html>welcome</html>"), "which is no JSON object"),
        (answer(200, b"[1]"), "which is no JSON object"),
        (answer(200, b""), "which is no JSON object"),
        (answer(200, b"{}", "Content-Encoding: gzip"), "which is no JSON object"),
        (answer(301, b"{}", "Location: https://elsewhere.invalid/"), "redirect (301)"),
        (answer(200, {"x": "a" * 2**21}), "more than 1048576 bytes"),
    ],
)
async def test_what_is_no_answer(tmp_path: Path, reply: Any, words: str) -> None:
    """A 502 that names the upstream and what came."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        other.reply = reply
        error = await refused(ours)
        assert error.code == 502
        assert error.message.startswith(f"upstream other (https://127.0.0.1:{other.port}): ")
        assert words in error.message
        assert len(other.seen) == 1


async def test_a_body_of_unknown_length_is_limited_too(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:

        async def endless(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
                await writer.drain()

        other.reply = endless
        assert "more than" in (await refused(ours)).message


async def test_it_closes_within_its_answer(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:

        async def half(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a":')
            await writer.drain()
            writer.close()

        other.reply = half
        error = await refused(ours)
        assert (error.code, "closed the connection within its answer" in error.message) == (502, True)


async def test_hanging_and_dripping_end_at_the_deadline(tmp_path: Path) -> None:
    """504, and no longer than the deadline, whatever trickles in meanwhile."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path, deadline="300ms")) as ours:

        async def hang(_: Seen, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async def drip(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)  # slowness is what is tested

        for reply in (hang, drip):
            other.reply = reply
            async with asyncio.timeout(5):
                error = await refused(ours)
            assert error.code == 504
            assert error.message.endswith("no answer within 0.3 s")
        assert counted(ours, "requests_under_way") == {}


async def test_a_hanging_one_takes_no_more_than_its_places(tmp_path: Path) -> None:
    """As many more wait, within their deadline; the rest is refused at once."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path, deadline="1s", concurrency=2)) as ours:

        async def hang(_: Seen, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        other.reply = hang
        errors = await asyncio.gather(*(refused(ours) for _ in range(10)))
        assert sorted(error.code for error in errors) == [503] * 8 + [504] * 2
        assert sum("none more is let wait" in error.message for error in errors) == 6
        assert sum("no place became free in 0.5 s" in error.message for error in errors) == 2
        assert len(other.seen) == 2


async def test_who_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a place that stays taken, nor a fault of the upstream's."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path, concurrency=1)) as ours:
        usual = other.reply

        async def hang(_: Seen, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        other.reply = hang
        for _ in range(6):
            other.arrived.clear()
            asking = asyncio.create_task(ours.forward("models", "m", "", HPA))
            await other.arrived.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        other.reply = usual
        assert (await ours.forward("models", "m", "", HPA)).status == 200
        assert counted(ours, "requests_total") == {"499": 6, "200": 1}
        assert counted(ours, "breaker") == {"closed": 1}


async def test_a_server_that_restarted_is_asked_anew(tmp_path: Path) -> None:
    """A kept connection that it closed meanwhile costs no error."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        await ours.forward("models", "m", "", HPA)
        other.hang_up()
        assert (await ours.forward("models", "m", "", HPA)).status == 200
        assert other.connections == 2


@pytest.mark.parametrize("fault", ["authority", "name", "expired", "not yet"])
async def test_what_is_not_it_gets_nothing(tmp_path: Path, fault: str) -> None:
    """Neither a request nor, with it, a token or a user's name."""
    days = {"expired": (-7.0, -1.0), "not yet": (1.0, 7.0)}.get(fault, (-1.0, 7.0))
    names = ["elsewhere.other.svc", "127.0.0.1"] if fault == "name" else [NAME]
    async with OtherAdapter(tmp_path, names=names, days=days) as other:
        ca = Authority("somebody-else", tmp_path).certificate if fault == "authority" else other.ca
        async with upstreams(upstream(other, tmp_path, ca_file=str(ca))) as ours:
            error = await refused(ours)
        assert error.code == 502
        assert "certificate" in error.message
        assert other.seen == []


async def test_the_authority_changes_while_it_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new one is taken without a restart, a broken one is said once and the last good one kept; a first broken one is an answer."""
    clock = ManualClock(1000.0)
    file = tmp_path / "ca.crt"
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path, ca_file=str(file)), clock=clock) as ours:
        assert "No such file" in (await refused(ours)).message
        file.write_text("nonsense")
        assert "no PEM certificate" in (await refused(ours)).message
        file.write_bytes(other.ca.read_bytes())
        clock.advance_to(1002.0)
        assert (await ours.forward("models", "m", "", HPA)).status == 200

        new = Authority("new-authority", tmp_path)
        other.use(new.server("new", names=[NAME]))
        file.write_bytes(other.ca.read_bytes() + new.certificate.read_bytes())
        clock.advance_to(1004.0)
        assert (await ours.forward("models", "m", "", HPA)).status == 200
        assert other.connections == 2  # what the old context had opened is not used with the new one

        file.write_text("-----BEGIN CERTIFICATE-----")
        clock.advance_to(1006.0)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert (await ours.forward("models", "m", "", HPA)).status == 200
        assert len(caplog.records) == 1
        file.unlink()
        clock.advance_to(1008.0)
        assert (await ours.forward("models", "m", "", HPA)).status == 200


async def test_the_token_is_read_again(tmp_path: Path) -> None:
    clock = ManualClock(1000.0)
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path), clock=clock) as ours:
        await ours.forward("models", "m", "", HPA)
        (tmp_path / "token").write_text("renewed")
        clock.advance_to(1002.0)
        await ours.forward("models", "m", "", HPA)
        assert [seen.all("authorization") for seen in other.seen] == [["Bearer our-own-token"], ["Bearer renewed"]]
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path, token_file="nowhere")) as ours:
        error = await refused(ours)
        assert (error.code, "nowhere: No such file" in error.message) == (502, True)
        assert other.seen == []


async def test_it_is_left_alone_and_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Five faults in a row, 503 at once meanwhile, one probe after the pause, a longer pause after a failed one."""
    clock = ManualClock(1000.0)
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path), clock=clock) as ours:
        usual, other.reply = other.reply, answer(200, b"no")
        with caplog.at_level(logging.INFO):
            assert [(await refused(ours)).code for _ in range(7)] == [502] * 5 + [503] * 2
            assert "it is asked again in" in (await refused(ours)).message
            assert len(other.seen) == 5
            assert counted(ours, "breaker") == {"open": 1}

            clock.advance_to(1001.0)
            assert (await refused(ours)).code == 502  # the probe
            assert (await refused(ours)).code == 503
            clock.advance_to(1001.9)
            assert (await refused(ours)).code == 503  # the second pause is drawn from 1 … 2 s
            clock.advance_to(1003.0)

            other.reply = usual
            assert (await ours.forward("models", "m", "", HPA)).status == 200
            assert (await ours.forward("models", "m", "", HPA)).status == 200
        assert counted(ours, "breaker") == {"closed": 1}
        assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
            "upstream other",
            "upstream other answers again",
        ]


@pytest.mark.parametrize(("code", "state"), [(503, "open"), (502, "open"), (500, "closed"), (429, "closed"), (404, "closed")])
async def test_which_codes_are_faults(tmp_path: Path, code: int, state: str) -> None:
    """An adapter's 500 is of one object, whose source is broken: it cuts off nobody else."""
    async with OtherAdapter(tmp_path) as other, upstreams(upstream(other, tmp_path)) as ours:
        other.reply = answer(code, status_of(code, "x"))
        for _ in range(5):
            assert (await ours.forward("models", "m", "", HPA)).status == code
        assert counted(ours, "breaker") == {state: 1}


async def test_nobody_there(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as other:
        gone = upstream(other, tmp_path)
    async with upstreams(gone) as ours:
        error = await refused(ours)
        assert error.code == 502
        assert "Cannot connect" in error.message


async def test_the_first_that_owns_it_gets_it_and_our_own_stay_here(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as one, OtherAdapter(tmp_path) as two:
        first = upstream(one, tmp_path, name="one", namespaces=["a"], metric_prefixes=["S0-"])
        second = upstream(two, tmp_path, name="two", before_own=True, namespaces=["a", "b"])
        async with upstreams(first, second) as ours:
            for namespace, metric in (("a", "s0-x"), ("a", "S0-y"), ("a", "z"), ("b", "s0-x"), ("b", "desired-replicas")):
                assert ours.owns(namespace, metric)
                await ours.forward(namespace, metric, "", HPA)
            assert (len(one.seen), len(two.seen)) == (2, 3)
            assert not ours.owns("c", "s0-x")
            with pytest.raises(RefusedError, match="no upstream owns the metric 's0-x' in namespace 'c'"):
                await ours.forward("c", "s0-x", "", HPA)
        async with upstreams(upstream(one, tmp_path)) as ours:
            assert not ours.owns("a", "Desired-Replicas")
            assert ours.owns("a", "desired-replicas-2")


async def test_a_front_proxy_without_a_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    async with OtherAdapter(tmp_path) as other:
        with pytest.raises(UsageError, match=r"upstreams\[0\].identity: frontProxy needs a client certificate"):
            upstreams(upstream(other, tmp_path, identity="frontProxy"))
