"""A stranger's ten-line function becomes a policy that keeps the contract."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.core.contract import check_policy
from autoscaler.core.policy import Parameter
from policies.each import Answer, Service, each
from tests.policies.observations import IDLE, NAN, Services

FILL = Parameter(name="fill", kind="float", default=0.5, description="share of the slots to take", minimum=0.1, maximum=1)


def half_full(service: Service, fill: float) -> tuple[float, str]:
    busy = service.value("running") + service.value("queue")
    return busy / (service.slots * fill), f"{busy:g} in flight in {service.slots:g} slots taken to {fill:.0%}"


POLICY = each(half_full, name="half-full", summary="keeps slots half full", signals=("running", "queue"), parameters=(FILL,))


def test_ten_lines_keep_the_contract() -> None:
    assert check_policy(POLICY) == []


def test_it_is_asked_once_a_service_with_that_services_parameters() -> None:
    answer = Services(POLICY, [{}, {"fill": 1.0}, {}]).see(running=[30.0, 30.0, IDLE], queue=[3.0, 3.0, IDLE])
    assert answer.replicas.tolist() == [3, 2, 0]
    assert answer.why(1) == "33 in flight in 32 slots taken to 100%"


def test_it_is_not_asked_about_what_is_unknown() -> None:
    answer = Services(POLICY, [{}]).see(running=NAN, queue=3.0)
    assert np.isnan(answer.replicas[0])
    assert answer.why(0) == "running unknown: no count"


def test_one_services_fault_does_not_blind_the_others() -> None:
    def fragile(service: Service) -> float:
        return 100 / service.ready

    services = Services(each(fragile, name="fragile", summary="divides by what is ready"), [{}, {}])
    answer = services.see(ready=[0, 30])
    assert np.isnan(answer.replicas[0])
    assert answer.replicas[1] == 4
    assert answer.why(0) == "failed: ZeroDivisionError: division by zero"
    assert answer.why(1) == "asks for 4"


@pytest.mark.parametrize("answer", [None, float("nan"), (float("nan"), "no idea")])
def test_it_may_say_that_it_cannot_tell(answer: Answer) -> None:
    got = Services(each(lambda _service: answer, name="mute", summary="never knows"), [{}]).see()
    assert np.isnan(got.replicas[0])
    assert got.why(0) in ("can't tell", "no idea")


def test_it_sees_its_past_and_every_column() -> None:
    seen: list[Service] = []

    def look(service: Service) -> float:
        seen.append(service)
        return float(np.nanmax(service.past("demand", 45.0)))

    services = Services(each(look, name="look", summary="the last 45 s' peak", signals=("demand",), lookback_s=60.0), [{}])
    answers = [float(services.see(demand=demand).replicas[0]) for demand in (9.0, 3.0, 4.0, 2.0)]
    assert answers == [9, 9, 9, 4]
    service = seen[-1]
    assert (service.current, service.ready, service.starting) == (10, 10, 0)
    assert (service.capacity_per_s, service.slots, service.lead_time_s) == (1.6, 32.0, 120.0)
    assert (service.objective_target, service.promised_ratio, service.interval_s) == (5.0, 0.995, 15.0)
    assert service.at_s == services.at_s
    assert service.past("queue", 60.0).shape == (0,)
