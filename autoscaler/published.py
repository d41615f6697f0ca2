"""What a controller publishes after each tick, as the external metrics API servers receive it: lines of JSON on one long answer.

``GET /api/published`` begins with a Head, and then tells, for each tick: the Objects where they are new, a TickLine, a Column for each metric,
an End. Columns go over all objects by their place, so that ten thousand objects cost two lists a metric and
nothing by the object; a reader takes a tick in only when its End has come. Ages are told as of the line's sending, by the sender's
own clock that never steps: neither side compares its clock with the other's. An empty line now and then says that somebody is there.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

SCHEMA: Final = 1
PATH: Final = "/api/published"

DESIRED: Final = "desired-replicas"
QUEUE_PER_REPLICA: Final = "queue-per-replica"
FORECAST: Final = "demand-forecast"

NAME_LABEL: Final = "inference-autoscaler.io/name"
QUANTILE_LABEL: Final = "quantile"
POLICY_LABEL: Final = "policy"


class Line(Struct, tag_field="kind", frozen=True, kw_only=True):
    """Base of all lines."""


class Head(Line, tag="head", frozen=True, kw_only=True):
    """Who speaks, and in which form."""

    schema: int = SCHEMA
    controller: str


class Published(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object: labels are those of each of its items, but for NAME_LABEL, which is always there. max_age_s: its values' age limit."""

    namespace: str
    name: str
    max_age_s: float
    labels: dict[str, str] = field(default_factory=dict)


class Objects(Line, tag="objects", frozen=True, kw_only=True):
    """A part of all `count` objects, those from the place `first` on. revision: of the whole list; a tick names the one that its columns are
    in the order of. In parts, so that neither side is busy with a long line while others wait."""

    revision: int
    first: int
    count: int
    objects: list[Published]


class TickLine(Line, tag="tick", frozen=True, kw_only=True):
    """at_s: the tick's Unix seconds, by the controller's clock. age_s: how long ago that was when the line was sent. leading: whether the
    controller may act; only a leader's values are served."""

    number: int
    revision: int
    at_s: float
    age_s: float
    leading: bool


class Column(Line, tag="column", frozen=True, kw_only=True, omit_defaults=True):
    """One metric. rows: the places that it is of; None: all. values: None = not known. ages_s: how old each value was at the tick; None: the
    tick's own. windows_s: over how long each is a mean; None: of a moment. labels: further ones of all its items. why: by place in `values`,
    why one is not known."""

    metric: str
    values: list[float | None]
    rows: list[int] | None = None
    ages_s: list[float | None] | None = None
    windows_s: list[float | None] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)


class End(Line, tag="end", frozen=True, kw_only=True):
    """The tick is whole."""

    number: int


AnyLine = Head | Objects | TickLine | Column | End
