"""What Airflow writes into a trigger's kwargs for values that JSON has no word for, read without Airflow.

Two spellings: its task runner's is ``{"__classname__": "builtins.set", "__version__": 1, "__data__": [...]}``,
and an older one, which its asset watchers still use, is ``{"__type": "set", "__var": [...]}``.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

MAX_DEPTH = 32
MAX_PARTS = 10_000
_MAX_ODD_MEMBERS = 500
"""Of all sets, members that are no texts: hashes that collide on purpose make a set cost the square of their number."""
_MAX_KEY_CHARS = 60
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MAX_DIGITS = 100


def decode(value: Any, path: str = "kwargs") -> Any:
    """`value` with what Airflow has encoded in it as Python values; plain values come back as they are.

    Instants come back in UTC, whatever their zone was.

    Raises:
        ValueError: A class that this is not known of, data that do not fit it, or too many lists and dicts. Says where.
    """
    return _Decoder().decode(value, path, 0)


class _Decoder:
    """Counts the lists and dicts of one value, and what of its sets may collide."""

    def __init__(self) -> None:
        self._parts = self._odd = 0

    def decode(self, value: Any, path: str, depth: int) -> Any:
        if not isinstance(value, list | dict):
            return value
        if depth > MAX_DEPTH:
            raise ValueError(f"{path} is nested deeper than {MAX_DEPTH} levels")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ValueError(f"{path}: more than {MAX_PARTS:,} lists and dicts")
        if isinstance(value, list):
            return [self._member(each, path, index, depth) for index, each in enumerate(value)]
        if "__classname__" in value:
            return self._revive(value["__classname__"], value.get("__data__"), path, depth)
        if "__type" in value and "__var" in value:
            return self._revive(value["__type"], value["__var"], path, depth)
        return {key: self._member(each, path, key, depth) for key, each in value.items()}

    def _member(self, value: Any, path: str, key: object, depth: int) -> Any:
        if not isinstance(value, list | dict):
            return value
        shown = key[:_MAX_KEY_CHARS] if isinstance(key, str) else key
        return self.decode(value, f"{path}[{shown!r}]", depth + 1)

    def _revive(self, name: object, data: Any, path: str, depth: int) -> Any:
        make = _MAKERS.get(name) if isinstance(name, str) else None
        if make is None:
            raise ValueError(f"{path} is a {str(name)[:80]!r}, which has no meaning here: {_known()} have")
        data = data if make is _instant else self.decode(data, path, depth + 1)
        if make in (_set, _frozenset) and isinstance(data, list):
            self._odd += sum(type(member) is not str for member in data)
            if self._odd > _MAX_ODD_MEMBERS:
                raise ValueError(f"{path}: more than {_MAX_ODD_MEMBERS:,} members of sets that are no texts")
        try:
            return make(data)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"{path} is no {name}: {error}") from error


def _known() -> str:
    return ", ".join(name for name in _MAKERS if "." in name)


def _set(data: Any) -> set[Any]:
    return set(_list(data))


def _frozenset(data: Any) -> frozenset[Any]:
    return frozenset(_list(data))


def _tuple(data: Any) -> tuple[Any, ...]:
    return tuple(_list(data))


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"a list is expected, not {type(data).__name__}")
    return data


def _dict(data: Any) -> dict[Any, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"a dict is expected, not {type(data).__name__}")
    return data


def _instant(data: Any) -> dt.datetime:
    """Seconds since 1970, alone or beside the name of a zone, which says nothing more about the instant."""
    return _EPOCH + dt.timedelta(
        seconds=_number(data["timestamp"] if isinstance(data, dict) and "timestamp" in data else data)
    )


def _date(data: Any) -> dt.date:
    return dt.date.fromisoformat(data)


def _duration(data: Any) -> dt.timedelta:
    return dt.timedelta(seconds=_number(data))


def _decimal(data: Any) -> Decimal:
    if isinstance(data, str) and len(data) <= _MAX_DIGITS:
        return Decimal(data)
    return Decimal(str(_number(data)))


def _number(data: Any) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise TypeError(f"a number is expected, not {type(data).__name__}")
    return data


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise TypeError(f"a text is expected, not {type(data).__name__}")
    return data


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.tuple": _tuple,
    "datetime.datetime": _instant,
    "pendulum.datetime.DateTime": _instant,
    "datetime.date": _date,
    "pendulum.date.Date": _date,
    "datetime.timedelta": _duration,
    "decimal.Decimal": _decimal,
    "uuid.UUID": _text,
    # The older spelling.
    "set": _set,
    "tuple": _tuple,
    "dict": _dict,
    "datetime": _instant,
    "timedelta": _duration,
}
