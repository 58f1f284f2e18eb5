"""How facts look on a terminal and in JSON. Nothing that came from outside can move the cursor or change a colour."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any

import click

from triggerd.clock import wall_ms


def for_people(seconds: float) -> str:
    """``7 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = round(abs(seconds))
    for unit, size, below, below_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def moment(ms: int) -> str:
    """``2026-11-23 10:41:03 UTC (3 min ago)``, or ``(in 2 h)``."""
    away_s = (ms - wall_ms()) / 1000
    relative = f"in {for_people(away_s)}" if away_s > 0 else f"{for_people(away_s)} ago"
    try:
        at = datetime.fromtimestamp(ms / 1000, UTC)
    except (OSError, OverflowError, ValueError):  # of a year that no calendar has: somebody else has written it
        return f"{ms} ms since 1970 ({relative})"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({relative})"


def counted(number: int, noun: str) -> str:
    """``1 poll``, ``2 polls``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """`text` on one line, its control characters written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def to_json(value: Any) -> str:
    """One line of JSON for scripts; what JSON has no word for becomes text, a timedelta seconds."""
    plain = _plain(value)
    text = json.dumps(plain, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(plain)


def print_facts(facts: Mapping[str, Any]) -> None:
    """A line per fact that there is, aligned; a dict or list as JSON."""
    shown = {name: _fact(value) for name, value in facts.items()}
    width = max(len(name) for name, text in shown.items() if text)
    for name, text in shown.items():
        if text:
            click.echo(f"{click.style(name.ljust(width), dim=True)}  {text}")


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Aligned columns under a dim head."""
    lines = list(_aligned([head, *rows]))
    click.echo(click.style(lines[0], dim=True))
    for line in lines[1:]:
        click.echo(line)


def _aligned(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _fact(value: Any) -> str:
    if value is None or value in ("", {}, []):
        return ""
    return to_json(value) if isinstance(value, dict | list) else printable(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(_plain(key)): _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(member) for member in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return _as_text(value)


def _as_text(value: Any) -> str | float:
    match value:
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
    return str(value)
