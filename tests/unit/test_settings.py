"""Settings: precedence, parsing, and the message that each mistake gets."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from triggerd.cli.config import load, secret_for_all
from triggerd.data import data_path
from triggerd.errors import ConfigError
from triggerd.settings import AwsSettings, ConnectionSettings, Settings, check


def load_text(
    tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, overrides: dict[str, Any] | None = None
) -> Settings:
    file = tmp_path / "triggerd.toml"
    file.write_text(text)
    return load(file, environ or {}, overrides or {})


def test_without_any_source_the_defaults_hold() -> None:
    assert load(None, {}, {}) == Settings()


def test_flags_go_before_environment_before_file_before_default(tmp_path: Path) -> None:
    text = 'capacity = 1\nlease_ms = 1000\ndrain_timeout_s = 30\n[redis]\nurl = "redis://file"\n'
    environ = {"TRIGGERD_LEASE_MS": "2000", "TRIGGERD_DRAIN_TIMEOUT_S": "40"}
    settings = load_text(tmp_path, text, environ, {"drain_timeout_s": 50})
    assert (settings.capacity, settings.lease_ms, settings.drain_timeout_s) == (1, 2000, 50)
    assert settings.redis.url == "redis://file"
    assert settings.result_ttl_s == Settings().result_ttl_s


def test_the_environment_nests_by_two_underscores_and_parses_lists_and_tables(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        environ={
            "TRIGGERD_REDIS__URL": "redis://env",
            "TRIGGERD_QUEUES": "default,slow",
            "TRIGGERD_ALLOW": '["acme.triggers.*"]',
            "TRIGGERD_HTTP__ENABLED": "false",
            "TRIGGERD_AWS__CONNECTIONS__PROD__REGION": "eu-west-1",
            "TRIGGERD_AWS__CONNECTIONS__PROD__ENDPOINTS": '{"sts": "https://sts.example"}',
            "TRIGGERD_CONFIG": "elsewhere.toml",
            "PATH": "/bin",
        },
    )
    assert settings.redis.url == "redis://env"
    assert settings.queues == ("default", "slow")
    assert settings.allow == ("acme.triggers.*",)
    assert settings.http.enabled is False
    prod = ConnectionSettings(region="eu-west-1", endpoints={"sts": "https://sts.example"})
    assert settings.aws.connections == {"prod": prod}


def test_connections_of_file_and_environment_merge_field_by_field(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        '[aws.connections.prod]\nregion = "eu-west-1"\nprofile = "data"\n',
        {"TRIGGERD_AWS__CONNECTIONS__PROD__REGION": "us-east-1"},
    )
    assert settings.aws.connections["prod"] == ConnectionSettings(region="us-east-1", profile="data")


@pytest.mark.parametrize(("text", "lease_ms"), [("5000", 5000), ("10s", 10_000), ("1.5s", 1500), ("750 ms", 750)])
def test_a_duration_is_read_in_the_unit_of_its_key(tmp_path: Path, text: str, lease_ms: int) -> None:
    assert load_text(tmp_path, environ={"TRIGGERD_LEASE_MS": text}).lease_ms == lease_ms


def test_durations_are_read_in_the_file_too(tmp_path: Path) -> None:
    assert load_text(tmp_path, 'result_ttl_s = "2h"').result_ttl_s == 7200


def test_an_unknown_key_of_the_file_is_refused_with_a_did_you_mean(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"redis\.ulr.*triggerd\.toml.*did you mean 'redis\.url'"):
        load_text(tmp_path, '[redis]\nulr = "redis://x"\n')


def test_an_unknown_variable_is_refused_with_a_did_you_mean_in_its_own_spelling(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"TRIGGERD_LEASE_SM.*environment.*did you mean 'TRIGGERD_LEASE_MS'"):
        load_text(tmp_path, environ={"TRIGGERD_LEASE_SM": "1"})


def test_an_unknown_key_of_a_connection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"aws\.connections\.x\.regoin.*did you mean 'aws\.connections\.x\.region'"):
        load_text(tmp_path, '[aws.connections.x]\nregoin = "eu-west-1"\n')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('capacity = "many"', r"capacity = 'many': .*int.*triggerd\.toml"),
        ("capacity = 0", r"capacity = 0: at least 1"),
        ("queues = []", r"queues.*at least one"),
        ('queues = ["a", "a"]', r"queues.*twice"),
        ('queues = ["{a}"]', r"queues = '\{a\}'"),
        ("lease_ms = 100", r"lease_ms = 100: 500 ms"),
        ("result_ttl_s = 60", r"result_ttl_s = 60: at least 300"),
        ("drain_timeout_s = 5", r"drain_timeout_s = 5.*redis\.command_timeout_ms"),
        ('[redis]\nurl = "http://u:secret@h"', r"redis\.url = 'http://\.\.\.': begins with"),
        ("[http]\nport = 70000", r"http\.port = 70000"),
        ('[logs]\nformat = "xml"', r"logs\.format = 'xml'"),
        ("[aws]\nread_timeout_s = 0", r"aws\.read_timeout_s = 0"),
        ("redis = 3", r"redis = 3: a table"),
        ('[redis]\nurl = "redis://h:abc"', r"redis\.url: not understood"),
        ('[redis]\nurl = "redis://h/0?foo=bar"', r"redis\.url: not understood"),
        ("drain_timeout_s = inf", r"drain_timeout_s = inf"),
        ("capacity = ", r"config file.*cannot be read"),
    ],
)
def test_an_unusable_value_is_named_with_its_key_and_the_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_text(tmp_path, text)
    assert "secret" not in str(caught.value)


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", {}, {})


def test_the_defaults_pass_their_own_check() -> None:
    check(Settings())


def sample() -> str:
    return data_path("config/triggerd.toml").read_text()


def test_the_sample_config_means_the_defaults(tmp_path: Path) -> None:
    assert load_text(tmp_path, sample()) == Settings()


def test_the_sample_config_uncommented_gives_the_defaults_and_example_connections(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=\w+ = |\[)", "", sample(), flags=re.MULTILINE)
    settings = load_text(tmp_path, text)
    assert settings.aws.connections["default"].session_duration_s == 3600
    assert settings.aws.connections.keys() == {"default", "pod", "keys"}
    plain = msgspec.structs.replace(settings, aws=msgspec.structs.replace(settings.aws, connections={}))
    assert plain == Settings()


def keys(struct: type[msgspec.Struct]) -> list[str]:
    found = []
    for field in msgspec.structs.fields(struct):
        found.append(field.name)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += keys(field.type)
    return found


@pytest.mark.parametrize("key", sorted({*keys(Settings), *keys(ConnectionSettings)}))
def test_every_key_stands_in_the_sample_config(key: str) -> None:
    assert re.search(rf"(^(# )?{key} = )|(\[[\w.]*\b{key}\b)", sample(), re.MULTILINE)


def test_waiter_folders_in_a_file_are_relative_to_that_file(tmp_path: Path) -> None:
    file = tmp_path / "triggerd.toml"
    file.write_text('[aws]\nwaiter_folders = ["waiters", "/etc/waiters"]\n')
    assert load(file, {}, {}).aws.waiter_folders == (str(tmp_path / "waiters"), "/etc/waiters")


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('[redis]\npassword = "hunter2"', {}),
        ('redis = "redis://:hunter2@h"', {}),
        ("", {"TRIGGERD_REDIS__PASSWORD": "hunter2"}),
        ("", {"TRIGGERD_REDIS": "redis://:hunter2@h"}),
        ("", {"TRIGGERD_REDIS": "redis://:hunter2@h", "TRIGGERD_REDIS__URL": "redis://:hunter2@h"}),
        ('[redis]\nurl = "redis://:hun/ter2@h"', {}),
        ("", {"TRIGGERD_AWS__CONNECTIONS": '{"etl": "hunter2"}'}),
        ("", {"TRIGGERD_AWS__CONNECTIONS__ETL": "hunter2"}),
        ('[aws.connections]\netl = "hunter2"', {}),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    file = tmp_path / "triggerd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, environ, {})
    assert "hunter2" not in str(caught.value)
    assert "hun" not in str(caught.value)


def test_what_kubernetes_puts_beside_a_service_is_no_setting() -> None:
    environ = {
        "TRIGGERD_PORT": "tcp://10.0.0.1:9464",
        "TRIGGERD_SERVICE_HOST": "10.0.0.1",
        "TRIGGERD_PORT_9464_TCP": "x",
    }
    assert load(None, environ, {}) == Settings()


def test_a_list_in_the_environment_may_have_spaces() -> None:
    assert load(None, {"TRIGGERD_ALLOW": "a.*, b.*"}, {}).allow == ("a.*", "b.*")


KEYS: dict[str, Any] = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "hush", "session_token": "hush"}


def test_keys_of_a_connection_are_shown_nowhere() -> None:
    connection = ConnectionSettings(**KEYS)
    settings = Settings(aws=AwsSettings(connections={"keys": connection}))
    for shown in (repr(connection), repr(settings.aws), repr(settings), f"{settings}"):
        assert not any(value in shown for value in KEYS.values())


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_the_wrong_type_is_not_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"aws\.connections\.x\.{key}: Expected `str") as caught:
        load_text(tmp_path, f'[aws.connections.x]\n{key} = ["hush"]\n')
    assert "hush" not in str(caught.value)


def test_keys_may_come_from_file_and_environment_together(tmp_path: Path) -> None:
    environ = {"TRIGGERD_AWS__CONNECTIONS__X__SECRET_ACCESS_KEY": "hush"}
    settings = load_text(tmp_path, '[aws.connections.x]\naccess_key_id = "AKIA"\n', environ)
    assert settings.aws.connections["x"].secret_access_key == "hush"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"access_key_id": "A"}, "secret_access_key: .*go together"),
        ({"secret_access_key": "s"}, "secret_access_key: .*go together"),
        ({"session_token": "t"}, "session_token: belongs to"),
        ({"access_key_id": "A", "secret_access_key": "s", "profile": "p"}, "profile: name one source"),
        ({"access_key_id": "A", "secret_access_key": "s", "role_arn": "r", "web_identity_token_file": "/t"},
         "web_identity_token_file: name one source"),
        *(({field: value}, f"{field}: says how role_arn is assumed")
          for field, value in {"external_id": "e", "session_name": "n", "session_tags": {"a": "b"},
                               "source_identity": "i", "session_policy": "{}", "session_policy_arns": ["a"],
                               "web_identity_token_file": "/t", "session_duration_s": 900}.items()),
        ({"role_arn": "r", "web_identity_token_file": "/t", "external_id": "e"}, "external_id: a token"),
        ({"role_arn": "r", "session_duration_s": 899}, "session_duration_s: 900"),
        ({"role_arn": "r", "session_duration_s": 43_201}, "session_duration_s: 900"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_in_a_connection_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^aws\.connections\.x\.{says}"):
        load(None, {}, {"aws": {"connections": {"x": fields}}})


def test_airflows_connections_are_connections_but_for_those_that_are_configured(tmp_path: Path) -> None:
    environ = {"AIRFLOW_CONN_ETL": "aws://?region_name=eu-west-1", "AIRFLOW_CONN_X": "aws://?region_name=eu-west-1"}
    settings = load_text(tmp_path, '[aws.connections.x]\nprofile = "data"\n', environ)
    assert settings.aws.connections == {
        "etl": ConnectionSettings(region="eu-west-1"),
        "x": ConnectionSettings(profile="data"),
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('signing_keys = ["0123456789abcdef"]', "signing_keys"),
        ('[redis]\nurl = "redis://u:p@h"', "redis.url"),
        ('[redis]\nurl = "redis://[bad"', ""),
        ('[aws.connections.x]\nsecret_access_key = "s"', "aws.connections.x.secret_access_key"),
        ('[aws.connections.x]\naccess_key_id = "A"', ""),
        ("capacity = 1", ""),
    ],
)
def test_a_secret_in_a_file_that_all_can_read_is_named(tmp_path: Path, text: str, key: str) -> None:
    file = tmp_path / "triggerd.toml"
    file.write_text(text)
    file.chmod(0o644)
    assert secret_for_all(file) == key
    file.chmod(0o640)
    assert secret_for_all(file) == ""
