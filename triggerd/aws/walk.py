"""Follows a JMESPath expression through the shapes of a service model, to find what AWS can never answer.

Where it cannot know (a free-form document, what most functions make) it says nothing: only what is surely wrong.
"""

from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from jmespath.functions import Functions

from triggerd.aws.hints import hint

_SCALARS = frozenset({"string", "integer", "long", "float", "double", "boolean", "timestamp"})
_FUNCTIONS: Mapping[str, Mapping[str, Any]] = Functions.FUNCTION_TABLE
_BOOLEAN, _NUMBER, _TEXT = (Shape("found", {"type": kind}, None) for kind in ("boolean", "double", "string"))
_MADE = {
    "length": _NUMBER, "abs": _NUMBER, "ceil": _NUMBER, "floor": _NUMBER, "sum": _NUMBER, "avg": _NUMBER,
    "to_number": _NUMBER, "contains": _BOOLEAN, "starts_with": _BOOLEAN, "ends_with": _BOOLEAN, "join": _TEXT,
    "to_string": _TEXT, "type": _TEXT,
}  # fmt: skip
"""What functions make; of the others it depends on what they are given."""


class PathError(Exception):
    """A path names a member that the output shape does not have, or compares it with a value it never has."""


class Walk:
    """Follows a JMESPath syntax tree through shapes. None stands for "cannot be known"."""

    def result(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        """The shape that the expression finds. Raises PathError."""
        method = getattr(self, f"_{node['type']}", None)
        if method is None:
            for child in node.get("children", ()):
                if isinstance(child, dict):
                    self.result(child, shape)
            return None
        found: Shape | None = method(node, shape)
        return found

    def _field(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        name = node["value"]
        if isinstance(shape, StructureShape) and not getattr(shape, "is_document_type", False):
            if name not in shape.members:
                where = shape.name
                raise PathError(f"{where} has no member {name!r}{hint(name, shape.members)}")
            member: Shape = shape.members[name]
            return member
        if isinstance(shape, MapShape):
            value: Shape = shape.value
            return value
        if isinstance(shape, ListShape):
            raise PathError(f"{name!r} is asked of a list: write [] before it")
        if shape is not None and shape.type_name in _SCALARS:
            raise PathError(f"{name!r} is asked of a {shape.type_name}")
        return None

    def _chain(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        for child in node["children"]:
            shape = self.result(child, shape)
        return shape

    _subexpression = _index_expression = _pipe = _chain

    def _index(self, _node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        return shape.member if isinstance(shape, ListShape) else None

    def _identity(self, _node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        return shape

    _current = _slice = _identity

    def _flatten(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        found = self.result(node["children"][0], shape)
        inner = found.member if isinstance(found, ListShape) else None
        return inner if isinstance(inner, ListShape) else found

    def _projection(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        found = self.result(node["children"][0], shape)
        if not isinstance(found, ListShape):
            return None
        for condition in node["children"][2:]:  # of a filter
            self.result(condition, found.member)
        leaf = self.result(node["children"][1], found.member)
        return _ListOf(leaf) if leaf is not None else None

    _filter_projection = _projection

    def _value_projection(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        found = self.result(node["children"][0], shape)
        leaf = self.result(node["children"][1], found.value) if isinstance(found, MapShape) else None
        return _ListOf(leaf) if leaf is not None else None

    def _comparator(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        left, right = node["children"]
        for side, other in ((left, right), (right, left)):
            try:
                found = self.result(side, shape)
            except PathError as error:
                if side["type"] != "field":
                    raise
                raise PathError(f"{error} A text stands in single quotes, a number in backquotes") from None
            values, wanted = getattr(found, "enum", None), other.get("value")
            if values and other["type"] == "literal" and isinstance(wanted, str) and wanted not in values:
                raise PathError(f"it never is {wanted!r}{hint(wanted, values)}")
        return _BOOLEAN

    def _not_expression(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        self.result(node["children"][0], shape)
        return _BOOLEAN

    def _and_expression(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        """`&&` and `||` give one of their sides, so a boolean where both are."""
        sides = [self.result(child, shape) for child in node["children"]]
        return _BOOLEAN if all(side is _BOOLEAN for side in sides) else None

    _or_expression = _and_expression

    def _function_expression(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        name, arguments = node["value"], node["children"]
        if name not in _FUNCTIONS:
            raise PathError(f"JMESPath has no function {name}(){hint(name, _FUNCTIONS)}")
        signature = _FUNCTIONS[name]["signature"]
        many = bool(signature) and signature[-1].get("variadic", False)
        if len(arguments) < len(signature) or (len(arguments) > len(signature) and not many):
            raise PathError(f"{name}() takes {len(signature)}{' or more' if many else ''}, not {len(arguments)}")
        for argument in arguments:
            self.result(argument, shape)
        return _MADE.get(name)

    def _expref(self, _node: Mapping[str, Any], _shape: Shape | None) -> Shape | None:
        return None  # is asked of the members of another argument


class _ListOf(ListShape):  # type: ignore[misc]  # botocore has no type information
    """What a projection finds: a list of what stands behind it."""

    def __init__(self, member: Shape) -> None:
        super().__init__("projection", {"type": "list"}, None)
        self._leaf = member.member if isinstance(member, _ListOf) else member

    @property
    def member(self) -> Shape:
        return self._leaf
