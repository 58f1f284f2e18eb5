"""The registry turns an allowed classpath into a class, and a class and its kwargs into a trigger.

The allow-list is checked before anything is imported: what stands on the queue chooses among the classes that this
daemon's operator allowed, and can make it import nothing else. Imports run in a thread, each classpath once.
"""

import asyncio
import difflib
import fnmatch
import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triggerd.clock import monotonic_s
from triggerd.errors import (
    ClasspathNotAllowedError,
    ClasspathNotFoundError,
    LoadError,
    NotATriggerError,
    TriggerArgumentsError,
    message_of,
)
from triggerd.metrics import OTHER

ENTRY_POINTS = "triggerd.triggers"
"""Group of entry points by which an installed package announces its triggers: ``name = "package.module:Class"``."""

BUNDLED = {
    f"triggerd.triggers.{path}": path.rpartition(".")[2]
    for path in (
        "aws.AwsWaiterTrigger",
        "time.TimeDeltaTrigger",
        "time.DateTimeTrigger",
        "testing.SuccessTrigger",
        "testing.FailureTrigger",
    )
}

_MISSING = object()
_REFUSED_KEPT = 1_000
_REFUSED_FOR_S = 60.0


def announced_triggers() -> dict[str, str]:
    """Classpath -> name of the triggers that installed packages announce. Reads the disk: call it in a thread."""
    return {point.value.replace(":", "."): point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


@dataclass(frozen=True, slots=True)
class TriggerClass:
    """A class that may be run, and the short name that stands for it in metrics."""

    classpath: str
    cls: type[Any]
    label: str


class Registry:
    """Allowed classpaths and the classes behind them."""

    def __init__(self, patterns: Sequence[str], announced: Mapping[str, str]) -> None:
        """
        Args:
            patterns: What the operator allows, exact or with ``*``.
            announced: Classpath -> short name, as of `announced_triggers`.
        """
        self._patterns = tuple(patterns)
        self._labels = {**announced, **BUNDLED}
        self._loaded: dict[str, TriggerClass] = {}
        self._refused: dict[str, tuple[float, LoadError]] = {}
        self._loading: dict[str, asyncio.Task[TriggerClass]] = {}

    @property
    def labels(self) -> list[str]:
        """The short names that are known beforehand."""
        return sorted({*self._labels.values(), OTHER})

    def known(self, classpath: str) -> TriggerClass | None:
        """The class, where it was loaded before: the way of nearly every trigger, without waiting."""
        return self._loaded.get(classpath)

    async def load(self, classpath: str) -> TriggerClass:
        """The class of `classpath`, imported in a thread if need be.

        Raises:
            ClasspathNotAllowedError: It is outside the allow-list; nothing was imported.
            ClasspathNotFoundError: The module or the name in it is missing, or the import failed.
            NotATriggerError: It is there and no class with `serialize` and `run`.
        """
        if found := self._loaded.get(classpath):
            return found
        self._check_allowed(classpath)
        if refused := self._refused.get(classpath):
            if monotonic_s() - refused[0] < _REFUSED_FOR_S:
                # Without its traceback, which would grow with each raise.
                raise refused[1].with_traceback(None)
            del self._refused[classpath]
        task = self._loading.get(classpath)
        if task is None:
            task = asyncio.create_task(self._load(classpath), name=f"import {classpath}")
            self._loading[classpath] = task
        # Shielded: others wait for the same import, and a thread cannot be cancelled anyway.
        return await asyncio.shield(task)

    async def _load(self, classpath: str) -> TriggerClass:
        try:
            cls = await asyncio.to_thread(_import, classpath)
        except LoadError as error:
            if len(self._refused) >= _REFUSED_KEPT:
                del self._refused[next(iter(self._refused))]
            self._refused[classpath] = (monotonic_s(), error)
            error.__cause__ = None  # its traceback holds the frames of a whole import
            raise
        finally:
            del self._loading[classpath]
        found = TriggerClass(classpath, cls, self._labels.get(classpath, cls.__name__))
        self._loaded[classpath] = found
        return found

    def _check_allowed(self, classpath: str) -> None:
        """Raise unless the classpath is allowed and can be one at all."""
        if classpath in self._labels or classpath in self._patterns:
            return
        if not any(fnmatch.fnmatchcase(classpath, pattern) for pattern in self._patterns):
            raise ClasspathNotAllowedError(classpath, "not in the daemon's allow-list (setting `allow`)")
        parts = classpath.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ClasspathNotFoundError(classpath, "not a dotted path of a class in a module")
        if any(part.startswith("_") for part in parts):
            # "package.*" is no leave to run package.__main__.
            raise ClasspathNotAllowedError(classpath, "private names must be allowed exactly, not by a pattern")


def build(found: TriggerClass, kwargs: Mapping[str, Any]) -> Any:
    """The trigger ``classpath(**kwargs)``.

    Raises:
        TriggerArgumentsError: The constructor refused; says why and what it takes.
    """
    try:
        return found.cls(**kwargs)
    except BaseException as error:  # not even KeyboardInterrupt: it would end the daemon, and then its adopter
        raise TriggerArgumentsError(found.classpath, _why_refused(found.cls, kwargs, error)) from error


def _import(classpath: str) -> type[Any]:
    """Runs in a thread."""
    module_name, _, name = classpath.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # a module may do anything while it is imported, exit too
        raise ClasspathNotFoundError(classpath, _why_not_imported(module_name, error)) from error
    cls = getattr(module, name, _MISSING)
    if cls is _MISSING:
        close = difflib.get_close_matches(name, [key for key in vars(module) if not key.startswith("_")], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ClasspathNotFoundError(classpath, f"module {module_name!r} has no {name!r}{hint}")
    missing = [method for method in ("serialize", "run") if not callable(getattr(cls, method, None))]
    if not inspect.isclass(cls):
        raise NotATriggerError(classpath, f"a class is expected, not a value of type {type(cls).__name__!r}")
    if missing:
        raise NotATriggerError(classpath, f"the class has no {' and no '.join(f'{method}()' for method in missing)}")
    return cls


def _why_not_imported(module_name: str, error: BaseException) -> str:
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and (module_name == error.name or module_name.startswith(f"{error.name}."))
    ):
        return f"there is no module {error.name!r} in the daemon's environment"
    return f"importing {module_name!r} failed: {type(error).__name__}: {message_of(error)}"


def _why_refused(cls: type[Any], kwargs: Mapping[str, Any], error: BaseException) -> str:
    why = f"{type(error).__name__}: {message_of(error)}"
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return why
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return why
    for key in kwargs:
        if key not in parameters:
            close = difflib.get_close_matches(key, parameters, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes: {', '.join(parameters) or 'nothing'}"
            return f"{why}; {hint}"
    return why
