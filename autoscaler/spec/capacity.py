"""What one replica can do, and how long it takes to be there."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from autoscaler.spec.base import Base, Duration


class CapacityBounds(Base):
    """What a learnt capacity never leaves."""

    min: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(description="Requests a second. A quarter of requestsPerSecond where left out."),
    ] = None
    max: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(description="Requests a second. Four times requestsPerSecond where left out."),
    ] = None


class Capacity(Base):
    """What one ready replica can do."""

    mode: Annotated[
        Literal["Given", "Learnt"],
        Meta(
            description=(
                "Given: requestsPerSecond counts as it is. Learnt: it is where learning begins, from throughput, queue and running requests."
            )
        ),
    ] = "Given"
    requests_per_second: Annotated[
        Annotated[float, Meta(gt=0, le=1e9)] | None,
        Meta(description="Requests a second that one replica finishes with a full batch. Unknown where left out."),
    ] = None
    bounds: Annotated[CapacityBounds | None, Meta(description="What a learnt value never leaves; only with mode Learnt.")] = None
    concurrency: Annotated[
        int, Meta(ge=1, le=100000, description="Requests that one replica serves at a time (its batch slots).")
    ] = 32
    slowdown_concurrency: Annotated[
        float,
        Meta(
            gt=0,
            le=1e9,
            description="Batch size at which a token takes twice as long as alone: time per token ∝ 1 + batch ÷ this.",
        ),
    ] = 64.0
    inter_token_latency: Annotated[
        Duration | None,
        Meta(description="Between two tokens in a full batch, for objectives on itl_s: a start value, until it is measured."),
    ] = None
    prefill: Annotated[
        Duration | None,
        Meta(
            description="To the first token in a full batch, without waiting, for objectives on ttft_s: a start value, likewise."
        ),
    ] = None


class LeadTime(Base):
    """How long a new replica takes to become ready: start values, used until it was measured."""

    replica: Annotated[
        Duration, Meta(description="From the patch to ready where a node is at hand: scheduling, image, model load.")
    ] = "120s"
    node: Annotated[Duration, Meta(description="What a new node adds to it.")] = "180s"
    measured: Annotated[bool, Meta(description="Use what was measured on this target once there are samples.")] = True
