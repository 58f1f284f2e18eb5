"""Which messages of an SQS queue a trigger takes, by what their bodies say."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triggerd.triggers.arguments import text
from triggerd.triggers.jsonpath import BodyTooLargeError, JsonPath

KINDS = ("literal", "jsonpath", "jsonpath-ext")

Fits = Callable[[str], bool]


def body_filter(kind: str | None, values: Sequence[Any] | None, expression: object) -> Fits:
    """Whether a message's body fits.

    Args:
        kind: None takes all; ``literal`` a body that is one of `values`; ``jsonpath`` and ``jsonpath-ext`` JSON in
            which `expression` finds one of `values`, or anything where they are None.

    Raises:
        TypeError, ValueError: An argument is wrong, or the expression is not understood.
    """
    if kind is None:
        return lambda _: True
    if kind == "literal":
        if values is None:
            raise ValueError("message_filtering_match_values must be given: 'literal' compares bodies with them")
        return lambda body: body in values
    if kind not in KINDS:
        raise ValueError(f"message_filtering = {kind!r}: None or one of {', '.join(KINDS)} is expected")
    path = JsonPath(text("message_filtering_config", expression), filters=kind == "jsonpath-ext")
    return lambda body: _found(path, values, body)


def match_values(values: object) -> list[Any] | None:
    """A single value is a list of itself: in a text no part of it is looked for."""
    if values is None:
        return None
    if isinstance(values, list | tuple | set | frozenset):
        return list(values)
    if isinstance(values, str | int | float):
        return [values]
    raise TypeError(f"message_filtering_match_values must be a value or a list of values, not {values!r:.100}")


def _found(path: JsonPath, values: Sequence[Any] | None, body: str) -> bool:
    """Whether JSON has what is looked for; what is no JSON, or too large to be searched, has it not."""
    try:
        found = path.find(json.loads(body))
    except (ValueError, RecursionError, BodyTooLargeError):
        return False
    return bool(found) if values is None else any(value in values for value in found)


def size_bytes(message: Mapping[str, Any]) -> int:
    """About what a message takes in an event."""
    return sum(len(f"{name}{value}".encode(errors="replace")) for name, value in message.items())
