"""What a scenario test file holds. docs/replay.md describes it; replay/standard/tests has some."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from autoscaler.spec import Base, Duration

Free = Annotated[dict[str, Any], Meta(extra_json_schema={"x-kubernetes-preserve-unknown-fields": True})]


class Event(Base):
    """Something that happens at a moment, just before that moment's decision."""

    at: Annotated[Duration, Meta(description="When.")]
    restart: Annotated[bool, Meta(description="The controller ends and another one begins, with what the status remembers.")] = (
        False
    )
    replicas: Annotated[
        Annotated[int, Meta(ge=0, le=100000)] | None, Meta(description="Somebody else sets the target's count.")
    ] = None
    pause: Annotated[
        Literal["None", "Both", "Up", "Down"] | None, Meta(description="The cluster-wide pause is set or taken away.")
    ] = None
    service: Annotated[str, Meta(description="namespace/name for `replicas`; every service where left out.")] = ""


class ScenarioTest(Base):
    """One test: a world, what happens in it, and what is expected of the controller."""

    name: Annotated[str, Meta(min_length=1, description="What it shows, in a few words.")]
    about: Annotated[str, Meta(description="Why that matters.")] = ""
    spec: Annotated[Free, Meta(description="Fields of the manifests' spec, each in place of the manifest's own.")] = (
        msgspec.field(default_factory=dict)
    )
    scenario: Annotated[Free, Meta(description="Fields of the scenario, as in a scenario file.")] = msgspec.field(
        default_factory=dict
    )
    traffic: Annotated[
        str | None, Meta(description="Requests/s, one value an interval: the simulated service works on them.")
    ] = None
    series: Annotated[
        dict[str, str],
        Meta(
            description="Signals as the controller is to see them, one value an interval; `namespace/name signal` is one service's."
        ),
    ] = msgspec.field(default_factory=dict)
    events: Annotated[list[Event], Meta(description="What happens when.")] = msgspec.field(default_factory=list)
    expect: Annotated[list[Free], Meta(description="What is expected at a moment, or from one to another.")] = msgspec.field(
        default_factory=list
    )
    score: Annotated[Free, Meta(description="What is expected of the score, by field.")] = msgspec.field(default_factory=dict)


class ScenarioTestFile(Base):
    """The whole file."""

    tests: Annotated[list[ScenarioTest], Meta(min_length=1, max_length=1000, description="The tests.")]
    manifest: Annotated[
        str | None, Meta(description="Manifest file, seen from this file; the standard scenario's where left out.")
    ] = None
