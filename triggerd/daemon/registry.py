"""The registry turns an allowed classpath into a class, and a class and its kwargs into a trigger.

The allow-list is checked before anything is imported: what stands on the queue chooses among the classes that this
daemon's operator allowed, and can make it import nothing else. Imports run in a thread, each classpath once.

A classpath of Airflow's amazon provider stands for a bundled trigger (`triggerd.airflow.aliases`), but for where it is
allowed and the provider is installed: there it is Airflow's own class.
"""

import asyncio
import difflib
import fnmatch
import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triggerd.airflow.aliases import PREFIX as AIRFLOWS
from triggerd.airflow.aliases import Aliases
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
        "datazone.SageMakerUnifiedStudioNotebookTrigger",
        "dms.DmsTableReloadCompleteTrigger",
        "dynamodb.DynamoDBValueSensorTrigger",
        "ec2.EC2StateSensorTrigger",
        "ecs.TaskDoneTrigger",
        "eks.EksCreateClusterTrigger",
        "eks.EksDeleteClusterTrigger",
        "emr_serverless.EmrServerlessCancelJobsTrigger",
        "emr_serverless.EmrServerlessJobSensorTrigger",
        "emr_serverless.EmrServerlessStartJobTrigger",
        "glue.GlueCatalogPartitionTrigger",
        "glue.GlueJobCompleteTrigger",
        "kinesis.KinesisTrigger",
        "mwaa.MwaaDagRunCompletedTrigger",
        "mwaa.MwaaTaskCompletedTrigger",
        "redshift_cluster.RedshiftClusterTrigger",
        "redshift_data.RedshiftDataTrigger",
        "s3.S3KeyTrigger",
        "s3_keys_unchanged.S3KeysUnchangedTrigger",
        "sagemaker.SageMakerPipelineTrigger",
        "sagemaker.SageMakerTrigger",
        "sqs.SqsSensorTrigger",
        "ssm.SsmRunCommandTrigger",
        "testing.FailureTrigger",
        "testing.SuccessTrigger",
        "time.DateTimeTrigger",
        "time.TimeDeltaTrigger",
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
    """A class that may be run, and the short name that stands for it in metrics.

    Attributes:
        arguments: Makes of an envelope's kwargs those of `cls`, where the envelope names another class.
    """

    classpath: str
    cls: type[Any]
    label: str
    arguments: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None


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
        self._aliases: Aliases | None = None

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
            ClasspathNotAllowedError: It is outside the allow-list, nor an alias; nothing was imported.
            ClasspathNotFoundError: The module or the name in it is missing, or the import failed.
            NotATriggerError: It is there and no class with `serialize` and `run`.
        """
        if found := self._loaded.get(classpath):
            return found
        if not self._is_aliased(classpath):
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
        find = self._stand_in if self._is_aliased(classpath) else self._own_class
        try:
            found = await asyncio.to_thread(find, classpath)
        except LoadError as error:
            if len(self._refused) >= _REFUSED_KEPT:
                del self._refused[next(iter(self._refused))]
            self._refused[classpath] = (monotonic_s(), error)
            error.__cause__ = None  # its traceback holds the frames of a whole import
            raise
        finally:
            del self._loading[classpath]
        self._loaded[classpath] = found
        return found

    def _own_class(self, classpath: str) -> TriggerClass:
        """Runs in a thread."""
        if classpath.startswith(AIRFLOWS) and not _has_airflow():
            return self._stand_in(classpath)
        cls = _import(classpath)
        return TriggerClass(classpath, cls, self._labels.get(classpath, cls.__name__))

    def _stand_in(self, classpath: str) -> TriggerClass:
        """The bundled class for one of Airflow's. Runs in a thread."""
        self._aliases = self._aliases or Aliases.load()
        alias = self._aliases.find(classpath)
        return TriggerClass(classpath, _import(alias.target), alias.name, alias.arguments)

    def _is_aliased(self, classpath: str) -> bool:
        return classpath.startswith(AIRFLOWS) and not self._is_allowed(classpath)

    def _is_allowed(self, classpath: str) -> bool:
        if classpath in self._labels or classpath in self._patterns:
            return True
        return any(fnmatch.fnmatchcase(classpath, pattern) for pattern in self._patterns)

    def _check_allowed(self, classpath: str) -> None:
        """Raise unless the classpath is allowed and can be one at all."""
        if classpath in self._labels or classpath in self._patterns:
            return
        if not self._is_allowed(classpath):
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
    if found.arguments is not None:
        kwargs = found.arguments(kwargs)
    try:
        return found.cls(**kwargs)
    except BaseException as error:  # not even KeyboardInterrupt: it would end the daemon, and then its adopter
        raise TriggerArgumentsError(found.classpath, _why_refused(found.cls, kwargs, error)) from error


def _has_airflow() -> bool:
    """Imports the packages above the provider: only for what is allowed. Runs in a thread."""
    try:
        return importlib.util.find_spec(AIRFLOWS.rstrip(".")) is not None
    except ModuleNotFoundError:
        return False
    except BaseException:  # noqa: BLE001 - it is there and broken, which the import of the class will say
        return True


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
