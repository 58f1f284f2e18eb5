"""Promises of SqsSensorTrigger's arguments and filters."""

from typing import Any

import pytest

from triggerd.clock import monotonic_s
from triggerd.testing import round_trip
from triggerd.triggers.sqs import SqsSensorTrigger
from triggerd.triggers.sqs_filters import body_filter, match_values

URL = "https://sqs.eu-west-1.amazonaws.com/1/q"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"sqs_queue": ""}, ValueError, "sqs_queue must not be empty"),
        ({"max_messages": 11}, ValueError, "max_messages = 11: must be 1 to 10"),
        ({"max_messages": True}, TypeError, "max_messages must be a whole number"),
        ({"num_batches": 0}, ValueError, "num_batches = 0"),
        ({"wait_time_seconds": 21}, ValueError, "wait_time_seconds = 21"),
        ({"visibility_timeout": -1}, ValueError, "visibility_timeout = -1"),
        ({"message_filtering": "xpath"}, ValueError, "None or one of literal, jsonpath, jsonpath-ext"),
        ({"message_filtering": "literal"}, ValueError, "message_filtering_match_values must be given"),
        ({"message_filtering": "jsonpath"}, TypeError, "message_filtering_config must be a string"),
        ({"message_filtering": "jsonpath", "message_filtering_config": "a["}, ValueError, "JSONPath 'a\\['"),
        ({"message_filtering": "jsonpath", "message_filtering_config": "a[?(@.b)]"}, ValueError, "jsonpath-ext"),
        ({"message_filtering_match_values": {"a": 1}}, TypeError, "a value or a list of values"),
        ({"delete_message_on_reception": "no"}, TypeError, "must be True or False"),
        ({"delay": 0}, ValueError, "above 0"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        SqsSensorTrigger(**{"sqs_queue": URL, **change})


def test_every_argument_survives_the_wire() -> None:
    trigger = SqsSensorTrigger(
        URL, max_messages=10, num_batches=2, wait_time_seconds=20, visibility_timeout=0,
        message_filtering="jsonpath-ext", message_filtering_match_values={"a"}, message_filtering_config="$[?(@.a)].b",
        delete_message_on_reception=False, delay=7, max_attempts=3, connection="prod", region="eu-west-1",
    )  # fmt: skip
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert SqsSensorTrigger(URL).serialize()[1] == {"sqs_queue": URL}


def test_a_literal_filter_given_as_a_string_is_no_substring_test() -> None:
    fits = body_filter("literal", match_values("category"), None)
    assert fits("category")
    assert not fits("cat")
    assert not body_filter("literal", match_values(["cat", "dog"]), None)("category")


def test_a_jsonpath_filter_compares_whole_values() -> None:
    fits = body_filter("jsonpath", match_values("done"), "$.jobs[*].state")
    assert fits('{"jobs": [{"state": "new"}, {"state": "done"}]}')
    assert not fits('{"jobs": [{"state": "do"}]}')
    assert body_filter("jsonpath", None, "$.jobs")('{"jobs": null}')
    assert body_filter("jsonpath", match_values(7), "$.n")('{"n": 7}')


@pytest.mark.parametrize("body", ["no json", "", "{", "[" * 100_000, "9" * 5_000, '"\\ud800"', "null", "7"])
def test_a_body_that_is_no_json_or_no_object_does_not_fit_and_kills_nothing(body: str) -> None:
    assert not body_filter("jsonpath", ["x"], "$..state")(body)


def test_many_values_are_not_compared_with_many_values_of_a_body_one_by_one() -> None:
    fits = body_filter("jsonpath", match_values(list(range(1, 1_001))), "$[*]")
    body = "[" + "0," * 99_999 + "0]"
    began_s = monotonic_s()
    assert not fits(body)
    assert monotonic_s() - began_s < 2  # 17 s it took, and the loop with it
    assert fits(body.replace("0]", "1000]"))


def test_lists_and_objects_are_values_too_but_not_without_bound() -> None:
    fits = body_filter("jsonpath", match_values([{"a": 1}, [2]]), "$[*]")
    assert fits('[[2], {"a": 1}]')
    assert not fits('[[3], {"a": 2}, 2]')
    assert not body_filter("jsonpath", [[number] for number in range(1_000)], "$[*]")("[" + "[1]," * 999 + "[1]]")


def test_values_to_match_are_bounded() -> None:
    with pytest.raises(ValueError, match=r"at most 1,000 of them, not 1,001"):
        SqsSensorTrigger(URL, message_filtering_match_values=list(range(1_001)))
