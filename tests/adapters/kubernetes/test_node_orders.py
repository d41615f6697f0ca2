"""Which node answers which request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.kubernetes.node_orders import NodeOrders


def test_each_node_answers_the_oldest_request() -> None:
    orders = NodeOrders()
    orders.aim(2, 0.0)  # where we begin to count
    orders.aim(4, 100.0)
    orders.aim(4, 115.0)
    orders.aim(5, 130.0)
    assert len(orders) == 3
    assert [orders.answered(200.0 + n) for n in range(4)] == [100.0, 100.0, 130.0, None]


def test_a_lowered_target_takes_the_latest_requests_back() -> None:
    orders = NodeOrders()
    orders.aim(0, 0.0)
    orders.aim(2, 100.0)
    orders.aim(5, 200.0)
    orders.aim(1, 210.0)
    assert [orders.answered(300.0), orders.answered(301.0)] == [100.0, None]
    orders.aim(0, 310.0)
    assert len(orders) == 0


def test_a_node_answers_no_request_that_came_after_it() -> None:
    orders = NodeOrders()
    orders.aim(0, 0.0)
    orders.aim(1, 100.9)
    assert orders.answered(50.0) is None
    assert orders.answered(100.0) == 100.9, "a creation is told in whole seconds"


def test_what_can_no_longer_be_missing_is_no_request_any_more() -> None:
    orders = NodeOrders()
    orders.aim(0, 0.0)
    orders.aim(2, 100.0)
    orders.aim(4, 200.0)
    orders.keep(9)
    assert len(orders) == 4
    orders.keep(1)
    assert [orders.answered(300.0), orders.answered(300.0)] == [200.0, None]
    orders.keep(0)
    assert len(orders) == 0


def test_a_clock_that_is_set_makes_no_lead_time_longer() -> None:
    orders = NodeOrders()
    orders.aim(0, 0.0)
    orders.aim(1, 100.0)
    orders.shift(3600.0)
    assert orders.answered(3760.0) == 3700.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=40))
def test_never_more_answers_than_requests(steps: list[tuple[int, int]]) -> None:
    """Whatever targets are set and whatever comes: open requests are those that were asked for and not answered, and never negative."""
    orders = NodeOrders()
    orders.aim(0, 0.0)
    target = 0
    for at_s, (nodes, came) in enumerate(steps, 1):
        before = len(orders)
        orders.aim(nodes, float(at_s))
        assert len(orders) == (before + nodes - target if nodes >= target else max(before - (target - nodes), 0))
        target = nodes
        found = [orders.answered(at_s + 0.5) for _ in range(came)]
        answered = [one for one in found if one is not None]
        assert answered == sorted(answered)
