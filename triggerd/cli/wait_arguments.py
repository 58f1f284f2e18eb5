"""``KEY=VALUE`` arguments of `triggerd wait`, typed by the input shape of the waiter's operation."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import click
from botocore.model import OperationModel

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_arguments(operation: OperationModel, pairs: Iterable[str]) -> dict[str, Any]:
    """The waiter's arguments. A key that is given several times, or whose shape is a list, becomes a list.

    Raises:
        click.UsageError: Says which pair is wrong, and the way out.
    """
    shape = operation.input_shape
    members: Mapping[str, Any] = shape.members if shape is not None else {}
    given: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{pair!r} is no KEY=VALUE, such as {example(operation)}")
        if key not in members:
            raise click.UsageError(f"{operation.name} has no parameter {key!r}{_close(key, members)}")
        given.setdefault(key, []).append(value)
    missing = [name for name in (shape.required_members if shape is not None else ()) if name not in given]
    if missing:
        raise click.UsageError(f"{operation.name} needs {' and '.join(missing)}: {example(operation)}")
    return {key: _several(key, values, members[key]) for key, values in given.items()}


def example(operation: OperationModel) -> str:
    """A ``KEY=VALUE`` line that shows what the operation takes: its required parameters, else its first one."""
    shape = operation.input_shape
    if shape is None or not shape.members:
        return ""
    names = list(shape.required_members) or [next(iter(shape.members))]
    return " ".join(f"{name}={_placeholder(shape.members[name])}" for name in names)


def _several(key: str, values: list[str], shape: Any) -> Any:
    if shape.type_name == "list":
        if len(values) == 1 and values[0].startswith("["):
            return _json(key, values[0])
        return [_one(key, value, shape.member) for value in values]
    if len(values) > 1:
        raise click.UsageError(f"{key} is given {len(values)} times, but takes one value")
    return _one(key, values[0], shape)


def _one(key: str, value: str, shape: Any) -> Any:
    try:
        match shape.type_name:
            case "structure" | "map" | "list":
                return _json(key, value)
            case "integer" | "long":
                return int(value)
            case "float" | "double":
                return float(value)
            case "boolean":
                return _BOOLEANS[value.lower()]
    except (ValueError, KeyError):
        raise click.UsageError(f"{key}={value}: {_article(shape.type_name)} is expected") from None
    return value


def _json(key: str, value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{key} takes JSON, and {value!r} is none (column {error.colno}): {error.msg}") from None


def _placeholder(shape: Any) -> str:
    match shape.type_name:
        case "structure" | "map":
            return "'{...}'"
        case "list" if shape.member.type_name in ("structure", "map"):
            return "'[{...}]'"
        case "integer" | "long" | "float" | "double":
            return "1"
        case "boolean":
            return "true"
    return "..."


def _article(type_name: str) -> str:
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"


def _close(key: str, members: Mapping[str, Any]) -> str:
    # Compared without case: clusteridentifier is the commonest mistake.
    by_lower = {name.lower(): name for name in members}
    close = difflib.get_close_matches(key.lower(), by_lower, n=1)
    if close:
        return f"; did you mean {by_lower[close[0]]!r}?"
    return f"; it takes {', '.join(sorted(members))}" if members else "; it takes none"
