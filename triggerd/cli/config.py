"""Where settings come from: flags before environment before file before defaults, and every mistake named."""

import difflib
import inspect
import re
import stat
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from triggerd.airflow_connections import airflow_connections
from triggerd.errors import ConfigError
from triggerd.redact import redacted
from triggerd.settings import Settings, check

DEFAULT_FILE = Path("/etc/triggerd/triggerd.toml")
ENV_PREFIX = "TRIGGERD_"
ENV_FILE = "TRIGGERD_CONFIG"
"""Names the config file, so it is no setting."""

# What Kubernetes puts into every pod beside a Service that is called triggerd.
_KUBERNETES = re.compile(r"TRIGGERD_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP).*)?)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def load(config_file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """The settings of this start, checked.

    Args:
        config_file: A TOML file; None for none.
        environ: ``TRIGGERD_LEASE_MS=5000``; ``__`` nests: ``TRIGGERD_REDIS__URL``. A list is comma-separated or
            JSON, a table is JSON. Fields in ``_ms`` or ``_s`` also take a duration such as ``10s``, ``1.5h``, in the
            file too. AIRFLOW_CONN_<ID> of type aws are connections, where the other sources have none of that name.
        overrides: What the flags say, as the file would: ``{"redis": {"url": ...}}``.

    Raises:
        ConfigError: A key is unknown, or a value unusable; says which, why, and where it came from.
    """
    merged: dict[str, Any] = {}
    if config_file is not None:
        _merge(merged, _read_file(config_file), Settings, _Source(str(config_file)))
    _merge(merged, _read_environment(environ), Settings, _Source("the environment", env=True))
    _merge(merged, overrides, Settings, _Source("the command line"))
    settings = msgspec.convert(merged, Settings)
    check(settings)
    airflows, _ = airflow_connections(environ)
    aws = msgspec.structs.replace(settings.aws, connections={**airflows, **settings.aws.connections})
    return msgspec.structs.replace(settings, aws=aws)


def secret_for_all(config_file: Path) -> str:
    """The key of a secret in this file, where every user of this machine may read it; else ""."""
    if not config_file.stat().st_mode & stat.S_IROTH:
        return ""
    tree = _read_file(config_file)
    connections = tree.get("aws", {}).get("connections", {})
    held = {
        "signing_keys": tree.get("signing_keys"),
        "redis.url": _password(str(tree.get("redis", {}).get("url", ""))),
        **{f"aws.connections.{name}.secret_access_key": connections[name].get("secret_access_key")
           for name in connections},
    }  # fmt: skip
    return next((key for key, secret in held.items() if secret), "")


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None  # no URL; where it is used, that is said elsewhere


class _Source:
    """Where a value came from, for messages; in the environment every value is text."""

    def __init__(self, name: str, *, env: bool = False) -> None:
        self.name, self.env = name, env

    def spell(self, path: str) -> str:
        """`path` as one writes it in this source."""
        return ENV_PREFIX + path.upper().replace(".", "__") if self.env else path


def _read_file(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("config file", str(path), f"cannot be read: {error}") from error
    match tree.get("aws"):
        case {"waiter_folders": list(folders)}:  # as whoever wrote the file means them, wherever the daemon is started
            found = [str(path.parent / Path(str(folder)).expanduser()) for folder in folders]
            tree["aws"]["waiter_folders"] = found
    return tree


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """``TRIGGERD_A__B=x`` as ``{"a": {"b": "x"}}``."""
    tree: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX) or name == ENV_FILE or _KUBERNETES.fullmatch(name):
            continue
        *sections, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(
                    name, _shown(name, environ[name]), f"{section!r} is given both as a value and as a table"
                )
        table[key] = environ[name]
    return tree


def _merge(into: dict[str, Any], tree: Mapping[str, Any], struct: Any, source: _Source, path: str = "") -> None:
    """Lay the values of `tree` over `into`, each checked against the field of `struct` that it is for."""
    fields = typing.get_type_hints(struct)
    for key, value in tree.items():
        where = f"{path}.{key}" if path else key
        if key not in fields:
            raise ConfigError(source.spell(where), _shown(where, value), _unknown(key, path, list(fields), source))
        kind = fields[key]
        if _is_struct(kind):
            _merge(into.setdefault(key, {}), _table(value, where, source), kind, source, where)
        elif _is_struct(named := _value_type(kind)):
            for name, section in _table(value, where, source).items():
                inside = f"{where}.{name}"
                named_into = into.setdefault(key, {}).setdefault(name, {})
                _merge(named_into, _table(section, inside, source), named, source, inside)
        else:
            into[key] = _value(value, kind, where, source)


def _unknown(key: str, path: str, known: list[str], source: _Source) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    prefix = f"{path}." if path else ""
    hint = f"did you mean {source.spell(prefix + close[0])!r}?" if close else f"known here: {', '.join(sorted(known))}"
    return f"unknown key in {source.name}; {hint}"


def _table(value: Any, where: str, source: _Source) -> Mapping[str, Any]:
    if source.env and isinstance(value, str):
        value = _json(value)
    if not isinstance(value, Mapping):
        shown = ... if where.startswith("aws.connections") else _shown(where, value)  # a key, in the place of its table
        raise ConfigError(source.spell(where), shown, f"a table is expected (in {source.name})")
    return value


def _value(value: Any, kind: Any, where: str, source: _Source) -> Any:
    """`value` as a `kind`, or a ConfigError."""
    if isinstance(value, str):
        value = _duration(value, where)
        if source.env and typing.get_origin(kind) is tuple:
            parts = (part.strip() for part in value.split(","))
            value = _json(value) if value.startswith("[") else [part for part in parts if part]
        elif source.env and typing.get_origin(kind) is dict:
            value = _json(value)
    try:
        return msgspec.convert(value, kind, strict=not source.env)
    except msgspec.ValidationError as error:
        raise ConfigError(source.spell(where), _shown(where, value), f"{error} (in {source.name})") from error


def _duration(text: str, where: str) -> Any:
    """``10s`` as the number that the unit in the field's name asks for; any other text as it is."""
    found = _DURATION.fullmatch(text.strip()) if where.endswith(("_ms", "_s")) else None
    if not found:
        return text
    value_ms = float(found[1]) * _UNIT_MS[found[2]]
    value = value_ms if where.endswith("_ms") else value_ms / 1000
    return int(value) if value.is_integer() else value


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _shown(where: str, value: Any) -> Any:
    """`value` for a message, or ``...`` where it may hold a secret: this ends up in a log."""
    key = where.rpartition(".")[2].lower()
    hidden = "url" in key or "://" in str(value) or redacted({key: value}) != {key: value}
    return ... if hidden else value


def _is_struct(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, msgspec.Struct)


def _value_type(kind: Any) -> Any:
    """The type of the values of a ``dict[str, X]``, else None."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is dict else None
