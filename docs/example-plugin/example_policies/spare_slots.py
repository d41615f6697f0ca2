"""``spare-slots``: so many slots are free beyond what is in flight. A policy from a function for one service."""

from __future__ import annotations

from autoscaler.core.policy import Parameter
from policies.each import Service, each


def spare_slots(service: Service, spare: float) -> tuple[float, str]:
    busy = service.value("running") + service.value("queue")
    return (busy + spare) / service.slots, f"{busy:g} in flight and {spare:g} spare, in {service.slots:g} slots each"


POLICY = each(
    spare_slots,
    name="spare-slots",
    summary="keeps so many slots free",
    signals=("running", "queue"),
    parameters=(
        Parameter(
            name="spare",
            kind="float",
            default=64.0,
            description="slots that are to be free",
            unit="slots",
            minimum=0,
            maximum=100_000,
            tunable=True,
            search=(4, 512),
            log_scale=True,
        ),
    ),
)
