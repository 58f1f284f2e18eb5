"""What `triggerd waiters check`, `triggerd doctor` and the daemon's start say about waiter files.

Shape, JMESPath, paths against the model's output, rules that can never match, values without a word.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from botocore.model import ListShape, OperationModel, Shape

from triggerd.aws.acceptors import PATH_MATCHERS, compiled
from triggerd.aws.hints import close_to, hint
from triggerd.aws.rules import Found, in_words
from triggerd.aws.waiters import NOT_SERVICES, ServiceModels, WaiterDefinition, read_file, waiter_problems
from triggerd.aws.walk import PathError, Walk
from triggerd.data import data_path
from triggerd.errors import WaiterDefinitionError

_WAITER_KEYS = frozenset({"description", "operation", "delay", "maxAttempts", "acceptors"})
_ACCEPTOR_KEYS = frozenset({"state", "matcher", "expected", "argument"})
_NUMBERS = frozenset({"integer", "long", "float", "double"})
_TYPO = 0.93  # so alike are a code and its misspelling, and no two codes of one operation in botocore's waiters
_INDEX = re.compile(r"\[(-?\d+|\*)?\]")

Severity = Literal["unreadable", "unusable", "doubtful"]
"""The file is no waiter file; this waiter (all of the file where none is named) can never be used; it can."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file.

    Attributes:
        waiter: Its name, empty where the file itself is wrong.
        key: Where, as ``acceptors[2].argument``; empty where no key is to blame.
        value: What stands there, None where there is nothing to show.
        why: What is wrong and the way out.
    """

    severity: Severity
    waiter: str
    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        why = in_words(self.key, self.value, self.why) if self.key else self.why
        return f"{self.waiter}: {why}" if self.waiter else why


def waiter_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are, and the waiter files of folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(found for found in path.glob("*.json") if found.name not in NOT_SERVICES)
        else:
            yield path


def check_file(path: Path, models: ServiceModels, service: str | None = None) -> list[Problem]:
    """Everything wrong with a waiter file, whose service is its name unless given. Empty: it is fine."""
    service = service or path.stem
    try:
        waiters = read_file(path)
    except WaiterDefinitionError as error:
        return [Problem("unreadable", "", "", None, str(error).removeprefix(f"{path}: "))]
    found = []
    if service not in models.services:
        meant = _meant_service(models, service, waiters)
        why = (
            hint(service, models.services) if meant is None else f", did you mean {meant!r}, which has its operations?"
        )
        found.append(Problem("unusable", "", "", None, f"botocore has no service {service!r}{why}"))
        if meant is None:
            return found
        service = meant
    for name, raw in waiters.items():
        found += _check_waiter(models, service, name, raw)
    return found


def _meant_service(models: ServiceModels, wanted: str, waiters: Mapping[str, Any]) -> str | None:
    """A service of a like name that has all operations of the file."""
    operations = {str(raw.get("operation")) for raw in waiters.values() if isinstance(raw, dict)}
    first = re.split("[-_]", wanted)[0]
    alike = (name for name in models.services if operations and first and name.startswith(first))
    return next((name for name in alike if all(models.operation(name, operation) for operation in operations)), None)


def _check_waiter(models: ServiceModels, service: str, name: str, raw: Any) -> Iterator[Problem]:
    broken = [Problem("unusable", name, *problem) for problem in waiter_problems(models, service, raw)]
    yield from broken
    if isinstance(raw, dict):
        for problem in _key_problems(raw):
            yield Problem("doubtful", name, *problem)
        for problem in _Check(models, service, raw).problems() if not broken else ():
            yield Problem("doubtful", name, *problem)


def _key_problems(raw: Mapping[str, Any]) -> Iterator[Found]:
    for key in sorted(raw.keys() - _WAITER_KEYS):
        yield key, raw[key], f"unknown key{hint(key, _WAITER_KEYS)}"
    if not isinstance(raw.get("description", ""), str):
        yield "description", raw["description"], "must be a text"
    acceptors = raw.get("acceptors")
    for index, acceptor in enumerate(acceptors if isinstance(acceptors, list) else ()):
        if isinstance(acceptor, dict):
            for key in sorted(acceptor.keys() - _ACCEPTOR_KEYS):
                yield f"acceptors[{index}].{key}", acceptor[key], f"unknown key{hint(key, _ACCEPTOR_KEYS)}"


def uncovered(models: ServiceModels, definition: WaiterDefinition) -> dict[str, list[str]]:
    """Values of a status that no acceptor expects, by the acceptors' argument: a wait that finds one asks again."""
    check = _Check(models, definition.service, definition.raw)
    list(check.problems())
    return dict(check.uncovered())


class _Check:
    """What is doubtful in one waiter that can be used."""

    def __init__(self, models: ServiceModels, service: str, raw: Mapping[str, Any]) -> None:
        self._acceptors: list[Mapping[str, Any]] = raw.get("acceptors", [])
        self._service = service
        self._operation: OperationModel = models.operation(service, raw["operation"])
        self._covered: dict[str, tuple[frozenset[str], set[str]]] = {}

    def problems(self) -> Iterator[Found]:
        if not self._acceptors:
            yield "acceptors", None, "there are none: only a wait that brings its own can use this waiter"
            return
        yield from self._never_reached()
        said: set[str] = set()
        for index, acceptor in enumerate(self._acceptors):
            for key, value, why in self._acceptor(acceptor):
                if key != "argument" or value not in said:  # a whole list of acceptors often has the same
                    yield f"acceptors[{index}].{key}", value, why
                said.add(acceptor.get("argument", ""))
        if all(acceptor["state"] != "success" for acceptor in self._acceptors):
            yield "acceptors", None, "none has the state success: such a wait can only fail"
        for argument, missing in self.uncovered():
            names, each = ", ".join(map(repr, missing)), "it" if len(missing) == 1 else "each"
            why = f"no acceptor expects {names} of {argument}: say whether {each} is success, failure or retry"
            yield "acceptors", None, why

    def uncovered(self) -> Iterator[tuple[str, list[str]]]:
        for argument, (values, expected) in self._covered.items():
            if values - expected:
                yield argument, sorted(values - expected)

    def _never_reached(self) -> Iterator[Found]:
        before: dict[tuple[str, str, str | None], int] = {}
        for index, acceptor in enumerate(self._acceptors):
            matcher, expected = acceptor["matcher"], acceptor["expected"]
            value, argument = json.dumps(expected), acceptor["argument"] if matcher in PATH_MATCHERS else None
            rules = [(matcher, value, argument)]
            if matcher == "pathAll":
                rules.append(("pathAny", value, argument))
            elif matcher == "error" and expected:
                rules.append(("error", "true", None))
            first = min((before[rule] for rule in rules if rule in before), default=None)
            if first is not None:
                yield f"acceptors[{index}]", None, f"is never reached: acceptors[{first}] matches first"
            before.setdefault(rules[0], index)

    def _acceptor(self, acceptor: Mapping[str, Any]) -> Iterator[Found]:
        matcher, expected = acceptor["matcher"], acceptor["expected"]
        if matcher == "error" and isinstance(expected, str):
            codes = {str(shape.error_code or shape.name) for shape in self._operation.error_shapes}
            if expected not in codes and (meant := close_to(expected, codes, _TYPO)):
                yield "expected", expected, f"{self._operation.name} has no such error, did you mean {meant!r}?"
        if matcher in PATH_MATCHERS:
            try:
                found = Walk().result(compiled(acceptor["argument"]).parsed, self._operation.output_shape)
            except PathError as error:
                yield "argument", acceptor["argument"], str(error)
            else:
                yield from self._found(acceptor, found)

    def _found(self, acceptor: Mapping[str, Any], shape: Shape | None) -> Iterator[Found]:
        argument, expected, matcher = acceptor["argument"], acceptor["expected"], acceptor["matcher"]
        if isinstance(expected, list | dict):
            return  # equal to a whole list: nobody's waiter has it, and nothing is known of it
        if isinstance(shape, ListShape) and matcher == "path" and expected is not None:
            yield "matcher", matcher, f"{argument} finds a list: use pathAll or pathAny"
        if shape is not None and not isinstance(shape, ListShape) and matcher != "path":
            yield "matcher", matcher, f"{argument} finds one value: use path"
        leaf = shape.member if isinstance(shape, ListShape) else shape
        if leaf is not None and expected is not None and (kind := _other_kind(leaf, expected)):
            yield "expected", expected, f"{argument} finds {kind}, which never equals this"
            return
        known = listed(self._service, self._operation.name, argument)
        values = known or frozenset(getattr(leaf, "enum", None) or ())
        if values and isinstance(expected, str):
            if expected not in values:
                never = "is not known to have" if known else "never has"
                yield "expected", expected, f"{argument} {never} this value{hint(expected, values)}"
            self._covered.setdefault(argument, (values, set()))[1].add(expected)


def _other_kind(leaf: Shape, expected: object) -> str | None:
    """What a path finds, where it cannot equal the expected value; else None."""
    kind = leaf.type_name
    if kind == "string" and not isinstance(expected, str):
        return "a text"
    if kind == "boolean" and not isinstance(expected, bool):
        return "true or false"
    if kind in _NUMBERS and (isinstance(expected, bool) or not isinstance(expected, int | float)):
        return "a number"
    if kind in ("structure", "map", "list") and not getattr(leaf, "is_document_type", False):
        return f"a {kind}"
    return None


@cache
def known_states() -> dict[str, frozenset[str]]:
    """Status values of plain-string fields, by ``service.Operation.path``: `waiters/states.json`."""
    document = json.loads((data_path("waiters") / "states.json").read_text(encoding="utf-8"))
    return {
        key: frozenset(entry["value"] for entry in entries)
        for key, entries in document.items() if isinstance(entries, list)
    }  # fmt: skip


@cache
def _states_by_field() -> dict[str, frozenset[str]]:
    return {_INDEX.sub("", key): values for key, values in known_states().items()}


def listed(service: str, operation: str, argument: str) -> frozenset[str] | None:
    """The values of a field by `known_states`, by whichever index of its lists a path finds it."""
    return _states_by_field().get(_INDEX.sub("", f"{service}.{operation}.{argument}"))
