"""JMESPath expressions as functions: its own interpreter spends most of an evaluation on finding its way in the syntax.

Names, indexes, flattening and projections are done here, which is nearly all that waiters use; it does the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

_MAKING = frozenset({"function_expression", "multi_select_list", "multi_select_dict"})

Find = Callable[[Any], Any]


class Expression:
    """A JMESPath expression, parsed once.

    Attributes:
        parsed: Its syntax tree. search: what it finds in a value; raises JMESPathError.
        makes: How many of its parts make something new: functions, lists and objects.
    """

    __slots__ = ("expression", "makes", "parsed", "search")

    def __init__(self, expression: str) -> None:
        """Raises JMESPathError where it is none."""
        self.expression = expression
        self.parsed: Mapping[str, Any] = jmespath.compile(expression).parsed
        self.search = _find(self.parsed)
        self.makes = _count(self.parsed)


def _find(node: Mapping[str, Any]) -> Find:
    make = _MAKERS.get(node["type"])
    return _by_interpreter(node) if make is None else make(node["value"] if "value" in node else node["children"])


def _count(node: Mapping[str, Any]) -> int:
    return (node["type"] in _MAKING) + sum(_count(child) for child in node["children"] if isinstance(child, Mapping))


def _by_interpreter(node: Mapping[str, Any]) -> Find:
    search: Find = ParsedResult("", node).search

    def interpreted(value: Any) -> Any:
        try:
            return search(value)
        except JMESPathError:
            raise
        except Exception as error:  # its functions let through whatever Python makes of a value, as ceil(infinity)
            raise JMESPathError(f"{type(error).__name__}: {error}") from error

    return interpreted


def _field(name: str) -> Find:
    def field(value: Any) -> Any:
        try:
            return value.get(name)
        except AttributeError:
            return None

    return field


def _index(at: int) -> Find:
    def index(value: Any) -> Any:
        return value[at] if isinstance(value, list) and -len(value) <= at < len(value) else None

    return index


def _chain(nodes: Sequence[Any]) -> Find:
    finds = [_find(node) for node in nodes]

    def chain(value: Any) -> Any:
        for find in finds:
            value = find(value)
        return value

    return chain


def _flatten(nodes: Sequence[Any]) -> Find:
    inner = _find(nodes[0])

    def flatten(value: Any) -> Any:
        found = inner(value)
        if not isinstance(found, list):
            return None
        flat: list[Any] = []
        for one in found:
            if isinstance(one, list):
                flat.extend(one)
            else:
                flat.append(one)
        return flat

    return flatten


def _projection(nodes: Sequence[Any]) -> Find:
    inner, each = map(_find, nodes)

    def projection(value: Any) -> Any:
        found = inner(value)
        if not isinstance(found, list):
            return None
        return [current for one in found if (current := each(one)) is not None]

    return projection


_MAKERS: dict[str, Callable[[Any], Find]] = {
    "field": _field,
    "index": _index,
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "flatten": _flatten,
    "projection": _projection,
    "identity": lambda _: lambda value: value,
    "current": lambda _: lambda value: value,
}
"""By the type of a node, what makes its function from the value or the children that such a node has."""
