"""Secrets in text that somebody else has written, an exception's message above all."""

from typing import NamedTuple

import pytest

from triggerd.clock import wall_ms
from triggerd.daemon.failures import described, ended_event
from triggerd.event import EventError, decode_event
from triggerd.redact import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("FATAL: password=hunter2 host=db", "FATAL: password=*** host=db"),
        ("connect(user='ann', password='hun ter2', db=1)", "connect(user='ann', password=***, db=1)"),
        ("{'api_key': 'hunter2', 'n': 1}", "{'api_key': ***, 'n': 1}"),
        ('{"db_password": "hun\\"ter2", "n": 1}', '{"db_password": ***, "n": 1}'),
        ('"{\\"token\\": \\"hunter2\\"}"', '"{\\"token\\": ***}"'),
        ("{'tokens': ['hunter2', 'hunter2']}", "{'tokens': ***}"),
        ("env['AWS_SECRET_ACCESS_KEY'] = 'hunter2'", "env['AWS_SECRET_ACCESS_KEY'] = ***"),
        ("kwargs: {'auth': ('ann', 'hunter2')", "kwargs: {'auth': ***"),
        ("Authorization: Basic aHVudGVyMg==", "Authorization: ***"),
        ("sent X-Api-Key: hunter2, refused", "sent X-Api-Key: ***, refused"),
        ("bad password: hunter2", "bad password: ***"),
        ("sent Bearer hunter2hunter2 to h", "sent Bearer *** to h"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.hunter2-x is out of date", "*** is out of date"),
        (
            "GET https://b.s3/k?X-Amz-Signature=hunter2&X-Amz-Date=1",
            "GET https://b.s3/k?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("no answer from redis://ann:hunter2@h:1/0", "no answer from redis://ann:***@h:1/0"),
        ("password='hunter2 and the text was cut he", "password=***"),
        ("key=-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----, db", "key=***, db"),
        ("private_key=-----BEGIN PRIVATE KEY-----\\nMIIhunter2", "private_key=***"),
    ],
)
def test_a_secret_in_free_text_is_hidden_and_the_rest_is_kept(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown, "twice is once"


PEM = "-----BEGIN PRIVATE KEY-----"


class Login(NamedTuple):
    user: str
    password: str


def test_a_secret_is_hidden_in_whatever_holds_it() -> None:
    text = "password=hunter2"
    hidden = "password=***"
    assert redacted([{text}, frozenset({text}), text.encode(), Login("ann", text)]) == [
        {hidden}, frozenset({hidden}), hidden.encode(), ("ann", hidden),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "NoCredentialsError: Unable to locate credentials",
        "EnvelopeSignatureError: the trigger part was changed",
        "if token == 5: the author=ann of key=data/x.parquet",
        "ExpiredTokenException: the security token included in the request is expired",
        "TimeDeltaTrigger() missing 1 argument: 'seconds' (did you mean 'second'?)",
        "the bearer of bad news",
    ],
)
def test_what_is_no_secret_is_what_one_looks_for(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.deadline(10)  # it takes milliseconds; a quadratic search takes minutes
@pytest.mark.parametrize(
    "piece", ["a", "token", "password='", "x-", '\\"', "eyJ", "secret=[", "Bearer ", "-----BEGIN PRIVATE KEY-----"]
)
def test_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    redacted(piece * (200_000 // len(piece)))


def test_what_a_trigger_raised_is_stored_without_its_secret() -> None:
    failure = described(ValueError("login failed: {'password': 'hunter2'}"))
    assert failure == EventError("trigger_raised", "login failed: {'password': ***}", "ValueError")
    cancelled = ended_event(EventError("cancelled", "on_cancel() failed: token=hunter2"), b"")
    event = decode_event("t", 1, "cancelled", cancelled)
    assert event.error is not None
    assert (event.error.message, event.payload["message"]) == ("on_cancel() failed: token=***",) * 2
    assert event.fired_ms <= wall_ms()
