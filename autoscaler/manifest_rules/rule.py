"""One rule between fields of a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Data: TypeAlias = Mapping[str, Any]
Kind: TypeAlias = Literal["InferenceAutoscaler", "AcceleratorPool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """at: path of the object that the rule is about, items of a list as ``[]``; "" is the manifest itself. field: path below it to blame.

    cel is true, and holds(data) is true, where the rule is kept. message says what is allowed.
    """

    name: str
    kind: Kind
    at: str
    field: str
    cel: str
    message: str
    holds: Callable[[Data], bool]


def of_service(name: str, at: str, field: str, cel: str, message: str, holds: Callable[[Data], bool]) -> Rule:
    return Rule(name=name, kind="InferenceAutoscaler", at=at, field=field, cel=cel, message=message, holds=holds)


def positive(text: str) -> bool:
    """Whether a duration, share or number that has its pattern is above zero."""
    return re.search("[1-9]", text) is not None
