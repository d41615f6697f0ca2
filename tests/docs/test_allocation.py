"""The numbers of docs/allocation.md are what the plan says."""

from __future__ import annotations

import re

import pytest

from autoscaler import spec
from autoscaler.compiled import pool_spec, scaling_spec
from autoscaler.core.model import Plan, PoolSpec, ScalingSpec
from autoscaler.manifests import load_manifests
from tests.conftest import ROOT
from tests.core.allocation.fleets import plan_of

PAGE = (ROOT / "docs" / "allocation.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("| --- | --- | --- | --- | --- |")[2].partition("\n\n")[0].splitlines()[1:]
]


def the_example() -> tuple[list[ScalingSpec], list[PoolSpec]]:
    block = re.search(r"```yaml\n(apiVersion.*?)```", PAGE, re.S)
    assert block is not None
    manifests = load_manifests([block[1]])
    services = [scaling_spec(one) for one in manifests if isinstance(one, spec.InferenceAutoscaler)]
    return services, [pool_spec(one) for one in manifests if isinstance(one, spec.AcceleratorPool)]


def planned(row: list[str]) -> Plan:
    services, pools = the_example()
    has, wishes = zip(*([int(number) for number in cell.split(" → ")] for cell in row[1:4]), strict=True)
    return plan_of(services, has, wishes, pools=tuple(pools))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:24])
def test_the_table(row: list[str]) -> None:
    plan = planned(row)
    assert plan.replicas.tolist() == [int(count) for count in row[4:7]]
    assert plan.nodes == {"h100": int(row[7])}


def test_the_words_of_the_last_row() -> None:
    assert len(ROWS) == 6
    plan = planned(ROWS[-1])
    assert f"> {plan.limits[1].why}\n" in PAGE
    assert f"> {plan.node_words['h100']}\n" in PAGE
