"""What a message adds about a name that nobody knows."""

import difflib
from collections.abc import Iterable


def hint(wanted: object, known: Iterable[object]) -> str:
    """ ", did you mean ...?" with the closest names, or the whole list where it is short."""
    names = sorted({str(name) for name in known})
    close = difflib.get_close_matches(str(wanted), names, n=3, cutoff=0.5)
    if close:
        return f", did you mean {' or '.join(repr(name) for name in close)}?"
    return f"; known are {', '.join(names)}" if 0 < len(names) <= 30 else ""


def close_to(wanted: str, known: Iterable[str], likeness: float) -> str | None:
    """The name that `wanted` is a misspelling of: so alike (0 to 1), yet not the same."""
    return next(iter(difflib.get_close_matches(wanted, sorted(known), n=1, cutoff=likeness)), None)
