"""The reference page of the manifests, docs/manifest.md, made from the same schema as the CRDs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from autoscaler.manifest_rules import RULES
from autoscaler.schema import Schema, schema_of
from autoscaler.spec import AcceleratorPoolSpec, InferenceAutoscalerSpec

_HEAD: Final = """# Manifests

Every field of the two custom resources, group `inference-autoscaler.io/v1alpha1`. Made from the types in `autoscaler/spec/`
(`python -m autoscaler.reference`); a test fails when this page differs. Durations are written as `90s`, `5m` or `1h30m`, shares as `99.5%`
or `0.995`, moments in RFC 3339.

`--set PATH=VALUE` of the commands takes the paths below without `spec.`, such as `--set objective.promised=99.9%`.
"""


def page() -> str:
    """The whole page in Markdown."""
    parts = [_HEAD]
    for kind, spec in (("InferenceAutoscaler", InferenceAutoscalerSpec), ("AcceleratorPool", AcceleratorPoolSpec)):
        schema = schema_of(spec)
        parts.append(f"\n## {kind}\n\n| field under `spec` | type | meaning |\n| --- | --- | --- |\n")
        parts += [f"| `{path}`{required} | {kind_} | {words} |\n" for path, required, kind_, words in _rows(schema, "")]
        rules = sorted({rule.message for rule in RULES if rule.kind == kind})
        if rules:
            parts.append("\nRules between fields:\n\n" + "".join(f"- {message}\n" for message in rules))
    return "".join(parts)


def _rows(schema: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        path = f"{prefix}{name}"
        yield path, " *" if name in required else "", _kind(field), _cell(field.get("description", ""))
        item = field["items"] if field.get("type") == "array" else field
        if "properties" in item:
            yield from _rows(item, f"{path}[]." if item is not field else f"{path}.")


def _kind(field: Schema) -> str:
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    low, high = field.get("minimum"), field.get("maximum")
    bounds = ""
    if low is not None and high is not None:
        bounds = f" {low:g}…{high:g}"
    elif low is not None:
        bounds = f" {'>' if field.get('exclusiveMinimum') else '≥'} {low:g}"
    return f"{field.get('type', 'any')}{bounds}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(page(), end="")
