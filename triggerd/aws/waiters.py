"""One loader for all waiter definitions: the user's folders, then ours, then botocore's own.

A definition is waiter-2 JSON as botocore writes it. Everything here reads files and is called in a thread; what it
returns is kept and only read from then on.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf
from pathlib import Path
from typing import Any, Literal

from botocore import xform_name
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from triggerd.aws.acceptors import Acceptor, Acceptors
from triggerd.aws.hints import hint
from triggerd.aws.rules import Found, fill, override, parameters_of, problems, rules_of, wrong
from triggerd.data import data_path
from triggerd.errors import WaiterDefinitionError

Source = Literal["user", "shipped", "botocore"]
_VERSION = 2
NOT_SERVICES = frozenset({"states.json"})
_VARIANTS = 1000


def new_loader() -> Loader:
    """A botocore loader; share one, it keeps what it has parsed. It reads no file yet."""
    return Loader()


@dataclass(frozen=True, kw_only=True, eq=False)
class WaiterDefinition:
    """One waiter, equal to itself alone.

    Attributes:
        name: As the file spells it.
        source: Whose definition it is.
        file: Where it was read, None for botocore's own.
        operation: The operation's name in the service model.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
        acceptors: The rules, compiled.
        parameters: Names that a wait must give values for, as they stand in ``{{ NAME }}``.
        raw: The JSON object, for `triggerd waiters show`.
    """

    service: str
    name: str
    source: Source
    file: Path | None
    operation: str
    delay: float
    max_attempts: int
    acceptors: Acceptors
    parameters: frozenset[str] = frozenset()
    raw: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.service} {self.name}"


class ServiceModels:
    """botocore's service models, each parsed once."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._models: dict[str, ServiceModel] = {}

    @cached_property
    def services(self) -> list[str]:
        """Every service that botocore knows."""
        names: list[str] = self._loader.list_available_services("service-2")
        return names

    def get(self, service: str) -> ServiceModel:
        """Raises WaiterDefinitionError where there is no such service."""
        if service not in self._models:
            try:
                description = self._loader.load_service_model(service, "service-2")
            except (UnknownServiceError, DataNotFoundError):
                raise WaiterDefinitionError(
                    f"botocore has no service {service!r}{hint(service, self.services)}"
                ) from None
            self._models[service] = ServiceModel(description, service_name=service)
        return self._models[service]

    def operation(self, service: str, name: str) -> OperationModel | None:
        """The operation as botocore's waiters find it: by its name in snake_case, so upper and lower case are one."""
        model = self.get(service)
        if name not in model.operation_names:
            wanted = xform_name(name)
            name = next((known for known in model.operation_names if xform_name(known) == wanted), name)
        return model.operation_model(name) if name in model.operation_names else None

    def waiters(self, service: str) -> Mapping[str, Any]:
        """botocore's own waiters of a service, by name; empty where it has none."""
        try:
            found: Mapping[str, Any] = self._loader.load_service_model(service, "waiters-2")["waiters"]
        except (UnknownServiceError, DataNotFoundError):
            return {}
        return found

    def services_with_waiters(self) -> list[str]:
        names: list[str] = self._loader.list_available_services("waiters-2")
        return names


def _raise(error: WaiterDefinitionError) -> None:
    raise error


class Waiters:
    """Finds waiters by name. `cluster_available` and `ClusterAvailable` are the same name."""

    def __init__(self, folders: tuple[str, ...], models: ServiceModels) -> None:
        self.models = models
        self._folders = folders
        self._raw: dict[str, dict[str, tuple[str, Any, Source, Path | None]]] = {}
        self._definitions: dict[tuple[str, str], WaiterDefinition] = {}
        self._variant = lru_cache(maxsize=_VARIANTS)(_variant)

    def get(
        self, service: str, name: str, acceptors: Any = None, parameters: Mapping[str, Any] | None = None
    ) -> WaiterDefinition:
        """One waiter that can decide; the same object every time for the same arguments.

        Args:
            acceptors: Stand instead of the waiter's own: a list of objects as a file has them, from a queue.
            parameters: Values for ``{{ NAME }}`` in the acceptors' arguments.

        Raises:
            WaiterDefinitionError: There is no such service or waiter, its definition or an argument is wrong.
        """
        found = self.find(service, name)
        label = f"waiter {found.label}: "
        if acceptors is None and not parameters:
            if not found.acceptors.rules:
                raise WaiterDefinitionError(f"{label}it has no acceptors of its own, the wait must bring them")
            if found.parameters:
                raise WaiterDefinitionError(f"{label}parameters: {', '.join(sorted(found.parameters))} missing")
            return found
        rules = found.acceptors.rules
        if acceptors is not None:
            rules = override(f"{label}the trigger's ", acceptors)
        rules = fill(label, rules, parameters or {})
        return self._variant(found, rules, tuple(type(rule.expected) for rule in rules))

    def find(self, service: str, name: str) -> WaiterDefinition:
        """One waiter as its file has it: it may lack acceptors, or parameters. Raises WaiterDefinitionError."""
        found = self._definitions.get((service, name))
        if found is None:
            self.models.get(service)  # first: it comes from a queue, and files are opened by its name
            known = self._of_service(service)
            entry = known.get(name) or known.get(xform_name(name))
            if entry is None:
                raise WaiterDefinitionError(
                    f"service {service!r} has no waiter {name!r}{hint(name, map(xform_name, known))}"
                )
            key = (service, entry[0])
            found = self._definitions.get(key) or self._compile(service, *entry)
            self._definitions[key] = self._definitions[(service, name)] = found
        return found

    def all(
        self, service: str | None = None, wrong: Callable[[WaiterDefinitionError], None] = _raise
    ) -> Iterator[WaiterDefinition]:
        """All waiters that `find` would find, by service and name; those that cannot be used go to `wrong`."""
        for found in [service] if service else self.services():
            try:
                names = sorted({entry[0] for entry in self._of_service(found).values()}, key=xform_name)
            except WaiterDefinitionError as error:
                wrong(error)
                continue
            for name in names:
                try:
                    definition = self.find(found, name)
                except WaiterDefinitionError as error:
                    wrong(error)
                else:
                    yield definition

    def services(self) -> list[str]:
        """Services that have any waiter. A file that is named after no service has none."""
        ours = {path.stem for folder, _ in self._places() for path in folder.glob("*.json")}
        return sorted({*self.models.services_with_waiters(), *ours.intersection(self.models.services)})

    def _places(self) -> Iterator[tuple[Path, Source]]:
        for folder in self._folders:
            path = Path(folder).expanduser()
            if not path.is_dir():
                raise WaiterDefinitionError(f"aws.waiter_folders: {folder!r} is not a folder")
            yield path, "user"
        yield data_path("waiters"), "shipped"

    def _of_service(self, service: str) -> dict[str, tuple[str, Any, Source, Path | None]]:
        """Entries by exact name and by snake_case name; what stands first in the search order stays."""
        if service not in self._raw:
            known: dict[str, tuple[str, Any, Source, Path | None]] = {}
            groups: list[tuple[Mapping[str, Any], Source, Path | None]] = []
            for folder, source in self._places():
                path = folder / f"{service}.json"
                if path.is_file():
                    groups.append((read_file(path), source, path))
            groups.append((self.models.waiters(service), "botocore", None))
            for waiters, source, file in groups:
                fresh = {name: (name, raw, source, file) for name, raw in waiters.items()}
                known.update({name: entry for name, entry in fresh.items() if xform_name(name) not in known})
                for name, entry in fresh.items():
                    known.setdefault(xform_name(name), entry)
            self._raw[service] = known
        return self._raw[service]

    def _compile(self, service: str, name: str, raw: Any, source: Source, file: Path | None) -> WaiterDefinition:
        return compile_waiter(self.models, service, name, raw, source=source, file=file)


def read_file(path: Path) -> Mapping[str, Any]:
    """The waiters of a file, uncompiled, by name. Raises WaiterDefinitionError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except OSError as error:
        raise WaiterDefinitionError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise WaiterDefinitionError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise WaiterDefinitionError(f'{path}: the top must be {{"version": {_VERSION}, "waiters": {{...}}}}')
    waiters = document.get("waiters")
    if not isinstance(waiters, dict):
        raise WaiterDefinitionError(f"{path}: key 'waiters' must be an object, one waiter per name")
    return waiters


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key stand twice, and the first be lost without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twins = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
        raise ValueError(f"key {twins[0]!r} is there twice")
    return found


def compile_waiter(
    models: ServiceModels, service: str, name: str, raw: Any, *, source: Source, file: Path | None
) -> WaiterDefinition:
    """Check and compile one waiter. Raises WaiterDefinitionError naming file, waiter, key and value."""
    for problem in waiter_problems(models, service, raw):
        raise wrong(f"{file or 'botocore'}: waiter {name}: ", problem)
    rules = rules_of(raw.get("acceptors", ()))
    operation = models.operation(service, raw["operation"])
    return WaiterDefinition(
        service=service,
        name=name,
        source=source,
        file=file,
        operation=operation.name if operation is not None else raw["operation"],
        delay=float(raw["delay"]),
        max_attempts=raw["maxAttempts"],
        acceptors=Acceptors(f"{service} {name} ({file or 'botocore'})", rules),
        parameters=parameters_of(rules),
        raw=raw,
    )


def waiter_problems(models: ServiceModels, service: str, raw: Any) -> Iterator[Found]:
    """Everything for which a waiter cannot be used. Without acceptors it can: with those that a wait brings along."""
    if not isinstance(raw, dict):
        yield "waiter", raw, "must be an object with operation, delay, maxAttempts and acceptors"
        return
    wanted, delay, attempts = raw.get("operation"), raw.get("delay"), raw.get("maxAttempts")
    if not isinstance(wanted, str) or models.operation(service, wanted) is None:
        yield "operation", wanted, f"{service} has none{hint(wanted, models.get(service).operation_names)}"
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 < delay < inf:
        yield "delay", delay, "must be a number of seconds above 0"
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        yield "maxAttempts", attempts, "must be a whole number, at least 1"
    if "acceptors" in raw:
        yield from problems(raw["acceptors"])


def _variant(definition: WaiterDefinition, rules: Sequence[Acceptor], _types: object) -> WaiterDefinition:
    """The waiter with other rules; `_types` of what they expect are for the cache, to which 1 and true are equal."""
    acceptors = Acceptors(f"{definition.label} (as this wait has it)", rules)
    return replace(definition, acceptors=acceptors, parameters=frozenset())


def check_arguments(models: ServiceModels, definition: WaiterDefinition, arguments: Mapping[str, Any]) -> None:
    """Raises WaiterDefinitionError where the arguments do not fit the input of the waiter's operation."""
    operation = models.get(definition.service).operation_model(definition.operation)
    arguments = dict(arguments)
    if definition.service == "glacier":
        arguments.setdefault("accountId", "-")  # botocore itself fills it in, after this check
    if operation.input_shape is None:
        if arguments:
            raise WaiterDefinitionError(f"waiter {definition.label}: {definition.operation} takes no arguments")
        return
    report = ParamValidator().validate(arguments, operation.input_shape)
    if report.has_errors():
        text = f"waiter {definition.label}: {definition.operation}: {report.generate_report()}"
        raise WaiterDefinitionError(text)
