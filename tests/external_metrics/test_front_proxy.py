"""The headers of a front proxy, and everything that somebody could have smuggled between them."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from autoscaler.external_metrics.bundle import Bundle
from autoscaler.external_metrics.front_proxy import AmbiguousError, user_of
from autoscaler.external_metrics.identity import User
from autoscaler.external_metrics.trust import FrontProxies


def proxies(
    user: tuple[str, ...] = ("x-remote-user",),
    group: tuple[str, ...] = ("x-remote-group",),
    uid: tuple[str, ...] = ("x-remote-uid",),
    extra: tuple[str, ...] = ("x-remote-extra-",),
) -> FrontProxies:
    return FrontProxies(
        authorities=Bundle(), names=frozenset(), user_headers=user, uid_headers=uid, group_headers=group, extra_prefixes=extra
    )


def read(*headers: tuple[str, str], by: FrontProxies | None = None) -> User | None:
    return user_of(CIMultiDictProxy(CIMultiDict(headers)), by or proxies())


def test_all_of_them() -> None:
    user = read(
        ("X-Remote-User", "alice"),
        ("X-Remote-Group", "one"),
        ("X-Remote-Group", "two, three"),
        ("X-Remote-Uid", "7"),
        ("X-Remote-Extra-Scopes.Example.Test%2FTeam", "a"),
        ("X-Remote-Extra-Scopes.Example.Test%2FTeam", "b"),
        ("X-Remote-Extra-Acting", ""),
        ("Accept", "*/*"),
    )
    assert user == User(
        name="alice",
        groups=("one", "two, three"),
        uid="7",
        extra=(("acting", ("",)), ("scopes.example.test/team", ("a", "b"))),
        method="front-proxy",
    )


@pytest.mark.parametrize("name", ["x-remote-user", "X-REMOTE-USER", "x-ReMoTe-uSeR"])
def test_the_case_of_names_does_not_matter(name: str) -> None:
    user = read((name, "Alice"), (name.replace("ser", "id").replace("SER", "ID").replace("SeR", "Id"), "7"))
    assert user is not None
    assert user.name == "Alice"


@pytest.mark.parametrize("name", ["X_Remote_User", "X-Remote_User", "X-RemoteUser", "X-Remote-User-", "X-Remote-Users"])
def test_names_that_only_look_alike_are_others(name: str) -> None:
    assert read((name, "alice")) is None
    user = read(("X-Remote-User", "bob"), (name, "alice"), ("X_Remote_Group", "system:masters"), ("X_Remote_Extra_a", "b"))
    assert user == User(name="bob", method="front-proxy")


def test_without_a_name_there_is_nobody() -> None:
    assert read(("X-Remote-Group", "system:masters")) is None
    assert read(("X-Remote-User", ""), ("X-Remote-Group", "system:masters")) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Remote-User", "alice"), ("X-Remote-User", "bob")],
        [("X-Remote-User", "alice"), ("x-remote-user", "alice")],
        [("X-Remote-User", "alice"), ("X-Remote-Uid", "1"), ("X-Remote-Uid", "2")],
        [("X-Remote-User", "ali\tce")],
        [("X-Remote-User", "ali\x00ce")],
        [("X-Remote-User", "ali\x7fce")],
        [("X-Remote-User", b"ali\xffce".decode("utf-8", "surrogateescape"))],
        [("X-Remote-User", "alice"), ("X-Remote-Group", "sys\ttem")],
        [("X-Remote-User", "alice"), ("X-Remote-Extra-a", "b\n")],
        [("X-Remote-User", "alice"), ("X-Remote-Extra-a%00", "b")],
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(AmbiguousError):
        read(*headers)


def test_letters_of_all_languages_are_letters() -> None:
    user = read(("X-Remote-User", "åsa@例え.test"), ("X-Remote-Group", "équipe à paris"))
    assert user is not None
    assert (user.name, user.groups) == ("åsa@例え.test", ("équipe à paris",))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("X-Remote-Extra-%41", "a"),
        ("X-Remote-Extra-a%2fb", "a/b"),
        ("X-Remote-Extra-100%", "100%"),
        ("X-Remote-Extra-%zz", "%zz"),
        ("X-Remote-Extra-%ff", "%ff"),
        ("X-Remote-Extra-%C3%A9", "é"),
        ("X-Remote-Extra-", ""),
    ],
)
def test_keys_of_extra(name: str, key: str) -> None:
    user = read(("X-Remote-User", "alice"), (name, "value"))
    assert user is not None
    assert user.extra == ((key, ("value",)),)


def test_the_names_that_the_cluster_chose() -> None:
    own = proxies(user=("x-who",), group=("x-team",), uid=(), extra=("x-more-",))
    user = read(("X-Who", "alice"), ("X-Team", "one"), ("X-More-a", "b"), ("X-Remote-Group", "system:masters"), by=own)
    assert user == User(name="alice", groups=("one",), extra=(("a", ("b",)),), method="front-proxy")
    assert read(("X-Remote-User", "alice"), by=own) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Who", "mallory")],
        [("X-Remote-Group", "one"), ("X-Team", "system:masters")],
        [("X-Remote-Extra-a", "b"), ("X-More-a", "c")],
    ],
)
def test_where_two_headers_may_say_the_same_one_of_them_may_be_the_client_s(headers: list[tuple[str, str]]) -> None:
    both = proxies(user=("x-who", "x-remote-user"), group=("x-remote-group", "x-team"), extra=("x-remote-extra-", "x-more-"))
    with pytest.raises(AmbiguousError):
        read(("X-Remote-User", "alice"), *headers, by=both)
    assert read(("X-Who", "alice"), ("X-Team", "one"), ("X-More-a", "b"), by=both) is not None
