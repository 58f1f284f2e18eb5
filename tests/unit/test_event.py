"""The event as its caller sees it."""

from typing import Any

import pytest

from triggerd.envelope import pack, pack_binary
from triggerd.errors import (
    EnvelopeDecodeError,
    EnvelopeTooLargeError,
    EventStatusError,
    OutcomeError,
    TriggerCancelledError,
    TriggerFailedError,
    TriggerTimeoutError,
)
from triggerd.event import Continuation, Event, EventError, decode_event, encode_event, ended_prefix


def test_an_event_comes_back_with_everything_that_was_put_in() -> None:
    resume = Continuation("go_on", {"n": 1}, ("jobs.Task", {"cluster": "dwh"}), {"run": 7}, 2, "first").encode()
    envelope = encode_event({"status": "success"}, resume=resume, details={"polls": 3}, fired_ms=1700000000000)
    event = decode_event("t1", 1, "fired", envelope)
    assert (event.payload, event.details, event.fired_ms) == ({"status": "success"}, {"polls": 3}, 1700000000000)
    assert (event.trigger_id, event.seq, event.outcome, event.final, event.error) == ("t1", 1, "fired", True, None)
    assert event.event_id == "t1:1"
    back = Continuation.decode(event.resume)
    assert back == Continuation("go_on", {"n": 1}, ("jobs.Task", {"cluster": "dwh"}), {"run": 7}, 2, "first")


def test_an_event_reads_like_its_payload_as_in_the_guide() -> None:
    event = Event({"status": "success", "value": "dwh"})
    assert event["status"] == "success"
    assert event.get("missing", "-") == "-"
    assert "value" in event
    assert list(event) == ["status", "value"]
    assert Event("text").get("status") is None


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("failed", TriggerFailedError), ("timed_out", TriggerTimeoutError), ("cancelled", TriggerCancelledError)],
)
def test_each_outcome_but_fired_raises_its_own_error(outcome: Any, error: type[OutcomeError]) -> None:
    event = Event(None, outcome=outcome, trigger_id="t1", error=EventError("code", "the reason"))
    with pytest.raises(error, match=r"t1.*the reason") as raised:
        event.raise_for_status()
    assert raised.value.event is event


def test_an_error_status_raises_though_it_fired() -> None:
    with pytest.raises(EventStatusError, match="cluster is being deleted"):
        Event({"status": "error", "message": "cluster is being deleted"}).raise_for_status()


def test_a_success_is_returned_by_raise_for_status() -> None:
    event = Event({"status": "success"})
    assert event.raise_for_status() is event


def test_an_event_ended_from_outside_says_why_in_its_payload_and_in_its_error() -> None:
    prefix = ended_prefix(EventError("timed_out", "the deadline passed"), 5)
    event = decode_event("t1", 1, "timed_out", prefix + pack_binary(b""))
    assert event["status"] == "error"
    assert event["message"] == "the deadline passed"
    assert event.error == EventError("timed_out", "the deadline passed")
    assert Continuation.decode(event.resume) == Continuation()


def test_an_event_over_the_limit_is_refused() -> None:
    with pytest.raises(EnvelopeTooLargeError):
        encode_event("x" * 300_000, resume=b"")


@pytest.mark.parametrize(
    ("outcome", "envelope"),
    [
        ("won", encode_event(1, resume=b"")),
        ("fired", b"\xc1"),
        ("fired", b"\x92\x01\xc4\x00"),
        ("fired", b"\x93\x01" + pack_binary(pack([1])) + pack_binary(b"")),
        ("fired", b"\x93\x01" + pack_binary(pack({"payload": 1, "error": [1]})) + pack_binary(b"")),
    ],
)
def test_what_is_no_event_is_refused(outcome: str, envelope: bytes) -> None:
    with pytest.raises(EnvelopeDecodeError):
        decode_event("t1", 1, outcome, envelope)


@pytest.mark.parametrize("data", [pack([1]), pack({"unknown": 1}), pack({"task": 5}), b"\xc1"])
def test_a_resume_part_that_is_no_continuation_is_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeDecodeError):
        Continuation.decode(data)
