"""Which keys of a page a wildcard or a regular expression matches."""

import asyncio
import fnmatch
import json
import re
import signal
import sys
from typing import Protocol
from weakref import WeakKeyDictionary

LIMIT_S = 5
"""Seconds that a regular expression may take for one page of keys."""
_START_WITHIN_S = 25.0
_AT_ONCE = 2
_MATCHED_AT_ONCE = 25
_SPECIAL = frozenset(".^$*+?{}[]|()")

# Python's `re` holds the interpreter while it matches, and `(a+)+$` takes it for ever: no thread and no timeout helps.
# So an expression from the queue is compiled and matched in a process of its own, which can be ended.
_PROGRAM = """
import json, re, resource, sys
asked = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (asked["limit_s"], asked["limit_s"]))
try:
    match = re.compile(asked["regex"]).match
except (re.error, RecursionError, OverflowError) as error:
    answer = {"error": f"{error}"}
else:
    answer = {"matched": [number for number, key in enumerate(asked["keys"]) if match(key)]}
json.dump(answer, sys.stdout)
"""

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class PatternError(ValueError):
    """A regular expression that cannot be used."""


class Pattern(Protocol):
    """What keys are to look like. `prefix` is what all of them begin with."""

    prefix: str

    async def matched(self, keys: list[str]) -> list[int]:
        """The indexes of those that match. Raises PatternError."""
        ...


class Wildcard:
    """``*``, ``?`` and ``[seq]`` of fnmatch, in which ``*`` stands for slashes too; matched without backtracking."""

    def __init__(self, pattern: str) -> None:
        self.prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        self._match = re.compile(fnmatch.translate(pattern)).match

    async def matched(self, keys: list[str]) -> list[int]:
        found: list[int] = []
        for number, key in enumerate(keys):
            if number % _MATCHED_AT_ONCE == 0:
                await asyncio.sleep(0)  # one key may take half a millisecond
            if self._match(key):
                found.append(number)
        return found


class Regex:
    """A regular expression that matches from the key's beginning, as `re.match` does."""

    def __init__(self, regex: str) -> None:
        self.prefix = literal_prefix(regex)
        self._regex = regex
        self._fruitless: dict[int, None] = {}  # pages in which nothing matched, by their hash, the oldest first

    async def matched(self, keys: list[str]) -> list[int]:
        page = hash(tuple(keys))
        if not keys or page in self._fruitless:
            return []
        turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))
        async with turns:
            found = await _match_apart(self._regex, keys)
        if not found:
            self._fruitless[page] = None
            if len(self._fruitless) > 1000:
                del self._fruitless[next(iter(self._fruitless))]
        return found


async def _match_apart(regex: str, keys: list[str]) -> list[int]:
    """Raises PatternError. OSError: no process could be had, or somebody ended it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", _PROGRAM, start_new_session=True,  # a Ctrl-C is for the daemon alone
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    asked = json.dumps({"regex": regex, "keys": keys, "limit_s": LIMIT_S})
    try:
        async with asyncio.timeout(LIMIT_S + _START_WITHIN_S):
            said, _ = await process.communicate(asked.encode())
    except (TimeoutError, RuntimeError):  # uvloop's, for a process that has ended before it was asked
        said = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not said and process.returncode == -signal.SIGTERM:
        raise ChildProcessError("the process that matches keys was ended from outside")
    if not said:
        raise PatternError(f"the regular expression {regex!r} takes more than {LIMIT_S} s for {len(keys)} keys")
    answer = json.loads(said)
    if "error" in answer:
        raise PatternError(f"{regex!r} is no regular expression: {answer['error']}")
    matched: list[int] = answer["matched"]
    return matched


def literal_prefix(regex: str) -> str:
    """The text that every match begins with, as far as it can be told without reading the expression."""
    if "|" in regex:
        return ""
    prefix: list[str] = []
    rest = iter(regex.removeprefix("^"))
    for char in rest:
        if char == "\\":
            char = next(rest, "")  # noqa: PLW2901 - the escaped one
            if not char or char.isalnum() or char == "_":
                break  # a class, a digit, an anchor
        elif char in _SPECIAL:
            if char in "*?{+" and prefix:
                prefix.pop()
            break
        prefix.append(char)
    return "".join(prefix)
