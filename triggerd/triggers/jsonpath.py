"""The part of JSONPath that filters of messages use, bounded: expressions and bodies both come from a queue.

Read are ``$``, ``.name``, ``['a b']``, ``[0]``, ``[-1]``, ``[1:5]``, ``[*]``, ``.*``, ``..`` and lists of names or
indexes, with the meaning of RFC 9535; with `filters` also ``[?(@.price > 10 && @.kind == 'book')]``. What else there is
(``where``, ``|``, arithmetic, ``=~``, ``$`` in a filter, `` `parent` ``) is refused when the expression is read.
"""

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

MAX_EXPRESSION_CHARS = 500
MAX_VISITS = 200_000
"""Of values in one search: some 50 ms."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>-?\d{1,15}(?:\.\d{1,15})?(?!\d))
    |(?P<name>@?[A-Za-z_][A-Za-z0-9_@-]*)|(?P<sign>\.\.|&&|\|\||[=<>!]=|=(?!~)|[$@.*\[\]():,?&!<>]))\s*""",
    re.ASCII | re.VERBOSE | re.DOTALL,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_WORDS = {"true": True, "false": False, "null": None}

Select = Callable[[Any, "_Visits"], Iterator[Any]]
Test = Callable[[Any, "_Visits"], bool]
Steps = list[tuple[bool, Select]]


class BodyTooLargeError(ValueError):
    """A search visited more than `MAX_VISITS` values."""


class JsonPath:
    """A JSONPath expression, read once."""

    def __init__(self, expression: str, *, filters: bool = False) -> None:
        """Raises ValueError, with the place, where the expression cannot be read."""
        if len(expression) > MAX_EXPRESSION_CHARS:
            raise ValueError(f"a JSONPath of {len(expression):,} characters, the limit is {MAX_EXPRESSION_CHARS}")
        try:
            self._steps = _Parser(expression, filters=filters).read()
        except RecursionError as error:
            raise ValueError(f"JSONPath {expression[:100]!r}: nested too deeply") from error

    def find(self, body: Any) -> list[Any]:
        """The values that it finds in a decoded JSON body. Raises BodyTooLargeError."""
        return _walk(self._steps, body, _Visits())


class _Visits:
    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_VISITS

    def one(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BodyTooLargeError(f"the search visits more than {MAX_VISITS:,} values of the body")


def _walk(steps: Steps, start: Any, visits: _Visits) -> list[Any]:
    nodes = [start]
    for deep, select in steps:
        entered = (each for node in nodes for each in (_descend(node) if deep else (node,)))
        found = []
        for node in entered:
            visits.one()
            for value in select(node, visits):
                visits.one()
                found.append(value)
        nodes = found
    return nodes


def _descend(node: Any) -> Iterator[Any]:
    """A value and all below it; without recursion, as a body may be nested as deeply as its sender likes."""
    left = [node]
    while left:
        node = left.pop()
        yield node
        left.extend(reversed(list(_members(node))))


def _members(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def _every(node: Any, _visits: _Visits) -> Iterator[Any]:
    return _members(node)


def _named(names: list[str]) -> Select:
    def select(node: Any, _visits: _Visits) -> Iterator[Any]:
        if isinstance(node, dict):
            yield from (node[name] for name in names if name in node)

    return select


def _at(indexes: list[int]) -> Select:
    def select(node: Any, _visits: _Visits) -> Iterator[Any]:
        if isinstance(node, list):
            yield from (node[index] for index in indexes if -len(node) <= index < len(node))

    return select


def _sliced(part: slice) -> Select:
    def select(node: Any, _visits: _Visits) -> Iterator[Any]:
        if isinstance(node, list):
            yield from node[part]

    return select


def _filtered(test: Test) -> Select:
    def select(node: Any, visits: _Visits) -> Iterator[Any]:
        for member in _members(node):
            visits.one()
            if test(member, visits):
                yield member

    return select


def _compared(steps: Steps, symbol: str, literal: Any) -> Test:
    def test(node: Any, visits: _Visits) -> bool:
        found = _walk(steps, node, visits)
        return any(_holds(symbol, value, literal) for value in found) if found else symbol == "!="

    return test


def _holds(symbol: str, left: Any, right: Any) -> bool:
    """Only two numbers or two texts have an order; a truth value is no number."""
    if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return _COMPARE[symbol](left, right)
    equal = type(left) is type(right) and left == right
    return not equal if symbol == "!=" else equal and symbol not in "<>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Parser:
    """Reads one expression, token by token from the left."""

    def __init__(self, expression: str, *, filters: bool) -> None:
        self._expression, self._filters = expression, filters
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(expression):
            found = _TOKEN.match(expression, at)
            if found is None or found.lastgroup is None:
                raise ValueError(f"JSONPath {expression!r}: not understood at {expression[at : at + 20]!r}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._tokens.append(("end", ""))
        self._tokens.reverse()

    def read(self) -> Steps:
        steps = self._path("$")
        if self._tokens[-1][0] != "end":
            raise self._wrong("not understood")
        return steps

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"JSONPath {self._expression!r}: {why} at {self._tokens[-1][1] or 'the end'!r}")

    def _take(self, *wanted: str) -> str:
        """The next token where it is one of these signs or kinds, else empty."""
        kind, value = self._tokens[-1]
        if (value if kind == "sign" else kind) in wanted:
            self._tokens.pop()
            return value
        return ""

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._wrong(f"{sign!r} is expected")

    def _path(self, start: str) -> Steps:
        steps: Steps = []
        begun = bool(self._take(start))
        while True:
            dots = self._take("..", ".")
            if self._take("["):
                select = self._bracket()
                self._expect("]")
            elif dots or not begun:
                select = self._member()
            else:
                return steps
            steps.append((dots == "..", select))
            begun = True

    def _member(self) -> Select:
        return _every if self._take("*") else _named(self._names())

    def _names(self) -> list[str]:
        names = []
        while name := self._take("text", "name", "number"):
            names.append(_unquoted(name))
            if not self._take(","):
                return names
        raise self._wrong("a name is expected")

    def _bracket(self) -> Select:
        if self._take("*"):
            return _every
        if self._take("?"):
            if not self._filters:
                raise ValueError(f"JSONPath {self._expression!r}: a filter, '[?', is a thing of jsonpath-ext")
            return _filtered(self._any())
        if self._tokens[-1][0] in ("text", "name"):
            return _named(self._names())
        return self._indexes()

    def _indexes(self) -> Select:
        """``0``, ``-1, 3``, ``1:``, ``::2``."""
        numbers, signs = [self._index()], set()
        while sign := self._take(":", ","):
            numbers.append(self._index())
            signs.add(sign)
        indexes = [number for number in numbers if number is not None]
        if signs != {":"} and len(signs) < 2 and len(indexes) == len(numbers):
            return _at(indexes)
        if signs != {":"} or len(numbers) > 3 or numbers[2:] == [0]:
            raise self._wrong("an index, a slice or a name is expected")
        return _sliced(slice(*numbers))

    def _index(self) -> int | None:
        number = self._take("number")
        if "." in number:
            raise self._wrong(f"{number} is no index,")
        return int(number) if number else None

    def _any(self) -> Test:
        tests = [self._all()]
        while self._take("||"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda node, visits: any(test(node, visits) for test in tests)

    def _all(self) -> Test:
        tests = [self._test()]
        while self._take("&&", "&"):
            tests.append(self._test())
        return tests[0] if len(tests) == 1 else lambda node, visits: all(test(node, visits) for test in tests)

    def _test(self) -> Test:
        if self._take("("):
            test = self._any()
            self._expect(")")
            return test
        unwanted = bool(self._take("!"))
        steps = self._path("@")
        symbol = "" if unwanted else self._take(*_COMPARE)
        if symbol:
            return _compared(steps, symbol, self._literal())
        return lambda node, visits: bool(_walk(steps, node, visits)) is not unwanted

    def _literal(self) -> Any:
        if number := self._take("number"):
            return float(number) if "." in number else int(number)
        if text := self._take("text", "name"):
            return _WORDS.get(text, _unquoted(text))
        raise self._wrong("a number, a quoted text, true, false or null is expected")


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[0] in "'\"" else text
