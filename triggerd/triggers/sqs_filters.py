"""Which messages of an SQS queue a trigger takes, by what their bodies say."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triggerd.triggers.arguments import text
from triggerd.triggers.jsonpath import MAX_VISITS, BodyTooLargeError, JsonPath

KINDS = ("literal", "jsonpath", "jsonpath-ext")
MAX_VALUES = 1_000

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
        return _AnyOf(values).has
    if kind not in KINDS:
        raise ValueError(f"message_filtering = {kind!r}: None or one of {', '.join(KINDS)} is expected")
    path = JsonPath(text("message_filtering_config", expression), filters=kind == "jsonpath-ext")
    wanted = None if values is None else _AnyOf(values)
    return lambda body: _found(path, wanted, body)


def match_values(values: object) -> list[Any] | None:
    """A single value is a list of itself: in a text no part of it is looked for."""
    if values is None:
        return None
    if isinstance(values, list | tuple | set | frozenset):
        if len(values) > MAX_VALUES:
            raise ValueError(f"message_filtering_match_values: at most {MAX_VALUES:,} of them, not {len(values):,}")
        return list(values)
    if isinstance(values, str | int | float):
        return [values]
    raise TypeError(f"message_filtering_match_values must be a value or a list of values, not {values!r:.100}")


class _AnyOf:
    """Values to compare with; a body may have 100,000 of its own, so it must not matter how many these are."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._plain: set[Any] = set()
        self._nested: list[Any] = []
        for value in values:
            try:
                self._plain.add(value)
            except TypeError:  # a list or an object
                self._nested.append(value)

    def has(self, value: Any) -> bool:
        return value in (self._nested if isinstance(value, list | dict) else self._plain)

    def has_any(self, found: Sequence[Any]) -> bool:
        """Raises BodyTooLargeError where that is too much to compare."""
        if len(self._nested) * len(found) > MAX_VISITS:
            raise BodyTooLargeError(f"{len(found):,} values to compare with {len(self._nested):,} lists or objects")
        return any(map(self.has, found))


def _found(path: JsonPath, wanted: _AnyOf | None, body: str) -> bool:
    """Whether JSON has what is looked for; what is no JSON, or too large to be searched, has it not."""
    try:
        found = path.find(json.loads(body))
        return bool(found) if wanted is None else wanted.has_any(found)
    except (ValueError, RecursionError, BodyTooLargeError):
        return False


def size_bytes(message: Mapping[str, Any]) -> int:
    """About what a message takes in an event."""
    return sum(len(f"{name}{value}".encode(errors="replace")) for name, value in message.items())
