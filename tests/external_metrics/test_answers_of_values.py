"""What is answered to a request for values: whole lists of numbers, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import pytest

from autoscaler.clock import ManualClock
from autoscaler.external_metrics.store import Store
from autoscaler.published import DESIRED, FORECAST, NAME_LABEL, QUANTILE_LABEL, QUEUE_PER_REPLICA, Column, Published
from tests.external_metrics.served import TENANT, VALUES, Answer, namespaces, served, store_of

NOW_S = 1_790_000_000.0
OBJECTS = [
    Published(namespace="team", name="llama", max_age_s=60.0, labels={"model": "llama-3"}),
    Published(namespace="team", name="qwen", max_age_s=60.0),
    Published(namespace="team", name="silent", max_age_s=60.0),
    Published(namespace="other", name="mixtral", max_age_s=60.0),
    Published(namespace="teem", name="secret", max_age_s=60.0),
]
COLUMNS = [
    Column(metric=DESIRED, values=[7.0, 2.0, None, 4.0, 1.0], why={2: "mode Shadow publishes no count"}),
    Column(metric=QUEUE_PER_REPLICA, values=[12.5, 0.0], rows=[0, 1], ages_s=[5.0, 0.0], windows_s=[59.5, None]),
    Column(metric=FORECAST, values=[3.0, 1.0], rows=[0, 1], labels={QUANTILE_LABEL: "0.5"}),
    Column(metric=FORECAST, values=[9.0, 1.5], rows=[0, 1], labels={QUANTILE_LABEL: "0.99"}),
    Column(metric="queue", values=[-1.0], rows=[0]),
    Column(metric="running", values=[float("inf")], rows=[0]),
    Column(metric="concurrency", values=[1e300], rows=[0]),
]


def a_store(clock: ManualClock, age_s: float = 0.0) -> Store:
    return store_of(clock, OBJECTS, COLUMNS, age_s=age_s)


def named(name: str) -> str:
    return "?labelSelector=" + quote(f"{NAME_LABEL}={name}")


async def ask(path: str, *, age_s: float = 0.0, store: Store | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    clock = ManualClock(NOW_S)
    async with served(store or a_store(clock, age_s), clock=clock) as client:
        return await client.get(path, **(headers or {}))


async def test_one_object() -> None:
    answer = await ask(f"{VALUES}/team/queue-per-replica{named('llama')}")
    assert answer.code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": "queue-per-replica",
                "metricLabels": {"model": "llama-3", NAME_LABEL: "llama"},
                "timestamp": "2026-09-21T14:13:15Z",
                "value": "12500m",
                "window": 60,
            }
        ],
    }


async def test_several_objects_and_zero_is_a_number() -> None:
    answer = await ask(f"{VALUES}/team/queue-per-replica")
    assert [(item["metricLabels"][NAME_LABEL], item["value"]) for item in answer.body["items"]] == [
        ("llama", "12500m"),
        ("qwen", "0"),
    ]
    assert "window" not in answer.body["items"][1]


async def test_any_label_selects_and_the_case_of_a_metric_is_nothing() -> None:
    answer = await ask(f"{VALUES}/team/Desired-Replicas?labelSelector=model%20in%20(llama-3,llama-4)")
    assert [item["value"] for item in answer.body["items"]] == ["7"]


def the_status(answer: Answer, code: int, reason: str) -> str:
    assert answer.code == code, answer.text
    assert answer.body["kind"] == "Status"
    assert (answer.body["status"], answer.body["reason"], answer.body["code"]) == ("Failure", reason, code)
    assert "Retry-After" not in answer.headers
    return str(answer.body["message"])


async def test_one_that_is_not_known_spoils_the_list() -> None:
    message = the_status(await ask(f"{VALUES}/team/desired-replicas"), 503, "ServiceUnavailable")
    assert "desired-replicas of team/silent: mode Shadow publishes no count" in message
    assert "of 3 that match" in message


async def test_what_is_too_old_is_an_error_with_the_last_value_and_its_age() -> None:
    young = await ask(f"{VALUES}/team/desired-replicas{named('llama')}", age_s=60.0)
    assert young.code == 200
    message = the_status(await ask(f"{VALUES}/team/desired-replicas{named('llama')}", age_s=61.0), 503, "ServiceUnavailable")
    assert "desired-replicas of team/llama: the last value, 7, is 61 s old; at most 60 s are allowed" in message
    old = await ask(f"{VALUES}/team/queue-per-replica{named('llama')}", age_s=56.0)
    assert old.code == 503, "5 s old at the tick, and 56 s since then"


@pytest.mark.parametrize(("metric", "words"), [("queue", "below zero"), ("running", "no number"), ("concurrency", "64 bits")])
async def test_what_is_no_number_is_an_error(metric: str, words: str) -> None:
    assert words in the_status(await ask(f"{VALUES}/team/{metric}{named('llama')}"), 503, "ServiceUnavailable")


async def test_quantiles_are_never_added_up() -> None:
    message = the_status(await ask(f"{VALUES}/team/demand-forecast{named('llama')}"), 400, "BadRequest")
    assert "add quantile=0.5 or quantile=0.99" in message
    one = await ask(f"{VALUES}/team/demand-forecast{named('llama')}" + quote(",quantile=0.99"))
    assert [item["value"] for item in one.body["items"]] == ["9"]
    of_all = await ask(f"{VALUES}/team/demand-forecast?labelSelector=quantile%3D0.5")
    assert [item["value"] for item in of_all.body["items"]] == ["3", "1"], "of several objects one each may be added up"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            f"{VALUES}/team/replicas",
            "there is no metric 'replicas'; there are concurrency, demand, demand-forecast, desired-replicas",
        ),
        (f"{VALUES}/nowhere/desired-replicas", "namespace 'nowhere' has no InferenceAutoscaler"),
        (f"{VALUES}/team/desired-replicas{named('lama')}", "no InferenceAutoscaler 'lama' in namespace 'team'; there is llama"),
        (f"{VALUES}/team/desired-replicas{named('zzz')}", "there is llama, qwen, silent"),
        (f"{VALUES}/team/queue-per-replica{named('silent')}", "'silent' in namespace 'team' has no queue-per-replica"),
        (f"{VALUES}/team/latency_s", "no InferenceAutoscaler in namespace 'team' has latency_s; signals are served where"),
        (
            f"{VALUES}/team/desired-replicas?labelSelector=model%3Dx",
            "no desired-replicas in namespace 'team' has labels that match 'model=x'",
        ),
        (f"{VALUES}/team/desired-replicas/llama", "there is no such resource; values are at"),
        (f"{VALUES}/team", "there is no such resource; values are at"),
        ("/apis/external.metrics.k8s.io/v1", "there is no such resource"),
        ("/api", "there is no such path; there are /apis"),
    ],
)
async def test_what_is_not_there(path: str, words: str) -> None:
    assert words in the_status(await ask(path), 404, "NotFound")


async def test_close_namespaces_are_named_to_those_who_may_read_them() -> None:
    message = the_status(await ask(f"{VALUES}/teams/desired-replicas"), 404, "NotFound")
    assert message.endswith("; there is team and teem")
    clock = ManualClock(NOW_S)
    authorizer = namespaces()
    authorizer.allow("tenant", "teams")
    async with served(a_store(clock), clock=clock, authorizer=authorizer) as client:
        message = the_status(await client.get(f"{VALUES}/teams/desired-replicas", token=TENANT), 404, "NotFound")
    assert message.endswith("; there is team"), "of the other one a tenant learns nothing"


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("labelSelector=a%3D%3D%3Db", 400, "labelSelector: unable to parse it: character 4 begins '='"),
        ("labelSelector=a%00b", 400, "control character"),
        ("labelSelector=%ff", 400, "not UTF-8"),
        ("labelSelector=a&labelSelector=b", 400, "labelSelector: it is given more than once"),
        ("labelselector=a", 400, "it is spelt labelSelector"),
        ("fieldSelector=metadata.name%3Dllama", 400, "use labelSelector"),
        ("continue=abc", 400, "lists of values are always whole"),
        ("watch=true", 405, "can't be watched"),
        ("watch=1", 405, "can't be watched"),
        ("&".join(f"a{place}=1" for place in range(65)), 400, "more than 64 parameters"),
    ],
)
async def test_another_question_than_is_answered_is_refused(query: str, code: int, words: str) -> None:
    answer = await ask(f"{VALUES}/team/desired-replicas?{query}")
    assert words in the_status(answer, code, "MethodNotAllowed" if code == 405 else "BadRequest")


@pytest.mark.parametrize(
    "query", ["watch=false", "watch=0", "limit=1", "resourceVersion=0", "pretty=true", "timeout=32s", "labelSelector="]
)
async def test_what_changes_nothing_is_passed_over(query: str) -> None:
    answer = await ask(f"{VALUES}/other/desired-replicas?{query}")
    assert [item["value"] for item in answer.body["items"]] == ["4"]


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        (None, 200),
        ("application/json", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("application/vnd.kubernetes.protobuf, */*", 200),
        ("application/json;as=Table;g=meta.k8s.io;v=v1,application/json", 200),
        ("APPLICATION/JSON; q=0.5", 200),
        ("application/vnd.kubernetes.protobuf", 406),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", 406),
        ("application/json;q=0", 406),
        ("text/html", 406),
        ("application/json;q=high", 406),
    ],
)
async def test_json_or_406(accept: str | None, code: int) -> None:
    answer = await ask(f"{VALUES}/other/desired-replicas", headers=None if accept is None else {"Accept": accept})
    assert answer.code == code
    if code == 406:
        assert "allow application/json" in the_status(answer, 406, "NotAcceptable")


async def test_without_any_data_it_is_not_known_rather_than_not_there() -> None:
    answer = await ask(f"{VALUES}/team/desired-replicas", store=Store(ManualClock()))
    assert "nothing was received from the controller yet" in the_status(answer, 503, "ServiceUnavailable")
    assert (await ask(f"{VALUES}/team/replicas", store=Store(ManualClock()))).code == 404


async def test_very_many_that_are_too_old_make_a_short_message() -> None:
    clock = ManualClock(NOW_S)
    objects = [Published(namespace="team", name=f"one-{place:04}", max_age_s=60.0) for place in range(2000)]
    store = store_of(clock, objects, [Column(metric=DESIRED, values=[1.0] * 2000)], age_s=100.0)
    message = the_status(await ask(f"{VALUES}/team/desired-replicas", store=store), 503, "ServiceUnavailable")
    assert "1997 more are not known either" in message
    assert len(message) < 600
