"""Airflow's connections in the environment (AIRFLOW_CONN_<ID>, as URI or JSON) as connections of this daemon.

What Airflow's AWS hook makes of a connection is done here, too. What would be another's credentials is refused by name;
what is of no use here is said in a note. Neither says a value: most of them are secret.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from triggerd.connection_settings import ConnectionSettings, rules_of
from triggerd.errors import ConfigError

PREFIX = "AIRFLOW_CONN_"

_SAML, _WEB_IDENTITY = "assume_role_with_saml", "assume_role_with_web_identity"
_FEDERATION = "assume_role_with_web_identity_federation"
_NOT_IN_A_SESSION_NAME = re.compile(r"[^\w+=,.@-]+", re.ASCII)
_SHOWN_KEYS, _SHOWN_CHARACTERS = 10, 40


def airflow_connections(environ: Mapping[str, str]) -> tuple[dict[str, ConnectionSettings], list[str]]:
    """The connections by their ids in lower case, and notes on what of them is not used.

    Connections of other types are passed over.

    Raises:
        ConfigError: One of type aws is broken, or wants what there is not here; names the variable, shows no value.
    """
    found: dict[str, ConnectionSettings] = {}
    notes: list[str] = []
    for variable in sorted(environ):
        name, text = variable.removeprefix(PREFIX), environ[variable].strip()
        if name in ("", variable) or name != name.upper() or not text:  # Airflow looks for upper case only
            continue
        try:
            read = _from_json(text) if text.startswith("{") else _from_uri(text)
            if isinstance(read, str):
                notes.append(f"{variable}: {read}")
            elif read is not None:
                found[name.lower()] = _Translation(read, name.lower(), environ, variable, notes).settings()
        except (TypeError, ValueError) as error:
            raise ConfigError(variable, ..., str(error)) from None  # the cause might show a value
    return found, notes


class _Given(NamedTuple):
    login: str | None
    password: str | None
    extra: "_Fields"


class _Fields:
    """Values by key, some of them JSON in a text; each is taken once, so that what nobody knows is left."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._left = {key: value for key, value in values.items() if value is not None and value != ""}
        self._path = path

    def text(self, key: str) -> str | None:
        value = self._left.pop(key, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{self._path}{key} must be a text")
        return value

    def number(self, key: str) -> int | None:
        value = self._left.pop(key, None)
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
            return int(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{self._path}{key} must be a whole number")
        return value

    def plain(self, key: str, kind: type[Any], word: str) -> Any:
        """A table or a list as it is; an empty one where there is none."""
        value = self._left.pop(key, None)
        if isinstance(value, str):
            value = _json(value)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{self._path}{key} must be a {word}")
        return kind() if value is None else value

    def table(self, key: str) -> "_Fields":
        return _Fields(self.plain(key, dict, "table"), f"{self._path}{key}.")

    def tables(self, key: str) -> Iterator["_Fields"]:
        for number, item in enumerate(self.plain(key, list, "list")):
            if not isinstance(item, dict):
                raise TypeError(f"{self._path}{key}[{number}] must be a table")
            yield _Fields(item, f"{self._path}{key}[{number}].")

    def verify(self) -> bool | str:
        value = self._left.pop("verify", True)
        if not isinstance(value, bool | str):
            raise TypeError("verify must be true, false or the path of a CA bundle")
        return {"true": True, "false": False}.get(str(value).lower(), value)

    def left(self) -> list[str]:
        """The keys that nobody took."""
        return [f"{self._path}{key}"[:_SHOWN_CHARACTERS] for key in self._left]


class _Translation:
    """One connection on its way."""

    def __init__(self, given: _Given, name: str, environ: Mapping[str, str], variable: str, notes: list[str]) -> None:
        self._given, self._extra, self._name, self._environ = given, given.extra, name, environ
        self._variable, self._notes = variable, notes

    def settings(self) -> ConnectionSettings:
        """Raises ValueError, TypeError: with what is wrong, and no value."""
        extra = self._extra
        fields = {
            "region": extra.text("region_name"),
            "profile": extra.text("profile_name"),
            **self._keys(),
            "endpoint_url": extra.text("endpoint_url"),
            "endpoints": self._endpoints(),
            "verify": extra.verify(),
            "botocore": self._botocore(),
            **self._role(),
        }
        if fields["role_arn"] and fields["endpoint_url"]:
            fields["endpoints"].setdefault("sts", "")  # there, a role is never asked for at the endpoint of all
        if fields["access_key_id"] and fields["web_identity_token_file"]:
            self._note("the keys are not used: the token is the credential")
            fields |= dict.fromkeys(("access_key_id", "secret_access_key", "session_token"))
        elif fields["access_key_id"] and fields["profile"]:
            self._note("profile_name is not used: there are keys")
            fields["profile"] = None
        if left := extra.left():
            self._note(f"not used: {', '.join(left[:_SHOWN_KEYS])}{', ...' if left[_SHOWN_KEYS:] else ''}")
        connection = ConnectionSettings(**fields)
        for field, sound, why in rules_of(connection):
            if not sound:
                raise ValueError(f"{field}: {why}")
        return connection

    def _note(self, text: str) -> None:
        self._notes.append(f"{self._variable}: {text}")

    def _keys(self) -> dict[str, str | None]:
        """From login and password, else from the extra, else from where they stood in old versions."""
        extra, given = self._extra, self._given
        old = extra.table("session_kwargs")
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        key, secret, token = (extra.text(name) for name in names)
        old_key, old_secret, old_token = (old.text(name) for name in names)
        if given.login and given.password:
            key, secret = given.login, given.password
        elif given.login or given.password:
            self._note("login and password go together: neither is used")
        if not (key and secret) and old_key and old_secret:
            key, secret = old_key, old_secret
        if left := old.left():
            self._note(f"not used: {', '.join(left[:_SHOWN_KEYS])}")
        return {"access_key_id": key, "secret_access_key": secret, "session_token": token or old_token}

    def _endpoints(self) -> dict[str, str]:
        found = {}
        for service, config in self._extra.plain("service_config", dict, "table").items():
            if not isinstance(config, dict):
                raise TypeError(f"service_config.{service[:_SHOWN_CHARACTERS]} must be a table")
            if "endpoint_url" in config:  # none stands for AWS's own; the rest is for hooks
                found[service] = _Fields(config, f"service_config.{service}.").text("endpoint_url") or ""
        return found

    def _botocore(self) -> dict[str, Any]:
        options: dict[str, Any] = dict(self._extra.plain("config_kwargs", dict, "table"))
        if options.pop("retries", None) is not None:
            self._note("config_kwargs.retries is not used: the poller decides when to send again")
        return options

    def _role(self) -> dict[str, Any]:
        """How a role is assumed; without one, Airflow looks at nothing of that either."""
        role_arn, token_file = self._extra.text("role_arn"), None
        if not role_arn:
            return {"role_arn": None, "web_identity_token_file": None}
        method = self._extra.text("assume_role_method") or "assume_role"
        if method == _SAML:
            raise ValueError(f"{_SAML} is not supported: use assume_role, or {_WEB_IDENTITY} with a token file")
        if method == _WEB_IDENTITY:
            token_file = self._token_file()
        elif method != "assume_role":
            raise ValueError(f"assume_role_method must be assume_role or {_WEB_IDENTITY}")
        # A trust policy may ask for the name that Airflow gives; with a token it gives a random one.
        name = None if token_file else _NOT_IN_A_SESSION_NAME.sub("-", f"airflow_{self._name}")[:64]
        given = self._extra.table("assume_role_kwargs")
        given.text("RoleArn")  # that of the connection goes before
        fields = {
            "role_arn": role_arn,
            "web_identity_token_file": token_file,
            "external_id": given.text("ExternalId"),
            "session_name": given.text("RoleSessionName") or name,
            "session_duration_s": given.number("DurationSeconds"),
            "session_tags": dict(_pair(tag, "Key", "Value") for tag in given.tables("Tags")),
            "transitive_tag_keys": tuple(_texts(given.plain("TransitiveTagKeys", list, "list"), "TransitiveTagKeys")),
            "source_identity": given.text("SourceIdentity"),
            "session_policy": given.text("Policy"),
            "session_policy_arns": tuple(_required(each, "arn") for each in given.tables("PolicyArns")),
        }
        if left := given.left():
            raise ValueError(f"{left[0]} is not supported")
        return fields

    def _token_file(self) -> str:
        federation = self._extra.text(_FEDERATION)
        if federation != "file":
            other = "google" if federation == "google" else "anything else"
            raise ValueError(f"{_FEDERATION} must be file: {other} is not supported")
        told = self._extra.text(f"{_WEB_IDENTITY}_token_file")
        file = told or self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
        if not file:
            raise ValueError(f"{_WEB_IDENTITY}_token_file is not set, nor is AWS_WEB_IDENTITY_TOKEN_FILE")
        return file


def _from_json(text: str) -> _Given | str | None:
    """None: of another type. A text: why it is passed over."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return "neither JSON nor a URI, so passed over"
    kind = tree.get("conn_type")
    if not kind:
        return "has no conn_type, so passed over"
    if str(kind).lower() != "aws":
        return None
    fields = _Fields(tree)
    return _Given(fields.text("login"), fields.text("password"), _Fields(fields.plain("extra", dict, "table")))


def _from_uri(text: str) -> _Given | None:
    """None: of another type."""
    kind, separator, _ = text.partition("://")
    if not separator or kind.lower() != "aws":
        return None
    hint = "the URI is not understood; in keys and values %, /, @, :, ?, & and # are percent-encoded"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(hint) from None
    if parts.username is None and (":" in parts.netloc or "@" in parts.path + parts.fragment):
        raise ValueError(hint)  # the rest of a key stands where nobody would look for it
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = _Fields(query).plain("__extra__", dict, "table") if "__extra__" in query else query
    login, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return _Given(login, password, _Fields(extra))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # whoever wants something else than a text says so


def _required(fields: _Fields, key: str) -> str:
    value = fields.text(key)
    if value is None:
        raise ValueError(f"assume_role_kwargs: an entry has no {key}")
    return value


def _pair(fields: _Fields, key: str, value: str) -> tuple[str, str]:
    return _required(fields, key), fields.text(value) or ""


def _texts(values: list[Any], key: str) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"assume_role_kwargs.{key} must be a list of texts")
    return values
