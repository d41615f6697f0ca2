"""Series that somebody counts by hand, and Prometheus' text of them. Loads nothing, unlike the controller's metrics beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

PREFIX: Final = "inference_autoscaler_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[tuple[str, str], ...]

_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Series that somebody else counts: name without prefix, samples by labels (("verb", "get"), …)."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    samples: Mapping[Labels, float]


def rendered(families: Iterable[Family]) -> Iterator[str]:
    """Prometheus' text format 0.0.4, a piece at a time."""
    for family in families:
        name = f"{PREFIX}{family.name}"
        yield f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"
        for labels, value in family.samples.items():
            text = ",".join(f'{label}="{content.translate(_ESCAPED)}"' for label, content in labels)
            yield f"{name}{{{text}}} {value}\n" if text else f"{name} {value}\n"
