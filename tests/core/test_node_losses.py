"""How often nodes are lost: which of those that go were to stay, and which hours count."""

from __future__ import annotations

import pytest

from autoscaler.core.node_losses import NodeLosses


@pytest.mark.parametrize(
    ("left", "asked", "noticed", "lost"),
    [(1, 2, False, 1.0), (2, 2, False, 0.0), (2, 2, True, 1.0), (1, None, False, 0.0), (1, None, True, 1.0)],
)
def test_a_node_is_lost_where_it_was_to_stay(left: int, asked: int | None, noticed: bool, lost: float) -> None:
    losses = NodeLosses()
    losses.gone(left=left, asked=asked, noticed=noticed)
    assert losses.losses == lost


def test_hours_in_which_nobody_looked_do_not_count() -> None:
    losses = NodeLosses()
    losses.passed(5, 1000.0)
    losses.passed(5, 1000.0 + 86_400.0)
    losses.passed(5, 500.0)
    assert losses.node_hours == 0.0
