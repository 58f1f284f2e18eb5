"""Parameters of a waiter: ``{{ NAME }}`` in an acceptor's JMESPath becomes a value that the wait brings along.

Nothing is evaluated. A name stands in quotes, and a value has no character that could end them.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(`(?:\\.|[^`\\])*`)""", re.DOTALL)
_BREAKS_OUT = re.compile(r"['\"`\\\x00-\x1f\x7f]")
_LENGTH = 500


class TemplateError(Exception):
    """An expression is no template that can be filled in, or a value cannot stand in it."""


def names(expression: str) -> frozenset[str]:
    """The parameters of an expression; empty for one that is as AWS's own. Raises TemplateError."""
    rest = _NAME.sub("", expression)
    if any(mark in rest for mark in ("{{", "{%", "{#")):
        raise TemplateError("a template is {{ NAME }} and nothing more: no filter, no statement, no calculation")
    if "{{" in _QUOTED.sub(r"\1", expression):  # what is in backquotes is JSON: it stays
        raise TemplateError("{{ NAME }} must stand in quotes: '{{ NAME }}' is a text, \"{{ NAME }}\" a field")
    return frozenset(_NAME.findall(expression))


def render(expression: str, parameters: Mapping[str, str]) -> str:
    """The expression with its parameters, all of which must be there."""
    return _NAME.sub(lambda found: parameters[found[1]], expression)


def checked(name: str, value: object) -> str:
    """A parameter's value as it is filled in. Raises TemplateError for one that cannot stand in quotes."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    shown = repr(value)[:100]
    if not 1 <= len(text) <= _LENGTH:
        raise TemplateError(f"{name} = {shown}: must be a text of 1 to {_LENGTH} characters, or a whole number")
    if (found := _BREAKS_OUT.search(text)) is not None:
        raise TemplateError(f"{name} = {shown}: {found[0]!r} must not be in it, it stands in quotes there")
    return text
