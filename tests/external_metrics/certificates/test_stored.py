"""The Secret's content: what is written is read again, and whatever somebody makes of it is read as far as it goes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.external_metrics.certificates.authority import Lifetimes, service_names
from autoscaler.external_metrics.certificates.plan import Plan
from autoscaler.external_metrics.certificates.steps import Announce, Begin, Switch
from autoscaler.external_metrics.certificates.stored import KEYS, Step, Stored, data_of, stored_in
from autoscaler.external_metrics.certificates.writing import after

NOW_S = 1.8e9
PLAN = Plan(names=service_names("external-metrics", "metrics"), lifetimes=Lifetimes())
STEADY = after(Begin(kept=(), why="there is no Secret"), Stored(current=None), PLAN, NOW_S)
ANNOUNCED = after(Announce(why="due"), STEADY, PLAN, NOW_S)
OVERLAPPING = after(Switch(why=""), ANNOUNCED, PLAN, NOW_S)
OTHER = after(Announce(why="due"), after(Begin(kept=(), why=""), Stored(current=None), PLAN, NOW_S), PLAN, NOW_S)


@pytest.mark.parametrize(
    ("stored", "step"), [(STEADY, Step.STEADY), (ANNOUNCED, Step.ANNOUNCED), (OVERLAPPING, Step.OVERLAPPING)], ids=lambda one: ""
)
def test_it_is_read_as_it_was_written(stored: Stored, step: Step) -> None:
    data = data_of(stored)
    assert data.keys() <= KEYS
    read = stored_in(data)
    assert read == stored
    assert read.faults == ()
    assert read.is_whole
    assert read.step is step


def test_nothing() -> None:
    assert stored_in({}).is_empty
    assert stored_in({"other": "x"}).is_empty


@pytest.mark.parametrize("key", sorted(KEYS - {"ca.crt"}))
@pytest.mark.parametrize("value", ["%%%", "", base64.b64encode(b"no pem").decode()])
def test_a_broken_part_is_as_good_as_missing_and_named(key: str, value: str) -> None:
    read = stored_in({**data_of(ANNOUNCED), key: value})
    # An empty record is one in which nothing is told, and since when is then not known.
    assert read.faults or (key == "rotation.json" and value == "")
    if key == "rotation.json":
        assert read.since_s is None
    elif key.startswith("next-"):
        assert read.coming is None
        assert read.current == ANNOUNCED.current
    else:
        assert read.current is None or not read.current.is_whole
        assert read.coming == ANNOUNCED.coming
    assert set(ANNOUNCED.bundle) >= set(read.bundle)


def test_a_broken_bundle_still_holds_what_is_in_use() -> None:
    read = stored_in({**data_of(ANNOUNCED), "ca.crt": "%%%"})
    assert set(read.bundle) == set(ANNOUNCED.bundle)
    assert read.faults == ("ca.crt is not base64", "ca.crt lacks an authority that is in use")


@pytest.mark.parametrize("key", ["authority.key", "tls.key", "client.key", "tls.crt", "authority.crt"])
def test_a_part_of_another_is_not_taken(key: str) -> None:
    read = stored_in({**data_of(ANNOUNCED), key: data_of(OTHER)[key]})
    assert read.current is None or not read.current.is_whole
    assert any(key.rsplit(".", 1)[0] in fault for fault in read.faults)


def test_a_leaf_of_another_authority_is_not_taken_with_its_key() -> None:
    other = data_of(OTHER)
    read = stored_in({**data_of(ANNOUNCED), "tls.crt": other["tls.crt"], "tls.key": other["tls.key"]})
    assert read.current is not None
    assert read.current.serving is None
    assert read.faults == ("tls.crt is not signed by authority.crt",)


def test_no_fault_tells_of_a_key() -> None:
    data = data_of(STEADY)
    key = base64.b64decode(data["tls.key"])
    read = stored_in({**data, "tls.key": base64.b64encode(key.replace(b"\n-----END", b"AA\n-----END")).decode()})
    assert read.faults
    assert key[40:60] not in "".join(read.faults).encode()


@given(
    st.dictionaries(
        st.sampled_from(sorted(KEYS)), st.one_of(st.text(), st.binary().map(lambda b: base64.b64encode(b).decode()), st.none())
    )
)
def test_nothing_that_is_in_it_raises(broken: dict[str, str | None]) -> None:
    read = stored_in({**data_of(OVERLAPPING), **broken})
    again = stored_in(data_of(read))
    assert again == read
    # Or a whole one would be mended again and again.
    assert not (again.is_whole and again.faults)
