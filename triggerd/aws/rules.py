"""From acceptors as a file or a trigger writes them to rules that decide; what is wrong is said with its place.

A trigger's acceptors come from a queue: they are bounded in number, in length and in what they make of an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from jmespath.exceptions import JMESPathError

from triggerd.aws import templates
from triggerd.aws.acceptors import MATCHERS, PATH_MATCHERS, STATES, Acceptor, compiled
from triggerd.aws.hints import close_to, hint
from triggerd.aws.templates import TemplateError
from triggerd.errors import WaiterDefinitionError

ACCEPTORS, PATHS, LENGTH, MAKES = 100, 10, 500, 2
"""Most acceptors of a trigger, different expressions in them, characters of one, and functions or lists it makes."""

_SHOWN = 200

Found = tuple[str, object, str]
"""What is wrong: the key, its value, why and the way out."""


def wrong(origin: str, found: Found) -> WaiterDefinitionError:
    """The error for something that is wrong. `origin` begins its message, as ``"glue.json: waiter mine: "``."""
    return WaiterDefinitionError(f"{origin}{in_words(*found)}")


def in_words(key: str, value: object, why: str) -> str:
    """``key = value: why``, without a value where there is none, and not longer than a reader likes."""
    text = repr(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{key} = {shown}: {why}" if value is not None else f"{key}: {why}"


def rules_of(acceptors: Sequence[Mapping[str, Any]]) -> tuple[Acceptor, ...]:
    """The rules of acceptors in which `problems` finds nothing."""
    return tuple(
        Acceptor(
            acceptor["state"], acceptor["matcher"], acceptor["expected"],
            acceptor["argument"] if acceptor["matcher"] in PATH_MATCHERS else None,
        )
        for acceptor in acceptors
    )  # fmt: skip


def override(origin: str, acceptors: Any) -> tuple[Acceptor, ...]:
    """The rules of acceptors that a trigger brings along. Raises WaiterDefinitionError."""
    for problem in problems(acceptors, hostile=True):
        raise wrong(origin, problem)
    rules = rules_of(acceptors)
    if len({rule.argument for rule in rules} - {None}) > PATHS:
        raise wrong(origin, ("acceptors", acceptors, f"at most {PATHS} different arguments"))
    return rules


def problems(acceptors: Any, *, hostile: bool = False) -> Iterator[Found]:
    """Everything wrong with acceptors, one by one. `hostile`: they come from a queue."""
    if not isinstance(acceptors, list | tuple) or not acceptors:
        yield "acceptors", acceptors, "must be a list with at least one acceptor"
    elif hostile and len(acceptors) > ACCEPTORS:
        yield "acceptors", acceptors, f"at most {ACCEPTORS} of them"
    else:
        for index, acceptor in enumerate(acceptors):
            problem = _problem(acceptor, hostile=hostile)
            if problem is not None:
                key, value, why = problem
                yield f"acceptors[{index}]{f'.{key}' if key else ''}", value, why


def _problem(acceptor: Any, *, hostile: bool) -> Found | None:
    """The first thing wrong with one acceptor."""
    problem = _shape_problem(acceptor)
    if problem is None and hostile:
        problem = _size_problem(acceptor)  # before anything is parsed
    if problem is None and acceptor["matcher"] in PATH_MATCHERS:
        problem = _expression_problem(acceptor["argument"], MAKES if hostile else None)
    return problem


def _shape_problem(acceptor: Any) -> Found | None:
    if not isinstance(acceptor, Mapping):
        return "", acceptor, "must be an object with state, matcher and expected"
    for key, known in (("state", STATES), ("matcher", MATCHERS)):
        value = acceptor.get(key)
        if value not in known:
            meant = close_to(str(value), known, 0.5)
            return key, value, f"must be one of {', '.join(known)}{f', did you mean {meant!r}?' if meant else ''}"
    matcher, argument, expected = acceptor["matcher"], acceptor.get("argument"), acceptor.get("expected")
    if matcher in PATH_MATCHERS and (not isinstance(argument, str) or not argument):
        return "argument", argument, f"matcher {matcher} needs a JMESPath expression here"
    why = None
    if "expected" not in acceptor:
        why = "is missing: say which value matches"
    elif matcher == "status" and (type(expected) is not int or not 100 <= expected <= 599):
        why = "matcher status needs an HTTP status, a number as 404"
    elif matcher == "error" and not isinstance(expected, str | bool):
        why = "matcher error needs an AWS error code, or true for any error"
    return ("expected", expected, why) if why else None


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


def _expression_problem(argument: str, makes: int | None) -> Found | None:
    try:
        templates.names(argument)
        expression = compiled(argument)
    except TemplateError as error:
        return "argument", argument, str(error)
    except JMESPathError as error:
        return "argument", argument, f"is no JMESPath: {_first_words(error)}"
    except RecursionError:
        return "argument", argument, "is no JMESPath: it is nested too deeply"
    if makes is not None and expression.makes > makes:
        return "argument", argument, f"at most {makes} functions or lists that it makes"
    return None


def _first_words(error: JMESPathError) -> str:
    """What it says before it repeats the expression and points at a place in it."""
    line = str(error).splitlines()[0].removesuffix(":").removesuffix(", for expression")
    return line.removeprefix("Invalid jmespath expression: ").removeprefix("Bad jmespath expression: ")


# --- parameters -------------------------------------------------------------------------------------------------


def parameters_of(rules: Sequence[Acceptor]) -> frozenset[str]:
    """The names that stand as ``{{ NAME }}`` in the arguments of rules."""
    return frozenset().union(*(templates.names(rule.argument) for rule in rules if rule.argument))


def fill(origin: str, rules: Sequence[Acceptor], parameters: Any) -> tuple[Acceptor, ...]:
    """The rules with their parameters. Raises WaiterDefinitionError where one is missing, unknown or unusable."""
    if not isinstance(parameters, Mapping):
        raise wrong(origin, ("parameters", parameters, "must be an object, a value for each name"))
    wanted = parameters_of(rules)
    for name in parameters:
        if name not in wanted:
            none = f"the waiter has none of this name{hint(name, wanted)}" if wanted else "the waiter takes none"
            raise wrong(origin, ("parameters", name, none))
    if missing := sorted(wanted - parameters.keys()):
        raise WaiterDefinitionError(f"{origin}parameters: {', '.join(missing)} missing")
    try:
        values = {name: templates.checked(name, value) for name, value in parameters.items()}
    except TemplateError as error:
        raise WaiterDefinitionError(f"{origin}parameters: {error}") from None
    return tuple(
        Acceptor(rule.state, rule.matcher, rule.expected, templates.render(rule.argument, values))
        if rule.argument else rule for rule in rules
    )  # fmt: skip
