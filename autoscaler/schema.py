"""From the manifest's types to a structural schema (OpenAPI v3 as Kubernetes restricts it), with defaults and descriptions.

One schema serves three: the CRDs (``autoscaler.crds``), the faults with line numbers (``autoscaler.structure``) and the reference page.
Structural means: no ``$ref``, one type a node, no null beside a type. A field that may be None is a field that may be left out.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import inspect as types

Schema: TypeAlias = dict[str, Any]
_INT32: Final = 2**31 - 1


@functools.cache
def _schema(struct: type[msgspec.Struct]) -> Schema:
    described = types.type_info(struct)
    assert isinstance(described, types.StructType)
    return _object(described)


def schema_of(struct: type[msgspec.Struct]) -> Schema:
    """The structural schema of a msgspec type. Do not change what is returned: it is shared."""
    return _schema(struct)


def _object(described: types.StructType) -> Schema:
    schema: Schema = {"type": "object"}
    if text := inspect.getdoc(described.cls):
        schema["description"] = text.replace("\n", " ")
    hints = get_type_hints(described.cls, include_extras=True)
    properties: Schema = {}
    if described.tag_field is not None:
        properties[described.tag_field] = {"type": "string", "enum": [described.tag]}
    for field in described.fields:
        made = _node(field.type, hints[field.name])
        default = _default(field, made)
        if default is not None:
            made["default"] = default
            if not isinstance(default, (dict, list)) and "description" in made:
                shown = str(default).lower() if isinstance(default, bool) else str(default) or '""'
                made["description"] += f" Default: {shown}."
        properties[field.encode_name] = made
    schema["properties"] = properties
    if required := [field.encode_name for field in described.fields if field.required]:
        schema["required"] = required
    if not described.forbid_unknown_fields:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return schema


def _default(field: types.Field, made_schema: Schema) -> Any:
    """The field's default as plain data; None where it has none.

    A wholly default object is written out from its fields' defaults: the API server judges a default by the rules as it stands.
    """
    if field.required:
        return None
    if field.default is not msgspec.NODEFAULT:
        return field.default
    made = field.default_factory()
    if made == [] or (isinstance(made, dict) and not made):
        return None  # an empty list says no more than none
    if isinstance(made, msgspec.Struct) and made == type(made)():
        return {name: part["default"] for name, part in made_schema["properties"].items() if "default" in part}
    return msgspec.to_builtins(made)


def _node(described: types.Type, hint: Any) -> Schema:
    match described:
        case types.Metadata(type=inner, extra_json_schema=extra):
            made = _node(inner, hint)
            made.update({key: value for key, value in (extra or {}).items() if key != "description"})
            if extra and "description" in extra:
                made = {"type": made.pop("type"), "description": extra["description"], **_without(made, "description")}
            return made
        case types.UnionType(types=parts):
            (only,) = [part for part in parts if not isinstance(part, types.NoneType)]
            return _node(only, hint)
        case types.StructType():
            return _object(described)
        case types.StrType():
            return _with(
                {"type": "string"}, minLength=described.min_length, maxLength=described.max_length, pattern=described.pattern
            )
        case types.LiteralType(values=values):
            return {"type": "string", "enum": _as_written(hint, values)}
        case types.BoolType():
            return {"type": "boolean"}
        case types.IntType(ge=low, le=high):
            small = low is not None and high is not None and low >= -_INT32 and high <= _INT32
            return _with({"type": "integer", "format": "int32" if small else "int64"}, minimum=low, maximum=high)
        case types.FloatType(ge=low, gt=above, le=high):
            made = _with({"type": "number"}, minimum=above if above is not None else low, maximum=high)
            return made if above is None else {**made, "exclusiveMinimum": True}
        case types.ListType(item_type=item, min_length=least, max_length=most):
            return _with({"type": "array", "items": _node(item, hint)}, minItems=least or None, maxItems=most)
        case types.DictType(value_type=types.StrType()):
            return {"type": "object", "additionalProperties": {"type": "string"}}
        case types.DictType(value_type=types.StructType() as inner):
            return {"type": "object", "additionalProperties": _object(inner)}
        case types.DictType():
            return {"type": "object"}
    raise TypeError(f"{described} has no structural schema")


def _as_written(hint: Any, values: tuple[Any, ...]) -> list[Any]:
    """An enumeration in the order of the source (introspection sorts it): Mon before Fri."""
    if set(get_args(hint)) == set(values):
        return list(get_args(hint))
    for part in get_args(hint):
        if get_args(part) and (found := _as_written(part, values)):
            return found
    return []


def _with(schema: Schema, **constraints: Any) -> Schema:
    return {**schema, **{key: value for key, value in constraints.items() if value is not None}}


def _without(schema: Mapping[str, Any], *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}


def at_end_only(pattern: str) -> re.Pattern[str]:
    """A schema's pattern as Python must read it: ``$`` is the very end there, while Python's also matches before a last line feed."""
    return re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern), re.ASCII)
