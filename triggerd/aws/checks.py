"""What `triggerd waiters check` says about a file: shape, JMESPath, paths against the model's output, uncovered values.

A path is walked through its JMESPath syntax tree beside the shapes of the operation's output. Where the walk cannot
know (a function's result, a free-form document) it says nothing: a check reports only what is surely wrong.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from triggerd.aws.acceptors import PATH_MATCHERS, compiled
from triggerd.aws.hints import hint
from triggerd.aws.waiters import ServiceModels, compile_waiter, read_file
from triggerd.data import data_path
from triggerd.errors import WaiterDefinitionError

_WAITER_KEYS = frozenset({"description", "operation", "delay", "maxAttempts", "acceptors"})
_ACCEPTOR_KEYS = frozenset({"state", "matcher", "expected", "argument"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file.

    Attributes:
        waiter: Its name, empty where the file itself is wrong.
        key: Where, as ``acceptors[2].argument``.
        value: What stands there.
        why: What is wrong and the way out.
    """

    waiter: str
    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.waiter or 'file'}: {self.key} = {self.value!r}: {self.why}" if self.key else self.why


def check_file(path: Path, models: ServiceModels, service: str | None = None) -> list[Problem]:
    """Everything wrong with a waiter file, whose service is its name unless given. Empty: it is fine."""
    service = service or path.stem
    try:
        waiters = read_file(path)
        models.get(service)
    except WaiterDefinitionError as error:
        return [Problem("", "", path.name, str(error))]
    return [
        Problem(name, key, value, why)
        for name, raw in waiters.items() for key, value, why in _check_waiter(models, service, path, name, raw)
    ]  # fmt: skip


@cache
def known_states() -> dict[str, frozenset[str]]:
    """Status values of plain-string fields, by ``service.Operation.path``: `waiters/states.json`."""
    document = json.loads((data_path("waiters") / "states.json").read_text(encoding="utf-8"))
    return {
        key: frozenset(entry["value"] for entry in entries)
        for key, entries in document.items() if isinstance(entries, list)
    }  # fmt: skip


Found = Iterator[tuple[str, Any, str]]


def _check_waiter(models: ServiceModels, service: str, path: Path, name: str, raw: Any) -> Found:
    if isinstance(raw, dict):
        for key in sorted(raw.keys() - _WAITER_KEYS):
            yield key, raw[key], f"unknown key{hint(key, _WAITER_KEYS)}"
    try:
        definition = compile_waiter(models, service, name, raw, source="user", file=path)
    except WaiterDefinitionError as error:
        yield "", raw, str(error)
        return
    states = known_states()
    output = models.get(service).operation_model(definition.operation).output_shape
    covered: dict[str, tuple[frozenset[str], set[Any]]] = {}
    for index, acceptor in enumerate(raw["acceptors"]):
        at = f"acceptors[{index}]"
        for key in sorted(acceptor.keys() - _ACCEPTOR_KEYS):
            yield f"{at}.{key}", acceptor[key], f"unknown key{hint(key, _ACCEPTOR_KEYS)}"
        if acceptor["matcher"] in PATH_MATCHERS:
            where = f"{service}.{definition.operation}.{acceptor['argument']}"
            yield from _check_path(at, acceptor, output, states.get(where), covered)
    for argument, (values, expected) in covered.items():
        for value in sorted(values - expected):
            yield "acceptors", argument, f"no acceptor expects {value!r}: say whether it is success, failure or retry"


def _check_path(
    at: str,
    acceptor: Mapping[str, Any],
    output: Shape | None,
    listed: frozenset[str] | None,
    covered: dict[str, tuple[frozenset[str], set[Any]]],
) -> Found:
    argument, expected, matcher = acceptor["argument"], acceptor["expected"], acceptor["matcher"]
    try:
        shape = Walk().result(compiled(argument).parsed, output)
    except PathError as error:
        yield f"{at}.argument", argument, str(error)
        return
    if isinstance(shape, ListShape) and matcher == "path" and not isinstance(expected, list):
        yield f"{at}.matcher", matcher, f"{argument} finds a list: use pathAll or pathAny"
    if shape is not None and not isinstance(shape, ListShape) and matcher != "path":
        yield f"{at}.matcher", matcher, f"{argument} finds one value: use path"
    leaf = shape.member if isinstance(shape, ListShape) else shape
    values = listed or frozenset(getattr(leaf, "enum", None) or ())
    if values:
        if isinstance(expected, str) and expected not in values:
            yield f"{at}.expected", expected, f"{argument} never has this value{hint(expected, values)}"
        covered.setdefault(argument, (values, set()))[1].add(expected)


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
        if shape is not None and shape.type_name in ("string", "integer", "long", "boolean", "timestamp"):
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

    _current = _identity

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

    def _slice(self, _node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        return shape

    def _comparator(self, node: Mapping[str, Any], shape: Shape | None) -> Shape | None:
        left, right = node["children"]
        for side, other in ((left, right), (right, left)):
            found = self.result(side, shape)
            values, wanted = getattr(found, "enum", None), other.get("value")
            if values and other["type"] == "literal" and isinstance(wanted, str) and wanted not in values:
                raise PathError(f"it never is {wanted!r}{hint(wanted, values)}")
        return None


class _ListOf(ListShape):  # type: ignore[misc]  # botocore has no type information
    """What a projection finds: a list of what stands behind it."""

    def __init__(self, member: Shape) -> None:
        super().__init__("projection", {"type": "list"}, None)
        self._leaf = member.member if isinstance(member, _ListOf) else member

    @property
    def member(self) -> Shape:
        return self._leaf
