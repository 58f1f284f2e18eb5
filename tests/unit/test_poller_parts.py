"""Promises of the poller's parts, on instants that the tests choose: budget of time, back-off, verdicts, transport."""

import random
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from triggerd.aws import verdicts
from triggerd.aws.connections import SharedClient
from triggerd.aws.identity import Identity
from triggerd.aws.transport import classify
from triggerd.aws.waiters import ServiceModels, Waiters
from triggerd.aws.waits import Wait, request_key
from triggerd.errors import AwsCallError, WaiterExhaustedError, WaiterFailedError
from triggerd.settings import ConnectionSettings

WAITERS = Waiters((), ServiceModels(Loader()))
RUNNING = {"JobRun": {"JobRunState": "RUNNING"}}


def _wait(delay_s: float = 10.0, max_attempts: int = 4) -> Wait:
    return Wait(WAITERS.get("glue", "job_complete"), delay_s, max_attempts, (), None)


def _polled(wait: Wait, sent_s: float) -> bool:
    used_up = wait.answered("RUNNING", sent_s)
    wait.schedule(sent_s, 1.0)
    return used_up


# --- the budget of time -----------------------------------------------------------------------------------------


def test_a_wait_ends_at_the_poll_after_delay_times_attempts_less_one() -> None:
    wait = _wait()
    assert [_polled(wait, sent_s) for sent_s in (100, 110, 120, 130)] == [False, False, False, True]


def test_one_attempt_is_one_answer() -> None:
    assert _polled(_wait(max_attempts=1), 100)


def test_time_lost_to_a_throttle_moves_the_end() -> None:
    wait = _wait()
    polls = [_polled(wait, sent_s) for sent_s in (100, 110, 165, 175, 185)]  # due at 120, answered at 165
    assert polls == [False, False, False, True, True]


def test_answers_that_came_early_cost_nothing_of_the_budget() -> None:
    """A wait that shares its request with a more frequent one is answered more often; its time is the same."""
    wait = _wait()
    assert [_polled(wait, 100 + second) for second in range(30)] == [False] * 30
    assert _polled(wait, 130)


def test_jitter_leaves_the_last_poll_at_the_end_of_the_budget() -> None:
    rng = random.Random(7)
    for _ in range(200):
        wait, now_s, polls = _wait(max_attempts=6), 50.0, 0
        while not wait.answered("RUNNING", now_s):
            before_s = now_s
            wait.schedule(now_s, rng.uniform(0.9, 1.1))
            now_s = wait.due_s
            assert now_s - before_s >= 9.0 - 1e-9
            polls += 1
        assert 99.9999 <= now_s <= 111.0
        assert polls <= 6


# --- verdicts ---------------------------------------------------------------------------------------------------


def _judge(response: dict[str, Any], *, used_up: bool = False) -> verdicts.Verdict:
    wait = _wait()
    wait.answered(wait.status_in(response), 1.0)
    return verdicts.judge(wait, verdicts.decide(wait.definition, response), response, 5.0, used_up=used_up)


def test_a_failure_state_says_state_and_awss_own_reason_but_not_the_answer() -> None:
    run = {"JobRunState": "FAILED", "ErrorMessage": "out of memory", "Arguments": {"--password": "secret"}}
    verdict = _judge({"JobRun": run})
    assert isinstance(verdict, WaiterFailedError)
    assert str(verdict) == "glue job_complete: JobRun.JobRunState is FAILED: out of memory"
    assert (verdict.last_status, verdict.polls, verdict.waited_s) == ("FAILED", 1, 5.0)


def test_an_error_that_no_acceptor_expects_keeps_awss_code_and_message() -> None:
    verdict = _judge({"Error": {"Code": "EntityNotFoundException", "Message": "no run r"}})
    assert isinstance(verdict, AwsCallError)
    assert verdict.aws_code == "EntityNotFoundException"
    assert "GetJobRun: EntityNotFoundException: no run r" in str(verdict)


def test_a_budget_used_up_says_the_last_status() -> None:
    verdict = _judge(RUNNING, used_up=True)
    assert isinstance(verdict, WaiterExhaustedError)
    assert "still RUNNING after 1 polls" in str(verdict)
    assert _judge(RUNNING) is None


@pytest.mark.parametrize(("response", "reason"), [
    ({"Cluster": {"Status": {"StateChangeReason": {"Code": "X", "Message": "no capacity"}}}}, "X: no capacity"),
    ({"status": "FAILED", "error": "States.Timeout", "cause": "took too long"}, "States.Timeout: took too long"),
    ({"jobs": [{"status": "FAILED", "statusReason": "Host terminated"}]}, "Host terminated"),
    ({"FailureReason": "x" * 600}, "x" * 500 + "..."),
    ({"JobName": "j"}, None),
])  # fmt: skip
def test_reasons_are_found_where_services_put_them(response: dict[str, Any], reason: str | None) -> None:
    assert verdicts.reason(response) == reason


# --- what AWS means ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "status", "message", "result"), [
    ("ThrottlingException", 400, "", "throttled"),
    ("DependentServiceRequestThrottlingFault", 400, "", "throttled"),
    ("Whatever", 429, "", "throttled"),
    ("AccessDenied", 400, "Rate exceeded", "throttled"),
    ("SlowDown", 503, "", "throttled"),
    ("InternalFailure", 500, "", "unavailable"),
    ("InternalServerException", 400, "", "unavailable"),
    ("ExpiredTokenException", 400, "", "unavailable"),
    ("AccessDeniedException", 400, "not authorized", "aws_error"),
    ("ClusterNotFound", 404, "", "aws_error"),
])  # fmt: skip
def test_errors_are_told_apart(code: str, status: int, message: str, result: str) -> None:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert classify(ClientError(response, "GetJobRun"), refreshable=True).result == result


def test_an_expired_token_that_nobody_renews_is_an_answer() -> None:
    response = {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert classify(ClientError(response, "GetJobRun"), refreshable=False).result == "aws_error"


def test_retry_after_is_read_in_both_units() -> None:
    for header, value in (("x-amz-retry-after", "1500"), ("retry-after", "1.5")):
        metadata = {"HTTPStatusCode": 429, "HTTPHeaders": {header: value}}
        error = ClientError({"Error": {"Code": "T"}, "ResponseMetadata": metadata}, "X")
        assert classify(error, refreshable=False).retry_after_s == 1.5


def test_requests_are_one_only_where_aws_could_not_tell_them_apart() -> None:
    identity = Identity.of(ConnectionSettings())
    client, other = (SharedClient("glue", None, identity, "us-east-1") for _ in range(2))
    key = request_key(client, "GetJobRun", {"JobName": "j", "RunId": "r"})
    assert key == request_key(client, "GetJobRun", {"RunId": "r", "JobName": "j"})
    assert key != request_key(other, "GetJobRun", {"JobName": "j", "RunId": "r"})
    assert key != request_key(client, "GetJobRun", {"JobName": "j", "RunId": "s"})
    assert request_key(client, "X", {"a": 1}) != request_key(client, "X", {"a": "1"})
    assert request_key(client, "X", {"a": b"1"}) != request_key(client, "X", {"a": "b'1'"})
