"""Answers of AWS made to measure: one in which a waiter's path finds a given value."""

from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
from botocore.model import ListShape, MapShape, Shape, StructureShape

from triggerd.aws.acceptors import PATH_MATCHERS, compiled
from triggerd.aws.checks import listed
from triggerd.aws.waiters import ServiceModels, WaiterDefinition
from triggerd.aws.walk import Walk

OK = {"ResponseMetadata": {"HTTPStatusCode": 200}}


def statuses(models: ServiceModels, definition: WaiterDefinition) -> Iterator[tuple[str, list[str]]]:
    """Each path that a waiter compares with texts, and every value that AWS may have there."""
    output = models.get(definition.service).operation_model(definition.operation).output_shape
    rules = definition.acceptors.rules
    for argument in dict.fromkeys(
        rule.argument for rule in rules if rule.matcher in PATH_MATCHERS and isinstance(rule.expected, str)
    ):
        assert argument is not None
        shape = Walk().result(compiled(argument).parsed, output)
        leaf = shape.member if isinstance(shape, ListShape) else shape
        values = set(listed(definition.service, definition.operation, argument) or getattr(leaf, "enum", None) or ())
        yield argument, sorted(values)


def answer(argument: str, *values: str) -> dict[str, Any]:
    """The smallest answer in which a path finds this value; several, where it finds a list."""
    node = jmespath.compile(argument).parsed
    found: dict[str, Any] = _put(node, values[0])
    for value in values[1:]:
        found = _joined(found, _put(node, value))
    return found


def fits(shape: Shape | None, value: Any) -> bool:
    """Whether a service model allows this answer."""
    if isinstance(shape, StructureShape):
        if getattr(shape, "is_document_type", False):
            return True
        return isinstance(value, Mapping) and all(
            name in shape.members and fits(shape.members[name], member) for name, member in value.items()
        )
    if isinstance(shape, ListShape):
        return isinstance(value, list) and all(fits(shape.member, member) for member in value)
    if isinstance(shape, MapShape):
        return isinstance(value, Mapping) and all(fits(shape.value, member) for member in value.values())
    return shape is not None and shape.type_name == "string" and isinstance(value, str)


def _put(node: Mapping[str, Any], value: Any) -> Any:
    """What a syntax tree finds `value` in; a projection finds it in a list."""
    children = node["children"]
    match node["type"]:
        case "field":
            return {node["value"]: value}
        case "identity" | "current" | "index":
            return [value] if node["type"] == "index" else value
        case "subexpression" | "index_expression":
            for child in reversed(children):
                value = _put(child, value)
            return value
        case "flatten":
            return _put(children[0], [value])
        case "projection":
            inner = _put(children[1], value)
            return _put(children[0], inner if children[0]["type"] == "flatten" else [inner])
        case "filter_projection":
            return _put(children[0], [_put(children[1], value) | _satisfying(children[2])])
        case "pipe":
            [inner] = _put(children[1], value)  # behind a projection, which makes the list
            return _put(children[0], inner)
    raise AssertionError(f"how is an answer made for {node['type']}?")


def _satisfying(condition: Mapping[str, Any]) -> dict[str, Any]:
    """Members for which ``name == 'text'`` is true."""
    assert (condition["type"], condition["value"]) == ("comparator", "eq")
    name, literal = condition["children"]
    found: dict[str, Any] = _put(name, literal["value"])
    return found


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, list):
        return [_joined(one[0], other[0])] if isinstance(one[0], list) else [*one, *other]
    return {name: _joined(member, other[name]) for name, member in one.items()}
