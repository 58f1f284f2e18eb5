"""Answers in XML, read where somebody looks: botocore's parser reads all that is in them, which costs far more.

What is found is what that parser gives; for all but structures, lists and texts it is asked itself. JMESPath takes a
view for a dictionary, but for its functions type() and to_string(). A deep copy is made of plain dictionaries.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLParser

from botocore.parsers import ResponseParserError

_ABSENT: Any = object()
_UNREAD: Any = object()
# With the one namespace of the outermost element left out, names in the tree are those of the model.
_NAMESPACE = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<[A-Za-z0-9]+(\s+xmlns=(?:\"[^\"]*\"|'[^']*'))")
_BESIDE_ELEMENTS = frozenset({"location", "xmlAttribute", "eventheader"})

Read = Callable[[Any], Any]
"""Makes a value of an element, or of the list of those that share a name."""


def tree(body: bytes) -> Element | None:
    """The outermost element of an answer, all names without a namespace; None where there are several of those.

    Raises ResponseParserError, as botocore does.
    """
    found = _NAMESPACE.match(body)
    if found is not None:
        body = body[: found.start(1)] + body[found.end(1) :]
    if b"xmlns" in body:
        return None
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - AWS's answer, read as botocore reads it
    try:
        parser.feed(body)
        root: Element = parser.close()
    except ParseError as error:
        raise ResponseParserError(f"not XML: {error}") from error
    return root


class Structures:
    """How the structures of a service's answers are read: found out where each is first met."""

    def __init__(self, parser: Any) -> None:
        """`parser` is botocore's."""
        self._parser = parser
        self._known: dict[str, _Structure | None] = {}

    def of(self, shape: Any) -> "_Structure | None":
        """None: botocore has to read it, not every member is an element of its own."""
        if shape.name not in self._known:
            doubtful = shape.is_tagged_union or shape.metadata.get("exception") or any(
                member.serialization.keys() & _BESIDE_ELEMENTS for member in shape.members.values()
            )  # fmt: skip
            self._known[shape.name] = None if doubtful else _Structure(shape, self, self._parser)
        return self._known[shape.name]

    def read(self, shape: Any) -> Read:
        """How values of a shape are read."""
        parse = self._parser._parse_shape  # noqa: SLF001 - botocore reads part of an answer by no other name

        def by_botocore(found: Any) -> Any:
            try:
                return parse(shape, found)
            except Exception:  # noqa: BLE001 - a number that is none: the calls that go on are not to fail over it
                return getattr(found, "text", None)

        def text(found: Any) -> Any:
            return (found.text or "") if isinstance(found, Element) else by_botocore(found)

        def structure(found: Any) -> Any:
            known = self.of(shape)  # not sooner: a structure may be within itself
            return by_botocore(found) if known is None else View(known, found)

        if shape.type_name == "list":
            return self._list(shape)
        return {"string": text, "structure": structure}.get(shape.type_name, by_botocore)

    def _list(self, shape: Any) -> Read:
        each: Read | None = None  # a list may be within itself, too
        flattened = bool(shape.serialization.get("flattened"))

        def items(found: Any) -> list[Any]:
            nonlocal each
            each = each or self.read(shape.member)
            return [each(found)] if flattened and isinstance(found, Element) else [each(one) for one in found]

        return items


class _Structure:
    """One structure: by the names of its members, those of their elements, and how they are read."""

    def __init__(self, shape: Any, structures: Structures, parser: Any) -> None:
        self.members: dict[str, tuple[str, Read]] = {
            name: (parser._member_key_name(member, name), structures.read(member))  # noqa: SLF001 - its rules
            for name, member in shape.members.items()
        }
        self.repeated = parser._build_name_to_xml_node  # noqa: SLF001 - what it makes of names that come twice


class View(Mapping[str, Any]):
    """A structure of an answer. Members are read when they are asked for, and once."""

    __slots__ = ("_elements", "_structure", "_values")

    def __init__(self, structure: _Structure, found: Any) -> None:
        self._structure = structure
        element = found if isinstance(found, Element) else found[0]
        elements = {child.tag: child for child in element}
        self._elements: dict[str, Any] = elements if len(elements) == len(element) else structure.repeated(element)
        self._values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        value = self._values.get(key, _UNREAD)
        if value is _UNREAD:
            name, read = self._structure.members.get(key, ("", None))
            element = self._elements.get(name)
            value = self._values[key] = _ABSENT if element is None or read is None else read(element)
        return default if value is _ABSENT else value

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name, (element, _) in self._structure.members.items() if element in self._elements)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {name: deepcopy(value, memo) for name, value in self.items()}


View.__name__ = "dict"  # JMESPath's functions tell the types of values by this name
