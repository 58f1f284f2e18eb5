"""Parameters of a waiter: ``{{ NAME }}`` in an acceptor's JMESPath becomes a value that the wait brings along.

Nothing is evaluated. A name stands in quotes, and a value has no character that could end them.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`""", re.DOTALL)
_BREAKS_OUT = re.compile(r"['\"`\\\x00-\x1f\x7f]")
_LENGTH = 500


class TemplateError(Exception):
    """An expression is no template that can be filled in, or a value cannot stand in it."""


def names(expression: str) -> frozenset[str]:
    """The parameters of an expression; empty for one that is as AWS's own. Raises TemplateError."""
    rest = _NAME.sub("", expression)
    if any(mark in rest for mark in ("{{", "{%", "{#")):
        raise TemplateError("a template is {{ NAME }} and nothing more: no filter, no statement, no calculation")
    if "{{" in _QUOTED.sub("", expression):
        raise TemplateError("{{ NAME }} must stand in quotes: '{{ NAME }}' is a text, `{{ NAME }}` a number")
    return frozenset(_NAME.findall(expression))


def render(expression: str, parameters: Mapping[str, str]) -> str:
    """The expression with its parameters, all of which must be there."""
    return _NAME.sub(lambda found: parameters[found[1]], expression)


def checked(name: object, value: object) -> tuple[str, str]:
    """One parameter as it is filled in. Raises TemplateError for a value that cannot stand in quotes."""
    if not isinstance(name, str):
        raise TemplateError(f"{name!r}: a name must be text")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TemplateError(f"{name} = {_short(value)}: must be a text or a whole number")
    text = str(value)
    if not text or len(text) > _LENGTH:
        raise TemplateError(f"{name} = {_short(value)}: must have 1 to {_LENGTH} characters")
    if (found := _BREAKS_OUT.search(text)) is not None:
        raise TemplateError(f"{name} = {_short(value)}: {found[0]!r} must not be in it, it stands in quotes there")
    return name, text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
