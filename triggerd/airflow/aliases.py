"""Which bundled trigger runs a trigger class of Airflow's amazon provider, and with which arguments.

The table is `aliases.json`, beside this file. A row is named by module and class, and says:

    needs, has    the kwargs of Airflow's class: required ones, and the others with Airflow's defaults. All rows have
                  region_name, verify and botocore_config besides.
    waits         service and waiter, for `AwsWaiterTrigger`; args: its parameters, with ``$name`` where the kwarg's
                  text goes, ``$name[]`` for a list of texts; returns: return_key and return_value, ``$name`` being
                  any value; stops: false where an explicit cancel leaves the remote work alone
    cases         of these the first whose `when` is so adds its words to the row's
    runs          or else: the bundled class, under `triggerd.triggers`, whose arguments have the kwargs' names but
                  for those in `_RENAMED`; unused: kwargs that it has no use for
    refused       or else: why this class cannot be had without Airflow, and the way out
"""

import difflib
import json
import logging
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triggerd.airflow.encoding import decode
from triggerd.errors import ClasspathNotAllowedError, TriggerArgumentsError

PREFIX = "airflow.providers.amazon."
_MODULES = f"{PREFIX}aws.triggers."
_WAITER_TRIGGER = "triggerd.triggers.aws.AwsWaiterTrigger"
_OF_THE_CONNECTION = ("verify", "botocore_config")
_MAX_WARNED = 1_000
_MAX_SHOWN = 80
_SHORT = reprlib.Repr()

log = logging.getLogger(__name__)


def _connection(name: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a text or None, not {_short(value)}")
    return value or "default"


def _region(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a text or None, not {_short(value)}")
    return value or None


def _seconds(name: str, value: Any) -> float:
    """Some triggers send texts. 0, which asks as fast as AWS answers, is made 1."""
    number = _from_text(name, value, float) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < float("inf"):
        raise ValueError(f"{name} = {_short(value)}: must be a number of seconds")
    return number or 1


def _attempts(name: str, value: Any) -> int:
    number = _from_text(name, value, int) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} = {_short(value)}: must be a whole number of at least 1")
    return number


def _short(value: object) -> str:
    """Only as much of it as is shown costs time."""
    if isinstance(value, set | frozenset):  # it would be sorted
        return f"a set of {len(value):,}"
    return repr(value[:_MAX_SHOWN]) if isinstance(value, str) else _SHORT.repr(value)[:_MAX_SHOWN]


def _from_text(name: str, value: str, kind: type[float] | type[int]) -> float:
    try:
        return kind(value[:30])
    except ValueError:
        raise ValueError(f"{name} = {_short(value)}: must be a number") from None


# Airflow's name -> (the name here, its check). Where a class has two for one thing, the later in its row goes first,
# unless it is None.
_RENAMED: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "aws_conn_id": ("connection", _connection),
    "region_name": ("region", _region),
    "region": ("region", _region),
    "waiter_delay": ("delay", _seconds),
    "poke_interval": ("delay", _seconds),
    "poll_interval": ("delay", _seconds),
    "waiter_max_attempts": ("max_attempts", _attempts),
    "max_attempts": ("max_attempts", _attempts),
}


@dataclass(frozen=True, slots=True, eq=False)
class Alias:
    """One row: what stands for a class of Airflow's.

    Attributes:
        classpath: Airflow's. name: its last part.
        target: The bundled class that runs instead.
    """

    classpath: str
    name: str
    target: str
    row: Mapping[str, Any]
    warned: set[tuple[str, str]]
    """Shared by all aliases of a table: what was said already."""

    def arguments(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `target` for Airflow's `kwargs`, plain or encoded.

        Raises:
            TriggerArgumentsError: A kwarg that Airflow's class does not take, a missing one, a wrong value.
        """
        try:
            given = decode(dict(kwargs))
            self._check_names(given)
            values = {"region_name": None} | self.row.get("has", {}) | given
            arguments = self._common(values)
            return arguments | (self._plain(values) if "runs" in self.row else self._wait(values))
        except (TypeError, ValueError) as error:
            raise TriggerArgumentsError(self.classpath, str(error)) from error

    def _check_names(self, given: object) -> None:
        if not isinstance(given, dict):
            raise TypeError(f"the arguments must be a dict, not {type(given).__name__}")
        needs, has = self.row["needs"], self.row.get("has", {})
        takes = [*needs, *has, "region_name", *_OF_THE_CONNECTION]
        for name in given:
            if name not in takes:
                close = difflib.get_close_matches(str(name)[:_MAX_SHOWN], takes, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it takes: {', '.join(takes)}"
                raise TypeError(f"there is no argument {_short(name)}; {hint}")
        if missing := [name for name in needs if name not in given]:
            raise TypeError(f"missing: {', '.join(missing)}")
        for name in _OF_THE_CONNECTION:
            if given.get(name) is not None:
                self._warn(_connection("aws_conn_id", given.get("aws_conn_id")), name)

    def _warn(self, connection: str, name: str) -> None:
        """What weakens TLS or sets proxies is the operator's to say, not the queue's."""
        connection = connection[:_MAX_SHOWN]
        if (connection, name) not in self.warned and len(self.warned) < _MAX_WARNED:
            self.warned.add((connection, name))
            told = "%s of a trigger (%s) is not used: set it on the connection %r in the daemon's settings"
            log.warning(told, name, self.name, connection)

    def _common(self, values: Mapping[str, Any]) -> dict[str, Any]:
        common = {}
        for name, value in values.items():
            if (
                name in _RENAMED
                and name not in self.row.get("unused", ())
                and (value is not None or name == "aws_conn_id")
            ):
                ours, check = _RENAMED[name]
                common[ours] = check(name, value)
        return common

    def _plain(self, values: Mapping[str, Any]) -> dict[str, Any]:
        unused = {*_RENAMED, *_OF_THE_CONNECTION, *self.row.get("unused", ())}
        return {name: value for name, value in values.items() if name not in unused}

    def _wait(self, values: Mapping[str, Any]) -> dict[str, Any]:
        row = {**self.row, **self._case(values)}
        service, waiter_name = row["waits"].split()
        [(return_key, return_value)] = row["returns"].items()
        wait = {"service": service, "waiter_name": waiter_name, "waiter_args": _filled(row["args"], values, _for_aws)}
        wait |= {"return_key": return_key, "return_value": _filled(return_value, values, _as_it_is)}
        return wait if row.get("stops", True) else wait | {"cancel_call": False}

    def _case(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        cases = self.row.get("cases", ())
        for case in cases:
            if all(type(values[name]) is type(value) and values[name] == value for name, value in case["when"].items()):
                return dict(case)
        if cases:
            known = " or ".join(f"{name} = {value!r}" for case in cases for name, value in case["when"].items())
            raise ValueError(f"{known} is expected")
        return {}


def _filled(template: Any, values: Mapping[str, Any], fill: Callable[[str, Mapping[str, Any]], Any]) -> Any:
    """A template of a row with the kwargs in it."""
    match template:
        case dict():
            return {key: _filled(value, values, fill) for key, value in template.items()}
        case list():
            return [_filled(value, values, fill) for value in template]
        case str() if template.startswith("$"):
            return fill(template[1:], values)
    return template


def _as_it_is(name: str, values: Mapping[str, Any]) -> Any:
    return values[name]


def _for_aws(name: str, values: Mapping[str, Any]) -> str | list[str]:
    """An empty identifier would ask AWS for everything that it has."""
    listed, name = name.endswith("[]"), name.removesuffix("[]")
    texts = values[name] if listed else [values[name]]
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(each, str) and each for each in texts):
        what = "a list of texts" if listed else "a text"
        raise TypeError(f"{name} must be {what}, not {_short(values[name])}")
    return list(texts) if listed else texts[0]


class Aliases:
    """The table."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = rows
        self._warned: set[tuple[str, str]] = set()

    @classmethod
    def load(cls) -> "Aliases":
        """The shipped table. Reads the disk: call it in a thread."""
        return cls(json.loads(Path(__file__).with_name("aliases.json").read_bytes()))

    @property
    def classpaths(self) -> list[str]:
        """Every class of Airflow's that has a row, those that are refused, too."""
        return [_MODULES + name for name in self._rows]

    def find(self, classpath: str) -> Alias:
        """What stands for `classpath`.

        Raises:
            ClasspathNotAllowedError: Nothing does; says why, and the way out.
        """
        row = self._rows.get(classpath.removeprefix(_MODULES)) if classpath.startswith(_MODULES) else None
        name = classpath.rpartition(".")[2]
        if row is None:
            by_name = {path.rpartition(".")[2]: path for path in self.classpaths}
            close = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {by_name[close[0]]}?" if close else "the 86 that are stand in docs/from-airflow.md"
            raise ClasspathNotAllowedError(
                classpath, f"not a trigger of Airflow's that triggerd runs, nor in the setting `allow`; {hint}"
            )
        if "refused" in row:
            raise ClasspathNotAllowedError(classpath, row["refused"])
        target = f"triggerd.triggers.{row['runs']}" if "runs" in row else _WAITER_TRIGGER
        return Alias(classpath, name, target, row, self._warned)
