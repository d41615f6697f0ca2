"""Who asks, over real TLS: everybody who may, and everybody who pretends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.clock import ManualClock
from autoscaler.external_metrics import trust as words
from autoscaler.external_metrics.authentication import RequestAuthenticator
from autoscaler.external_metrics.tls import ServingTls
from autoscaler.external_metrics.tokens import TokenReviews, user_of_status
from autoscaler.external_metrics.trust import Trust, trust_of
from tests.external_metrics.issued import SERVER, Issued, root
from tests.external_metrics.secured import Secured, ask
from tests.external_metrics.told_trust import CLIENTS, DATA, PROXIES
from tests.fakes.kube_api import FakeKubeApi, Fault

FRONT_PROXY = PROXIES.issue("front-proxy-client")
ALICE = CLIENTS.issue("alice", organizations=["team", "ops"])
MASTERS = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")]


class Bed:
    """A server with its trust, its clock, and the API server that reviews tokens for it."""

    def __init__(self, fake: FakeKubeApi, api: HttpKubeApi) -> None:
        self.fake = fake
        self.clock = ManualClock(time.time())
        self.trust = Trust()
        self.tls = ServingTls()
        self.tokens = TokenReviews(api, clock=self.clock, rng=np.random.default_rng(1))
        self.authenticator = RequestAuthenticator(trust=lambda: self.trust, tokens=self.tokens, clock=self.clock)
        self.server = Secured(self.tls, self.authenticator)
        self.say(DATA)

    def say(self, data: dict[str, str]) -> None:
        """The ConfigMap says this from now on."""
        trust = trust_of(data, self.trust)
        bundles = [trust.clients, *([trust.front_proxies.authorities] if trust.front_proxies else [])]
        self.tls.trust(
            Issued(certificate=certificate, key=CLIENTS.key).pem for bundle in bundles for certificate in bundle.certificates
        )
        self.trust = trust

    def reviews(self, **status: object) -> Fault:
        """From now on the API server finds this of every token."""
        self.fake.faults.clear()
        return self.fake.fail("POST", "/tokenreviews", times=float("inf"), document={"status": status})

    @property
    def asked(self) -> int:
        return sum(request.path.endswith("/tokenreviews") for request in self.fake.requests)

    def counted(self) -> dict[tuple[str, str], float]:
        family = self.authenticator.families()[0]
        return {(labels[0][1], labels[1][1]): count for labels, count in family.samples.items()}


@pytest_asyncio.fixture(loop_scope="session")
async def bed() -> AsyncIterator[Bed]:
    async with FakeKubeApi() as fake, HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic)) as api:
        made = Bed(fake, api)
        async with made.server:
            yield made
        await made.authenticator.close()


# ------------------------------------------------------------ who may


async def test_a_front_proxy_asks_for_somebody(bed: Bed) -> None:
    headers = [("X-Remote-User", "bob"), ("X-Remote-Group", "a"), ("X-Remote-Group", "b"), ("X-Remote-Uid", "7")]
    answer = await bed.server.ask(*headers, ("X-Remote-Extra-Scopes%2FTeam", "x"), shown=FRONT_PROXY)
    assert answer.user == {
        "name": "bob",
        "groups": ["a", "b", "system:authenticated"],
        "uid": "7",
        "extra": [["scopes/team", ["x"]]],
        "method": "front-proxy",
    }
    assert bed.counted() == {("front-proxy", "accepted"): 1.0}


async def test_a_client_certificate_is_a_user_and_groups(bed: Bed) -> None:
    user = (await bed.server.ask(shown=ALICE)).user
    assert (user["name"], user["groups"], user["method"]) == ("alice", ["team", "ops", "system:authenticated"], "certificate")


async def test_a_token_is_whose_the_review_says(bed: Bed) -> None:
    named = {"username": "system:serviceaccount:a:b", "uid": "7", "groups": ["system:serviceaccounts"], "extra": {"Pod": ["x"]}}
    bed.reviews(authenticated=True, user=named)
    user = (await bed.server.ask(("Authorization", "bearer  good-token".replace("  ", " ")))).user
    assert user == {
        "name": "system:serviceaccount:a:b",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "uid": "7",
        "extra": [["pod", ["x"]]],
        "method": "token",
    }
    assert bed.fake.requests[-1].body == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": "good-token"},
    }


async def test_a_front_proxy_goes_before_a_token(bed: Bed) -> None:
    user = (await bed.server.ask(("X-Remote-User", "bob"), ("Authorization", "Bearer t"), shown=FRONT_PROXY)).user
    assert (user["name"], bed.asked) == ("bob", 0)


async def test_a_front_proxy_that_names_nobody_leaves_the_question_to_the_token(bed: Bed) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    for headers in ([], [("X-Remote-User", "")], [("X-Remote-Group", "system:masters")]):
        user = (await bed.server.ask(*headers, ("Authorization", "Bearer t"), shown=FRONT_PROXY)).user
        assert (user["name"], user["groups"]) == ("carol", ["system:authenticated"])


async def test_a_certificate_that_is_good_for_nothing_leaves_the_question_to_the_token(bed: Bed) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    expired = CLIENTS.issue("alice", to_s=-60.0)
    assert (await bed.server.ask(("Authorization", "Bearer t"), shown=expired)).user["name"] == "carol"


# ------------------------------------------------------------ who pretends


async def test_nobody(bed: Bed) -> None:
    answer = await bed.server.ask()
    assert answer.code == 401
    assert "does not say who asks" in answer.message
    assert "kubectl get --raw /apis/external.metrics.k8s.io/v1beta1" in answer.message
    assert "Authorization: Bearer TOKEN" in answer.message
    assert answer.document["reason"] == "Unauthorized"


async def test_forged_headers_without_a_certificate(bed: Bed) -> None:
    answer = await bed.server.ask(*MASTERS)
    assert answer.code == 401
    assert "X-Remote-* headers are heeded behind a front proxy's certificate only" in answer.message


async def test_forged_headers_behind_a_client_s_certificate_are_not_seen(bed: Bed) -> None:
    user = (await bed.server.ask(*MASTERS, shown=ALICE)).user
    assert (user["name"], user["groups"]) == ("alice", ["team", "ops", "system:authenticated"])


async def test_forged_headers_behind_a_client_s_certificate_in_the_front_proxy_s_name(bed: Bed) -> None:
    user = (await bed.server.ask(*MASTERS, shown=CLIENTS.issue("front-proxy-client"))).user
    assert (user["name"], user["groups"], user["method"]) == ("front-proxy-client", ["system:authenticated"], "certificate")


async def test_forged_headers_with_a_token_are_not_seen(bed: Bed) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    user = (await bed.server.ask(*MASTERS, ("Authorization", "Bearer t"))).user
    assert (user["name"], user["groups"]) == ("carol", ["system:authenticated"])


async def test_a_front_proxy_of_a_wrong_name(bed: Bed) -> None:
    answer = await bed.server.ask(*MASTERS, shown=PROXIES.issue("somebody"))
    assert answer.code == 401
    assert "'somebody' is no name that may speak for others" in answer.message


@pytest.mark.parametrize("times", [{"to_s": -60.0}, {"from_s": 600.0}])
async def test_certificates_outside_their_time(bed: Bed, times: dict[str, float]) -> None:
    for authority, name in ((PROXIES, "front-proxy-client"), (CLIENTS, "alice")):
        shown = authority.issue(name, **times)  # type: ignore[arg-type]
        answer = await bed.server.ask(*MASTERS, shown=shown)
        assert answer.code == 401
        assert f"the client certificate of '{name}' is not valid now" in answer.message


async def test_a_certificate_that_expires_while_its_connection_is_open(bed: Bed) -> None:
    async with bed.server.session(FRONT_PROXY) as session:
        assert (await ask(session, *MASTERS)).user["name"] == "root"
        bed.clock.advance_to(bed.clock.now_s() + 7200.0)
        assert (await ask(session, *MASTERS)).code == 401


async def test_certificates_of_strangers_do_not_get_through_the_handshake(bed: Bed) -> None:
    for shown in (root("front-proxy-ca").issue("front-proxy-client"), root("front-proxy-client", ca=False)):
        assert (await bed.server.ask(*MASTERS, shown=shown)).code == 0
    assert (await bed.server.ask(*MASTERS, shown=PROXIES.issue("front-proxy-client", usages=SERVER))).code == 0
    impostor = ALICE.issue("front-proxy-client")
    assert (await bed.server.ask(*MASTERS, shown=impostor, chain=[ALICE])).code == 0


async def test_an_intermediate_ca_that_the_front_proxy_sends_along(bed: Bed) -> None:
    issuing = PROXIES.authority("issuing")
    shown = issuing.issue("front-proxy-client")
    assert (await bed.server.ask(*MASTERS, shown=shown, chain=[issuing])).user["name"] == "root"
    below_clients = CLIENTS.authority("issuing")
    shown = below_clients.issue("front-proxy-client")
    user = (await bed.server.ask(*MASTERS, shown=shown, chain=[below_clients])).user
    assert (user["name"], user["method"]) == ("front-proxy-client", "certificate")


async def test_a_ca_that_is_taken_out_counts_no_more_on_connections_that_are_open(bed: Bed) -> None:
    new = root("next-front-proxy-ca")
    async with bed.server.session(FRONT_PROXY) as proxied, bed.server.session(ALICE) as alice:
        assert (await ask(proxied, *MASTERS)).user["name"] == "root"
        assert (await ask(alice)).user["name"] == "alice"
        bed.say({**DATA, words.PROXY_CA: PROXIES.text + new.text})
        assert (await ask(proxied, *MASTERS)).user["name"] == "root"
        bed.say({**DATA, words.PROXY_CA: new.text, words.CLIENT_CA: root("next-client-ca").text})
        for session in (proxied, alice):
            answer = await ask(session, *MASTERS)
            assert answer.code == 401
            assert "of no CA that is trusted now" in answer.message
    # A new connection is let through to the same answer.
    assert (await bed.server.ask(*MASTERS, shown=FRONT_PROXY)).code == 401
    assert (await bed.server.ask(*MASTERS, shown=new.issue("front-proxy-client"))).user["name"] == "root"


async def test_without_a_request_header_ca_there_are_no_front_proxies(bed: Bed) -> None:
    bed.say({words.CLIENT_CA: CLIENTS.text})
    assert (await bed.server.ask(*MASTERS, shown=FRONT_PROXY)).code == 401
    assert (await bed.server.ask(*MASTERS, shown=ALICE)).user["name"] == "alice"


async def test_other_names_of_headers(bed: Bed) -> None:
    bed.say({**DATA, words.USER_HEADERS: '["X-Who"]', words.GROUP_HEADERS: '["X-Team"]'})
    user = (await bed.server.ask(*MASTERS, ("x-who", "dora"), ("x-team", "t"), shown=FRONT_PROXY)).user
    assert (user["name"], user["groups"]) == ("dora", ["t", "system:authenticated"])
    assert (await bed.server.ask(*MASTERS, shown=FRONT_PROXY)).code == 401


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"X-Remote-User: alice\r\nX-Remote-User: root", 401),
        (b"X-Remote-User: alice\r\nx-REMOTE-user: root", 401),
        (b"X-Remote-User: ali\tce", 401),
        (b"X-Remote-User: ali\xffce", 401),
        (b"X-Remote-User: alice\r\nX-Remote-Group: sys\ttem", 401),
        (b"X-Remote-User: ali\x00ce", 400),
        (b"X-Remote-User: ali\x01ce", 400),
        (b"X-Remote-User : alice", 400),
        (b"X-Remote-User: alice\rX-Remote-Group: system:masters", 400),
        (b"X-Remote-User\x00: alice", 400),
        (b"X_Remote_User: alice", 401),
        (b"X-Remote-User:", 401),
        (b"X-Remote-User: \t ", 401),
    ],
)
async def test_smuggled_headers_behind_a_true_front_proxy(bed: Bed, head: bytes, code: int) -> None:
    answer = await bed.server.ask_raw(head, FRONT_PROXY)
    assert answer.code == code
    if code == 401:
        assert answer.message.startswith("Unauthorized: ")


async def test_headers_that_look_alike_change_nothing(bed: Bed) -> None:
    head = b"x-remote-USER: alice\r\nX_Remote_Group: system:masters\r\nX-Remote-Groups: system:masters"
    user = (await bed.server.ask_raw(head, FRONT_PROXY)).user
    assert (user["name"], user["groups"]) == ("alice", ["system:authenticated"])


async def test_anonymous_is_nobody_whoever_says_so(bed: Bed) -> None:
    for headers in (
        [("X-Remote-User", "system:anonymous")],
        [("X-Remote-User", "bob"), ("X-Remote-Group", "system:unauthenticated")],
    ):
        assert (await bed.server.ask(*headers, shown=FRONT_PROXY)).code == 401
    assert (await bed.server.ask(shown=CLIENTS.issue("system:anonymous"))).code == 401
    bed.reviews(authenticated=True, user={"username": "system:anonymous"})
    assert (await bed.server.ask(("Authorization", "Bearer t"))).code == 401


async def test_a_certificate_without_a_name_is_nobody_s(bed: Bed) -> None:
    assert (await bed.server.ask(shown=CLIENTS.issue(organizations=["system:masters"]))).code == 401


# ------------------------------------------------------------ tokens


@pytest.mark.parametrize(
    "given",
    [
        ["Basic YWxpY2U6c2VjcmV0"],
        ["Bearer"],
        ["Bearer "],
        ["Bearer two words"],
        ["Bearer\ttab"],
        ["Token abc"],
        ["Bearer one", "Bearer two"],
        ["Bearer one", "Basic two"],
        ["Bearer tökèn"],
    ],
)
async def test_what_is_no_bearer_token_is_not_even_reviewed(bed: Bed, given: list[str]) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    answer = await bed.server.ask(*(("Authorization", each) for each in given))
    assert answer.code == 401
    assert bed.asked == 0


async def test_of_a_token_that_is_refused_nothing_is_told(bed: Bed) -> None:
    bed.reviews(authenticated=False, error="[invalid bearer token, secret reason]")
    answer = await bed.server.ask(("Authorization", "Bearer very-secret"))
    assert answer.code == 401
    assert answer.message.startswith("Unauthorized: the bearer token was not accepted. Ask through the API server")
    assert "secret" not in answer.message


async def test_both_outcomes_hold_for_ten_seconds(bed: Bed) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    good, bad = ("Authorization", "Bearer good"), ("Authorization", "Bearer bad")
    assert (await bed.server.ask(good)).code == 200
    bed.reviews(authenticated=False)
    assert (await bed.server.ask(bad)).code == 401
    bed.clock.advance_to(bed.clock.now_s() + 9.9)
    assert [(await bed.server.ask(header)).code for header in (good, bad)] == [200, 401]
    assert bed.asked == 2
    bed.clock.advance_to(bed.clock.now_s() + 0.2)
    assert (await bed.server.ask(good)).code == 401
    bed.reviews(authenticated=True, user={"username": "carol"})
    assert (await bed.server.ask(bad)).code == 200
    assert bed.asked == 4
    assert bed.counted() == {("token", "accepted"): 3.0, ("token", "refused"): 3.0}


async def test_many_requests_with_one_token_are_one_review(bed: Bed) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    answers = await asyncio.gather(*(bed.server.ask(("Authorization", "Bearer t")) for _ in range(30)))
    assert {answer.user["name"] for answer in answers} == {"carol"}
    assert bed.asked == 1


async def test_a_review_that_breaks_on_the_way_is_asked_for_again(bed: Bed) -> None:
    bed.fake.fail("POST", "/tokenreviews", drop=True)
    bed.fake.fail("POST", "/tokenreviews", status=503)
    bed.fake.fail("POST", "/tokenreviews", times=1, document={"status": {"authenticated": True, "user": {"username": "carol"}}})
    assert (await bed.server.ask(("Authorization", "Bearer t"))).user["name"] == "carol"
    assert bed.asked == 3


async def test_a_review_that_may_not_be_made_says_what_is_missing(bed: Bed) -> None:
    bed.fake.fail("POST", "/tokenreviews", times=float("inf"), status=403)
    for _ in range(5):
        answer = await bed.server.ask(("Authorization", "Bearer t"))
        assert answer.code == 401
        assert "the token could not be reviewed: this server may not create reviews" in answer.message
    assert bed.asked == 1  # and is not asked for again with every request


async def test_the_token_is_kept_nowhere(bed: Bed) -> None:
    bed.reviews(authenticated=True, user={"username": "carol"})
    assert (await bed.server.ask(("Authorization", "Bearer very-secret-token"))).code == 200
    assert "very-secret-token" not in repr(bed.tokens._cache._found)
    (key,) = bed.tokens._cache._found
    assert len(key) == 32


def test_reviews_that_say_nothing_in_particular_name_nobody() -> None:
    assert user_of_status({}) is None
    assert user_of_status({"authenticated": "yes", "user": {"username": "carol"}}) is None
    assert user_of_status({"authenticated": True}) is None
    assert user_of_status({"authenticated": True, "user": {"username": ""}}) is None
