"""Promises of AIRFLOW_CONN_<ID>: what Airflow's AWS hook would make of it, or a refusal by name, and never a value."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from triggerd.airflow_connections import airflow_connections
from triggerd.connection_settings import ConnectionSettings
from triggerd.errors import ConfigError

SECRET = "wJalr/XUtn+FEMI@K7:MDENG#bPx?Rfi&CY%EX"
ROLE = "arn:aws:iam::123456789012:role/waits"
WEB = {
    "role_arn": ROLE,
    "assume_role_method": "assume_role_with_web_identity",
    "assume_role_with_web_identity_federation": "file",
}


def read(value: str, **more: str) -> tuple[ConnectionSettings, list[str]]:
    found, notes = airflow_connections({"AIRFLOW_CONN_ETL": value, **more})
    assert found.keys() == {"etl"}
    return found["etl"], notes


def as_json(extra: Any = None, **fields: Any) -> str:
    return json.dumps({"conn_type": "aws", **fields, "extra": extra})


def settings(extra: Any, **fields: Any) -> ConnectionSettings:
    found, notes = read(as_json(extra, **fields))
    assert notes == []
    return found


KEYS = ConnectionSettings(access_key_id="AKIA", secret_access_key=SECRET)


@pytest.mark.parametrize(
    "value",
    [
        f"aws://AKIA:{quote(SECRET, safe='')}@",
        f"aws://AKIA:{quote(SECRET, safe='')}@/",
        f"aws://?aws_access_key_id=AKIA&aws_secret_access_key={quote(SECRET, safe='')}",
        f"aws://?__extra__={quote(json.dumps({'aws_access_key_id': 'AKIA', 'aws_secret_access_key': SECRET}))}",
        as_json(login="AKIA", password=SECRET),
        as_json({"aws_access_key_id": "AKIA", "aws_secret_access_key": SECRET}),
        as_json(json.dumps({"aws_access_key_id": "AKIA", "aws_secret_access_key": SECRET})),
        as_json({"session_kwargs": {"aws_access_key_id": "AKIA", "aws_secret_access_key": SECRET}}),
        as_json({"aws_access_key_id": "other", "aws_secret_access_key": "x"}, login="AKIA", password=SECRET),
    ],
)
def test_static_keys_are_found_wherever_airflow_looks_for_them(value: str) -> None:
    assert read(value) == (KEYS, [])


def test_a_uri_has_its_extra_in_the_query() -> None:
    config = quote(json.dumps({"use_fips_endpoint": True}))
    uri = f"aws://?region_name=eu-west-1&profile_name=data&verify=False&role_arn={ROLE}&config_kwargs={config}"
    assert read(uri) == (
        ConnectionSettings(
            region="eu-west-1",
            profile="data",
            verify=False,
            role_arn=ROLE,
            session_name="airflow_etl",
            botocore={"use_fips_endpoint": True},
        ),
        [],
    )


def test_everything_that_says_how_a_role_is_assumed_is_taken() -> None:
    given = {
        "RoleArn": "that of the connection goes before", "RoleSessionName": "nightly", "ExternalId": "e",
        "DurationSeconds": 900, "Policy": "{}", "PolicyArns": [{"arn": "arn:p"}], "SourceIdentity": "airflow",
        "Tags": [{"Key": "team", "Value": "data"}], "TransitiveTagKeys": ["team"],
    }  # fmt: skip
    assert settings({"role_arn": ROLE, "assume_role_kwargs": given}) == ConnectionSettings(
        role_arn=ROLE, session_name="nightly", external_id="e", session_duration_s=900, session_policy="{}",
        session_policy_arns=("arn:p",), source_identity="airflow", session_tags={"team": "data"},
        transitive_tag_keys=("team",),
    )  # fmt: skip


def test_a_session_has_the_name_that_airflow_gives_as_a_trust_policy_may_ask_for_it() -> None:
    found, _ = airflow_connections({"AIRFLOW_CONN_MY TEAM/PROD": as_json({"role_arn": ROLE})})
    assert found["my team/prod"].session_name == "airflow_my-team-prod"


def test_the_endpoint_of_all_is_not_the_one_that_a_role_is_asked_for_at() -> None:
    extra = {"role_arn": ROLE, "endpoint_url": "http://vpc"}
    found = settings(extra)
    assert (found.endpoint_of("glue"), found.endpoint_of("sts")) == ("http://vpc", None)
    found = settings({**extra, "service_config": {"sts": {"endpoint_url": "http://sts"}, "s3": {"bucket_name": "b"}}})
    assert (found.endpoint_of("s3"), found.endpoint_of("sts")) == ("http://vpc", "http://sts")
    assert settings({"endpoint_url": "http://moto"}).endpoint_of("sts") == "http://moto"


def test_a_service_may_have_awss_own_endpoint_beside_one_of_all() -> None:
    extra = {"endpoint_url": "http://vpc", "service_config": {"s3": {"endpoint_url": None}}}
    assert settings(extra).endpoint_of("s3") is None


def test_a_token_file_is_named_by_the_connection_or_by_the_environment() -> None:
    wanted = ConnectionSettings(role_arn=ROLE, web_identity_token_file="/t")
    assert settings({**WEB, "assume_role_with_web_identity_token_file": "/t"}) == wanted
    assert read(as_json(WEB), AWS_WEB_IDENTITY_TOKEN_FILE="/t") == (wanted, [])


@pytest.mark.parametrize("given", [True, "true", "True", False, "false", "/etc/bundle.pem"])
def test_certificates_are_checked_not_checked_or_checked_against_a_bundle(given: bool | str) -> None:
    wanted = {"true": True, "false": False}.get(str(given).lower(), given)
    assert settings({"verify": given}).verify == wanted


@pytest.mark.parametrize("empty", ["aws://", as_json(), as_json(""), as_json({"region_name": "", "verify": None})])
def test_without_anything_set_it_is_the_default_chain(empty: str) -> None:
    assert read(empty) == (ConnectionSettings(), [])


@pytest.mark.parametrize(
    ("value", "note"),
    [
        (as_json({"foo": SECRET, "bar": 1}), "not used: foo, bar"),
        (
            as_json({"config_kwargs": {"retries": {"mode": "adaptive"}}}),
            "config_kwargs.retries is not used: the poller",
        ),
        (as_json({"session_kwargs": {"profile_name": "p"}}), "not used: session_kwargs.profile_name"),
        (as_json({"assume_role_kwargs": {"ExternalId": "e"}}), "not used: assume_role_kwargs"),
        (as_json(login="AKIA"), "login and password go together: neither is used"),
        (as_json({"profile_name": "p"}, login="A", password=SECRET), "profile_name is not used: there are keys"),
    ],
)
def test_what_is_of_no_use_is_a_note_with_the_variable_and_no_value(value: str, note: str) -> None:
    _, [told] = read(value)
    assert told.startswith(f"AIRFLOW_CONN_ETL: {note}")
    assert SECRET not in told


def test_keys_beside_a_token_are_not_used_as_airflow_does_not() -> None:
    found, [note] = read(as_json(WEB, login="A", password=SECRET), AWS_WEB_IDENTITY_TOKEN_FILE="/t")
    assert found == ConnectionSettings(role_arn=ROLE, web_identity_token_file="/t")
    assert "the keys are not used" in note


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (as_json({"role_arn": ROLE, "assume_role_method": "assume_role_with_saml"}), "saml is not supported"),
        (as_json({**WEB, "assume_role_with_web_identity_federation": "google"}), "google is not supported"),
        (as_json(WEB), "token_file is not set, nor is AWS_WEB_IDENTITY_TOKEN_FILE"),
        (as_json({"role_arn": ROLE, "assume_role_method": SECRET}), "assume_role_method must be"),
        (as_json({"role_arn": ROLE, "assume_role_kwargs": {"SerialNumber": SECRET}}), "SerialNumber is not supp"),
        (as_json({"role_arn": ROLE, "assume_role_kwargs": {"Tags": [{"Key": "k"}, SECRET]}}), r"Tags\[1\] must be a"),
        (as_json({"role_arn": ROLE, "assume_role_kwargs": {"DurationSeconds": 60}}), "session_duration_s: 900 to"),
        (as_json({"role_arn": ROLE, "assume_role_kwargs": SECRET}), "assume_role_kwargs must be a table"),
        (as_json({**WEB, "assume_role_with_web_identity_token_file": "/t", "assume_role_kwargs": {"ExternalId": "e"}}),
         "external_id: a token"),
        (as_json({"aws_access_key_id": SECRET}), "secret_access_key: .*go together"),
        (as_json({"aws_session_token": SECRET}), "session_token: belongs to"),
        (as_json({"region_name": [SECRET]}), "region_name must be a text"),
        (as_json({"verify": 3}), "verify must be"),
        (as_json({"service_config": {"s3": SECRET}}), "service_config.s3 must be a table"),
        (as_json([SECRET]), "extra must be a table"),
        (as_json(SECRET), "extra must be a table"),
        (f"aws://AKIA:{SECRET}@/", "percent-encoded"),
        ("aws://AKIA:abc/def@/", "percent-encoded"),
        (f"aws://[{SECRET}", "percent-encoded"),
    ],
)  # fmt: skip
def test_a_broken_one_of_type_aws_is_refused_by_its_variable_and_shows_no_value(value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^AIRFLOW_CONN_ETL: .*{says}") as caught:
        read(value)
    assert SECRET not in repr(caught.value) + str(caught.value.__cause__)
    assert SECRET[:5] not in str(caught.value)


def test_connections_of_other_types_and_other_variables_are_passed_over() -> None:
    found, notes = airflow_connections(
        {
            "AIRFLOW_CONN_DB": "postgres://u:p@h/db",
            "AIRFLOW_CONN_ODD": "not a uri",
            "AIRFLOW_CONN_BAD_PORT": "mysql://h:port:port/[",
            "AIRFLOW_CONN_HTTP": '{"conn_type": "http", "extra": 5}',
            "AIRFLOW_CONN_EMPTY": "",
            "AIRFLOW_CONN_": "aws://",
            "airflow_conn_lower": "aws://",
            "AIRFLOW_CONN_lower": "aws://",
        }
    )
    assert (found, notes) == ({}, [])


@pytest.mark.parametrize("value", ["{" + SECRET, '{"login": "x"}', '{"a": ' * 50_000])
def test_one_whose_type_nobody_can_tell_stops_no_start(value: str) -> None:
    found, [note] = airflow_connections({"AIRFLOW_CONN_ETL": value})
    assert found == {}
    assert note.startswith("AIRFLOW_CONN_ETL: ")
    assert SECRET not in note
