"""The blocks of code of a markdown page, so that a test can run what a reader would paste."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """All blocks of one language, in order."""
    return [body for found, body in _BLOCK.findall(page.read_text()) if found == language]


def files(page: Path, language: str) -> dict[str, str]:
    """Blocks whose first line is ``# name`` by that name; several blocks of one name are parts of one file."""
    found: dict[str, str] = {}
    for body in blocks(page, language):
        head, _, rest = body.partition("\n")
        if head.startswith("# ") and "." in head:
            found[head[2:].split()[0]] = found.get(head[2:].split()[0], "") + rest + "\n\n"
    return found
