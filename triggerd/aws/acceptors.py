"""Acceptors: the compiled rules of a waiter. Built once per definition, asked once per answer and wait.

They decide as botocore's do (a test asks both about every built-in waiter), with two differences: each JMESPath
expression is searched once per answer however many acceptors name it, and a lost answer (a throttle, a 5xx) is
shown only to the acceptors that expect exactly it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from botocore.waiter import is_valid_waiter_error
from jmespath.exceptions import JMESPathError

from triggerd.aws.paths import Expression
from triggerd.errors import WaiterDefinitionError

State = Literal["success", "failure", "retry"]
STATES = ("success", "failure", "retry")
PATH_MATCHERS = ("path", "pathAll", "pathAny")
MATCHERS = (*PATH_MATCHERS, "error", "status")

Response = Mapping[str, Any]
_NOT_SEARCHED = object()


@lru_cache(maxsize=4096)
def compiled(expression: str) -> Expression:
    """A JMESPath expression, parsed once. Raises JMESPathError."""
    return Expression(expression)


@dataclass(frozen=True, slots=True)
class Acceptor:
    """One rule: where `matcher` finds `expected`, the wait is in `state`."""

    state: State
    matcher: str
    expected: Any
    argument: str | None = None

    def __str__(self) -> str:
        where = f" of {self.argument}" if self.matcher in PATH_MATCHERS else ""
        return f"{self.state} where {self.matcher}{where} is {self.expected!r}"

    def matches_value(self, found: Any) -> bool:
        """Whether the value that `argument` found is the expected one. An empty list is neither all nor any."""
        if self.matcher == "path":
            return bool(found == self.expected)
        if not isinstance(found, list) or not found:
            return False
        hits = (item == self.expected for item in found)
        return bool(all(hits) if self.matcher == "pathAll" else any(hits))

    def matches_outcome(self, response: Response) -> bool:
        """The same for the matchers that look at the HTTP status or at the error."""
        if self.matcher == "status":
            return bool(response.get("ResponseMetadata", {}).get("HTTPStatusCode") == self.expected)
        if self.expected is True:
            return bool(is_valid_waiter_error(response))
        if self.expected is False:
            return "Error" not in response
        return bool(response.get("Error", {}).get("Code", "") == self.expected)


class Acceptors:
    """The rules of one waiter, in order; the first that matches decides."""

    __slots__ = ("_rules", "_status_paths", "_waiter", "reads", "rules")

    def __init__(self, waiter: str, rules: Sequence[Acceptor]) -> None:
        """Raises WaiterDefinitionError where an expression is not JMESPath."""
        self._waiter = waiter
        self.rules = tuple(rules)
        self.reads = tuple({rule.argument: None for rule in rules if rule.matcher in PATH_MATCHERS and rule.argument})
        """The expressions that are evaluated on an answer."""
        try:
            self._rules = tuple(
                (rule, compiled(rule.argument or "") if rule.matcher in PATH_MATCHERS else None) for rule in rules
            )
        except JMESPathError as error:
            raise WaiterDefinitionError(f"waiter {waiter}: {error}") from error
        self._status_paths = tuple({id(path): path for _, path in self._rules if path is not None}.values())

    def decide(self, response: Response) -> Acceptor | None:
        """The acceptor that matches this answer, an error response included; None where none does.

        Raises:
            WaiterDefinitionError: An expression cannot be evaluated on this answer, as ``length(null)``.
        """
        is_error = is_valid_waiter_error(response)
        found: dict[int, Any] = {}
        for rule, path in self._rules:
            if path is None:
                if rule.matches_outcome(response):
                    return rule
            elif not is_error:
                value = found.get(id(path), _NOT_SEARCHED)
                if value is _NOT_SEARCHED:
                    value = found[id(path)] = self._search(path, response)
                if rule.matches_value(value):
                    return rule
        return None

    def decide_lost(self, response: Response) -> Acceptor | None:
        """The acceptor that ends the wait on exactly this throttle or 5xx by its code or number; else None."""
        for rule, path in self._rules:
            exact = path is None and not isinstance(rule.expected, bool)
            if exact and rule.state != "retry" and rule.matches_outcome(response):
                return rule
        return None

    def status_in(self, response: Response) -> str | None:
        """The first non-empty text, or list of texts, that the waiter's own expressions find."""
        return first_status(self._status_paths, response)

    def _search(self, path: Any, response: Response) -> Any:
        try:
            return path.search(response)
        except JMESPathError as error:
            raise WaiterDefinitionError(
                f"waiter {self._waiter}: {path.expression!r} cannot be evaluated on this answer: {error}"
            ) from error


def first_status(paths: Sequence[Any], response: Response) -> str | None:
    """What the first of these compiled expressions with a non-empty value finds, as text: a list is joined."""
    for path in paths:
        try:
            found = path.search(response)
        except JMESPathError:
            continue  # a status is shown to people, it never ends a wait
        if isinstance(found, str) and found:
            return found
        if isinstance(found, list) and found and all(isinstance(item, str) for item in found):
            return ", ".join(found if len(found) <= 10 else [*found[:9], f"... ({len(found)} in all)"])
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
    return None
