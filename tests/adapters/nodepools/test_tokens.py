"""Credentials: fetched once for all who want them, kept until shortly before they expire, told nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from autoscaler.adapters.nodepools.aws_keys import AwsIdentity, sts_url
from autoscaler.adapters.nodepools.azure_token import AzureToken
from autoscaler.adapters.nodepools.eks import eks_url
from autoscaler.adapters.nodepools.google_token import GoogleToken
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason
from tests.adapters.nodepools import beds
from tests.adapters.nodepools.amazon import ROLE, Amazon
from tests.adapters.nodepools.beds import Around
from tests.adapters.nodepools.google import Google
from tests.adapters.nodepools.microsoft import Microsoft


@pytest_asyncio.fixture(loop_scope="session")
async def base(tmp_path: Path) -> AsyncIterator[Around]:
    async with beds.around(tmp_path) as made:
        yield made


def google(base: Around, server: Google) -> GoogleToken:
    return GoogleToken(base.http, base.clock, {"GCE_METADATA_HOST": server.url.removeprefix("http://")})


async def refused(asking: Any) -> str:
    with pytest.raises(PoolProblem) as met:
        await asking
    assert met.value.reason == PoolReason.CredentialsRefused
    return met.value.words


async def test_one_refresh_for_many(base: Around) -> None:
    async with Google({"a": 1}) as server:
        token = google(base, server)
        await asyncio.gather(*(token.get(5.0) for _ in range(50)))
        assert len(server.seen) == 1


async def test_renewed_shortly_before_its_end_and_not_sooner(base: Around) -> None:
    async with Google({"a": 1}) as server:
        token = google(base, server)
        await token.get(5.0)
        began_s = base.clock.now_s()
        base.clock.advance_to(began_s + 3600 - 301)
        await token.get(5.0)
        assert len(server.seen) == 1
        server.token = "ya29.second-secret"
        base.clock.advance_to(began_s + 3600 - 299)
        assert (await token.get(5.0)).reveal() == "ya29.second-secret"
        assert len(server.seen) == 2


async def test_while_it_lives_the_old_one_bridges_an_outage(base: Around) -> None:
    async with Google({"a": 1}) as server:
        token = google(base, server)
        await token.get(5.0)
        server.fail(status=503, document={}, times=99)
        began_s = base.clock.now_s()
        base.clock.advance_to(began_s + 3500)
        assert (await token.get(5.0)).reveal() == server.token
        base.clock.advance_to(began_s + 3601)
        with pytest.raises(PoolProblem, match="metadata server") as met:
            await token.get(5.0)
        assert met.value.reason == PoolReason.Unavailable, "not refused: nobody has to look at rights"


async def test_who_is_no_metadata_server_gives_no_token(base: Around) -> None:
    async with Google({"a": 1}) as server:
        server.fail(document={"access_token": "ya29.forged", "expires_in": 3600})
        assert "ya29" not in await refused(google(base, server).get(5.0))


def aws(base: Around, server: Amazon, **environment: str) -> AwsIdentity:
    return AwsIdentity(base.http, base.clock, f"{server.url}/", environment)


async def test_aws_web_identity_and_the_token_s_file_is_read_again(base: Around) -> None:
    async with Amazon() as server:
        server.ends = "2027-01-15T09:00:00Z"  # an hour after the clock's
        path = base.file("identity", server.web_identity_token)
        identity = aws(base, server, AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=path)
        keys = (await identity.get(5.0)).reveal()
        assert (keys.access_key, keys.secret_key.reveal(), keys.session.reveal()) == server.keys
        server.web_identity_token, server.keys = "rotated-token", ("ASIAEXAMPLE3", "third", "third-session")
        base.file("identity", server.web_identity_token)
        base.clock.advance_to(base.clock.now_s() + 3400)
        assert (await identity.get(5.0)).reveal().access_key == "ASIAEXAMPLE3"


async def test_aws_refuses_in_words_without_the_token_it_repeats(base: Around) -> None:
    async with Amazon() as server:
        path = base.file("identity", "another-projected-token")
        words = await refused(aws(base, server, AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=path).get(5.0))
        assert "InvalidIdentityToken" in words
        assert "another-projected-token" not in words


async def test_aws_shows_a_token_to_an_agent_only(base: Around) -> None:
    async with Amazon() as server:
        path = base.file("agent", server.agent_token)
        for url in ("http://192.0.2.1/v1/credentials", "http://agent.example.com/", "ftp://127.0.0.1/x"):
            identity = aws(base, server, AWS_CONTAINER_CREDENTIALS_FULL_URI=url, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=path)
            assert "no agent's address" in await refused(identity.get(5.0))


async def test_what_is_not_set_up_is_named(base: Around) -> None:
    async with Amazon() as amazon, Microsoft() as microsoft:
        assert "AWS_ROLE_ARN" in await refused(aws(base, amazon).get(5.0))
        identity = aws(base, amazon, AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE="/nowhere/token")
        assert "/nowhere/token can't be read" in await refused(identity.get(5.0))
        token = AzureToken(base.http, base.clock, microsoft.url, {"AZURE_CLIENT_ID": "x"})
        assert "AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE is not set" in await refused(token.get(5.0))


async def test_entra_refuses_in_words_without_the_assertion_it_repeats(base: Around) -> None:
    async with Microsoft() as server:
        environment = {
            "AZURE_CLIENT_ID": "client-id",
            "AZURE_TENANT_ID": "tenant-id",
            "AZURE_AUTHORITY_HOST": server.url,
            "AZURE_FEDERATED_TOKEN_FILE": base.file("federated", "expired-projected-token"),
        }
        words = await refused(AzureToken(base.http, base.clock, server.url, environment).get(5.0))
        assert "AADSTS700024" in words
        assert "expired-projected-token" not in words


def test_endpoints_follow_from_the_region() -> None:
    assert eks_url("eu-central-1") == "https://eks.eu-central-1.amazonaws.com"
    assert eks_url("cn-north-1") == "https://eks.cn-north-1.amazonaws.com.cn"
    assert sts_url("us-gov-west-1") == "https://sts.us-gov-west-1.amazonaws.com/"
