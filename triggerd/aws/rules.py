"""From acceptors as a file or a trigger writes them to rules that decide; what is wrong is said with its place.

A trigger's acceptors come from a queue: they are bounded in number, in length and in what they make of an answer.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from jmespath.exceptions import JMESPathError

from triggerd.aws import templates
from triggerd.aws.acceptors import MATCHERS, PATH_MATCHERS, STATES, Acceptor, compiled
from triggerd.aws.hints import hint
from triggerd.aws.templates import TemplateError
from triggerd.errors import WaiterDefinitionError

ACCEPTORS, PATHS, LENGTH, MAKES = 100, 20, 500, 2
"""Most acceptors of a trigger, different expressions in them, characters of one, and functions or lists it makes."""

_SHOWN = 200


class Rules:
    """Reads acceptors that have one origin.

    Args:
        origin: Begins every message, as ``"/etc/waiters/glue.json: waiter mine: "``.
        hostile: They come from a queue.
    """

    def __init__(self, origin: str, *, hostile: bool = False) -> None:
        self._origin, self._hostile = origin, hostile

    def wrong(self, key: str, value: object, way_out: str) -> WaiterDefinitionError:
        """The error for one key."""
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return WaiterDefinitionError(f"{self._origin}{key} = {shown}: {way_out}")

    def read(self, acceptors: Any) -> tuple[Acceptor, ...]:
        """Check them. Raises WaiterDefinitionError naming acceptor, key, value and the way out."""
        if not isinstance(acceptors, list | tuple) or not acceptors:
            raise self.wrong("acceptors", acceptors, "must be a list with at least one acceptor")
        if self._hostile and len(acceptors) > ACCEPTORS:
            raise self.wrong("acceptors", f"{len(acceptors)} of them", f"at most {ACCEPTORS}")
        found = []
        for index, acceptor in enumerate(acceptors):
            problem = self._problem(acceptor)
            if problem:
                raise self.wrong(f"acceptors[{index}].{problem[0]}", problem[1], problem[2])
            argument = acceptor.get("argument") if acceptor["matcher"] in PATH_MATCHERS else None
            found.append(Acceptor(acceptor["state"], acceptor["matcher"], acceptor["expected"], argument))
        paths = {rule.argument for rule in found} - {None}
        if self._hostile and len(paths) > PATHS:
            raise self.wrong("acceptors", f"{len(paths)} different arguments", f"at most {PATHS}")
        return tuple(found)

    def _problem(self, acceptor: Any) -> "Found | None":
        problem = acceptor_problem(acceptor)
        if problem is None and self._hostile:
            problem = _size_problem(acceptor)  # before anything is parsed
        if problem is None and acceptor["matcher"] in PATH_MATCHERS:
            problem = _expression_problem(acceptor["argument"], MAKES if self._hostile else None)
        return problem

    def fill(self, rules: Sequence[Acceptor], parameters: Mapping[str, Any]) -> tuple[Acceptor, ...]:
        """The rules with their parameters. Raises WaiterDefinitionError where one is missing, unknown or unusable."""
        wanted = parameters_of(rules)
        if not isinstance(parameters, Mapping):
            raise self.wrong("parameters", parameters, "must be an object, a value for each name")
        for name in parameters:
            if name not in wanted:
                none = (
                    "the waiter takes none" if not wanted else f"the waiter has none of this name{hint(name, wanted)}"
                )
                raise self.wrong("parameters", name, none)
        try:
            values = dict(templates.checked(name, value) for name, value in parameters.items())
        except TemplateError as error:
            raise WaiterDefinitionError(f"{self._origin}parameters: {error}") from None
        missing = sorted(wanted - values.keys())
        if missing:
            raise WaiterDefinitionError(f"{self._origin}parameters: {', '.join(missing)} missing")
        return tuple(
            Acceptor(rule.state, rule.matcher, rule.expected, templates.render(rule.argument, values))
            if rule.argument else rule for rule in rules
        )  # fmt: skip


def parameters_of(rules: Sequence[Acceptor]) -> frozenset[str]:
    """The names that stand as ``{{ NAME }}`` in the arguments of rules."""
    return frozenset().union(*(templates.names(rule.argument) for rule in rules if rule.argument))


Found = tuple[str, object, str]


def acceptor_problem(acceptor: Any) -> Found | None:
    """(key, value, way out) of the first thing wrong with an acceptor, or None."""
    if not isinstance(acceptor, Mapping):
        return "acceptor", acceptor, "must be an object with state, matcher and expected"
    for key, known in (("state", STATES), ("matcher", MATCHERS)):
        value = acceptor.get(key)
        if value not in known:
            return key, value, f"must be one of {', '.join(known)}{hint(value, known)}"
    matcher, argument, expected = acceptor["matcher"], acceptor.get("argument"), acceptor.get("expected")
    way_out = None
    if "expected" not in acceptor:
        way_out = "is missing: say which value matches"
    elif matcher in PATH_MATCHERS and (not isinstance(argument, str) or not argument):
        return "argument", argument, f"matcher {matcher} needs a JMESPath expression here"
    elif matcher == "status" and (isinstance(expected, bool) or not isinstance(expected, int)):
        way_out = "matcher status needs an HTTP status code, as 404"
    elif matcher == "error" and not isinstance(expected, str | bool):
        way_out = "matcher error needs an AWS error code, or true for any error"
    return ("expected", expected, way_out) if way_out else None


def _expression_problem(argument: str, makes: int | None) -> Found | None:
    try:
        templates.names(argument)
        expression = compiled(argument)
    except TemplateError as error:
        return "argument", argument, str(error)
    except JMESPathError as error:  # its first line: the others point at a place in the text
        return "argument", argument, f"is no JMESPath: {str(error).splitlines()[0].rstrip(':')}"
    except RecursionError:
        return "argument", argument, "is no JMESPath: it is nested too deeply"
    if makes is not None and expression.makes > makes:
        return "argument", argument, f"at most {makes} functions or lists that it makes"
    return None


def _size_problem(acceptor: Mapping[str, Any]) -> Found | None:
    expected = acceptor["expected"]
    if expected is not None and not isinstance(expected, str | int | float):
        return "expected", expected, "must be a text, a number, true, false or null"
    if isinstance(expected, str) and len(expected) > LENGTH:
        return "expected", expected, f"at most {LENGTH} characters"
    if isinstance(expected, float) and not isfinite(expected):
        return "expected", expected, "must be finite"
    if acceptor["matcher"] in PATH_MATCHERS and len(acceptor["argument"]) > LENGTH:
        return "argument", acceptor["argument"], f"at most {LENGTH} characters"
    return None
