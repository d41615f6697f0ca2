"""What the ConfigMap says, and what it is taken for when it says it badly; the watch on the fake API server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.adapters.kubernetes.informer import InformerSettings
from autoscaler.clock import SystemClock
from autoscaler.external_metrics import trust as words
from autoscaler.external_metrics.trust import Trust, TrustWatch, trust_of
from tests.external_metrics.issued import root
from tests.external_metrics.told_trust import CLIENTS, DATA, PROXIES
from tests.fakes.kube_api import FakeKubeApi


def test_everything_that_it_says() -> None:
    trust = trust_of({**DATA, words.GROUP_HEADERS: '["X-Team", " X-Remote-Group ", ""]'}, Trust())
    assert trust.clients.certificates == (CLIENTS.certificate,)
    proxies = trust.front_proxies
    assert proxies is not None
    assert proxies.authorities.certificates == (PROXIES.certificate,)
    assert proxies.names == {"front-proxy-client"}
    assert proxies.user_headers == ("x-remote-user",)
    assert proxies.uid_headers == ("x-remote-uid",)
    assert proxies.group_headers == ("x-team", "x-remote-group")
    assert proxies.extra_prefixes == ("x-remote-extra-",)
    assert not trust.faults


def test_several_cas_and_words_between_them() -> None:
    both = f"# the old one\n{CLIENTS.text}\n# the new one: Zürich\n{root('client-ca').text}"
    assert len(trust_of({**DATA, words.CLIENT_CA: both}, Trust()).clients) == 2


def test_no_request_header_ca_is_no_front_proxy_at_all() -> None:
    for data in ({words.CLIENT_CA: CLIENTS.text}, {**DATA, words.PROXY_CA: ""}):
        trust = trust_of(data, trust_of(DATA, Trust()))
        assert trust.front_proxies is None
        assert not trust.faults


def test_no_client_ca_is_no_client_certificates() -> None:
    trust = trust_of({key: value for key, value in DATA.items() if key != words.CLIENT_CA}, trust_of(DATA, Trust()))
    assert not trust.clients


def test_a_cluster_without_uid_headers() -> None:
    proxies = trust_of({key: value for key, value in DATA.items() if key != words.UID_HEADERS}, Trust()).front_proxies
    assert proxies is not None
    assert proxies.uid_headers == ()


@pytest.mark.parametrize("names", ["[]", "null", ""])
def test_any_name(names: str) -> None:
    proxies = trust_of({**DATA, words.NAMES: names}, Trust()).front_proxies
    assert proxies is not None
    assert proxies.names == frozenset()


def test_any_name_of_a_ca_that_is_a_client_ca_is_said_to_be_a_danger() -> None:
    trust = trust_of({**DATA, words.PROXY_CA: CLIENTS.text, words.NAMES: "[]"}, Trust())
    assert "each of its clients could say that it is anybody" in trust.faults[words.NAMES]


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        (words.PROXY_CA, "garbage", "is no PEM"),
        (words.PROXY_CA, CLIENTS.text.replace("M", "?", 3), "is no PEM"),
        (words.PROXY_CA, CLIENTS.key_pem.decode(), "is no PEM"),
        (words.NAMES, "front-proxy-client", "is no JSON"),
        (words.NAMES, '"front-proxy-client"', "a JSON list of strings is needed"),
        (words.NAMES, "[1]", "a JSON list of strings is needed"),
        (words.USER_HEADERS, "[]", "names no header"),
        (words.USER_HEADERS, '["X Remote User"]', "can't be a header's name"),
        (words.UID_HEADERS, '["X-Ü"]', "can't be a header's name"),
        (words.GROUP_HEADERS, "{}", "a JSON list of strings is needed"),
        (words.EXTRA_PREFIXES, "[null]", "a JSON list of strings is needed"),
    ],
)
def test_a_bad_value_keeps_what_the_keys_of_front_proxies_said_last(key: str, value: str, what: str) -> None:
    good = trust_of(DATA, Trust())
    trust = trust_of({**DATA, words.PROXY_CA: root("new").text, key: value}, good)
    assert trust.front_proxies is good.front_proxies
    assert what in trust.faults[key]
    # Before there was a good value: nobody, and above all not "any name".
    assert trust_of({**DATA, key: value}, Trust()).front_proxies is None


def test_a_bad_client_ca_keeps_the_last_good_one() -> None:
    good = trust_of(DATA, Trust())
    trust = trust_of({**DATA, words.CLIENT_CA: "garbage", words.NAMES: '["other"]'}, good)
    assert trust.clients is good.clients
    assert "the last good client CAs" in trust.faults[words.CLIENT_CA]
    assert trust.front_proxies is not None
    assert trust.front_proxies.names == {"other"}


async def test_the_watch_through_everything_that_happens_to_the_api_server() -> None:
    admitted: list[bytes] = []
    changed = asyncio.Event()

    def admit(pems: Iterable[bytes]) -> None:
        admitted.extend(pems)
        changed.set()

    async def until(true: Callable[[], bool]) -> None:
        while not true():
            changed.clear()
            await changed.wait()

    async with FakeKubeApi(bookmark_s=0.1) as fake, HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic)) as api:
        settings = InformerSettings(backoff_first_s=0.02, backoff_max_s=0.1, watch_s=(5.0, 6.0), open_timeout_s=0.5)
        watch = TrustWatch(api, admit=admit, clock=SystemClock(), rng=np.random.default_rng(1), settings=settings)
        assert "was not read yet" in watch.why_not()
        running = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(10.0):
                await watch.has_synced.wait()
                assert "names no CA" in watch.why_not()
                meta = {"name": words.NAME, "namespace": words.NAMESPACE}
                fake.create("configmaps", {"metadata": {**meta, "name": "another"}, "data": DATA}, words.NAMESPACE)
                fake.create("configmaps", {"metadata": meta, "data": {**DATA, words.CLIENT_CA: "garbage"}}, words.NAMESPACE)
                await until(lambda: watch.current.front_proxies is not None)
                assert not watch.current.clients
                assert admitted == [PROXIES.pem]
                fake.patch("configmaps", words.NAME, {"data": DATA}, words.NAMESPACE)
                await until(lambda: len(watch.current.clients) == 1)
                assert watch.why_not() == ""
                held = watch.current
                await fake.stop()
                assert watch.current is held
                await fake.start()
                names = json.dumps(["front-proxy-client", "other"])
                fake.patch("configmaps", words.NAME, {"data": {words.NAMES: names}}, words.NAMESPACE)
                await until(lambda: watch.current is not held)
                held = watch.current
                assert held.front_proxies is not None
                assert held.front_proxies.names == {"front-proxy-client", "other"}
                fake.delete("configmaps", words.NAME, words.NAMESPACE)
                other = root("front-proxy-ca")
                fake.create("configmaps", {"metadata": meta, "data": {**DATA, words.PROXY_CA: other.text}}, words.NAMESPACE)
                await until(lambda: watch.current is not held)  # and at no time was there no trust
                assert watch.current.front_proxies is not None
                assert watch.current.front_proxies.authorities.certificates == (other.certificate,)
        finally:
            running.cancel()
