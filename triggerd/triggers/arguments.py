"""Checks of a trigger's arguments: they come from a queue, and a wrong one is named at once, not at the first poll."""

import inspect
import sys
from collections.abc import Collection, Mapping
from typing import Any

_MAX_NAMES = 50


def text(name: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def name(name: str, value: object) -> str:
    """A text of which there are few. Of others a copy would be kept for good: Python 3.12 frees no interned string."""
    return sys.intern(str(text(name, value)))  # 100,000 waits say the same few words


def names(name: str, value: object) -> tuple[str, ...]:
    """A few texts, as states are: a list, a tuple or a set of them; each comes once, in order."""
    if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
        raise TypeError(f"{name} must be a list of texts, not {value!r}")
    if not 0 < len(value) <= _MAX_NAMES:
        raise ValueError(f"{name} must have 1 to {_MAX_NAMES} members, not {len(value):,}")
    return tuple(sorted({str.__str__(text(name, each)) for each in value}))  # an Enum's own str is no value


def mapping(name: str, value: object) -> dict[str, Any]:
    """Parameters of a call, by name."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must be a dict of parameter names and values, not {value!r}")
    return {sys.intern(str(key)): member for key, member in value.items()}


def number(name: str, value: float | None) -> float | None:
    """Seconds above 0, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} = {value!r}: must be above 0")
    return value


def attempts(value: int | None) -> int | None:
    """`max_attempts`: 1 or more, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"max_attempts must be a whole number, not {type(value).__name__}")
    if value is not None and value < 1:
        raise ValueError(f"max_attempts = {value}: must be at least 1")
    return value


def whole(name: str, value: int, least: int, most: int) -> int:
    """A whole number of the range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} = {value}: must be {least:,} to {most:,}")
    return value


def flag(name: str, value: object) -> bool:
    """True or False; not a text, as "false" would be true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def changed(trigger: object) -> dict[str, Any]:
    """What `serialize` gives, of a trigger that keeps each argument under its name: those that are not the default."""
    parameters = inspect.signature(type(trigger)).parameters.values()
    values = ((each.name, getattr(trigger, each.name), each.default) for each in parameters)
    return {name: value for name, value, default in values if type(value) is not type(default) or value != default}
