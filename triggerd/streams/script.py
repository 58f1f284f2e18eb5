"""A verb's call of Redis as a value: what to send and how to read the answer."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from triggerd.keys import LUA_NAMES

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_FOLDER = Path(__file__).parent / "lua"
# give.lua makes a consumer the owner of entries; only these scripts do that.
_GIVING = frozenset({"claim", "load", "adopt", "repair"})
_MAX_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file with the names of keys.py and the shared functions before it."""

    name: str
    source: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One command of Redis. `read` turns the raw reply (lists, bytes, ints) into what the verb promises."""

    verb: str
    command: tuple[Any, ...]
    read: Callable[[Any], T_co]
    script: Script | None = None

    @property
    def whole_script(self) -> tuple[Any, ...]:
        """The same call with the script's text instead of its hash, for a server that does not know it (yet)."""
        assert self.script is not None, "only a script's call can be refused with NOSCRIPT"  # noqa: S101 - an invariant
        return ("EVAL", self.script.source, *self.command[2:])


@cache
def script(name: str) -> Script:
    """The script of ``lua/<name>.lua``. Read once; the files are part of the package."""
    names = ("common", "give", name) if name in _GIVING else ("common", name)
    *shared, verb = ((_FOLDER / f"{part}.lua").read_text() for part in names)
    source = "\n".join((LUA_NAMES, *shared, f"return whole(function()\n{verb}end)\n"))
    # The hash is Redis's name for the script, no protection.
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def script_call(name: str, key: str, args: Sequence[Any], read: Callable[[Any], T]) -> Call[T]:
    """A call of ``lua/<name>.lua`` with the trigger stream `key` as KEYS[1]."""
    found = script(name)
    return Call(name, ("EVALSHA", found.sha, 1, key, *args), read, found)


def text(value: bytes | str | int | None) -> str:
    """A reply's bytes as text; a foreign producer's stray bytes survive as surrogates instead of raising."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return "" if value is None else str(value)


def number(value: bytes | None) -> int:
    """A field that should be a whole number; 0 where somebody wrote something else, or more than 64 bits hold."""
    return int(value) if value is not None and value.isdigit() and len(value) <= _MAX_DIGITS else 0


def nothing(_reply: Any) -> None:
    """The reader of calls whose answer says nothing."""
