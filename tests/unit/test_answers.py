"""What waits have seen in an answer is kept once for many requests, and is never taken for another's."""

import random
from collections.abc import Mapping
from typing import Any

from tests.support.scripted_poller import JOB, Client, run, shared
from triggerd.aws.acceptors import compiled
from triggerd.aws.answers import Answers
from triggerd.aws.waits import Request, Wait, packed, request_key


class Answer:
    """One with a digest, as a prepared poll gives it; says whether it was read."""

    def __init__(self, digest: int, **more: Any) -> None:
        self.digest, self._response, self.reads = digest, run("RUNNING", **more), 0

    @property
    def response(self) -> Mapping[str, Any]:
        self.reads += 1
        return self._response

    full = dict


def _request(run_id: str) -> Request:
    params = packed({"JobName": "j", "RunId": run_id})
    return Request(request_key(shared(Client(run("RUNNING"))), "GetJobRun", params), "GetJobRun", params)


def _join(request: Request, *queries: str) -> Wait:
    wait = Wait(JOB, 10.0, 100, tuple(compiled(query) for query in queries), None)
    wait.begin(0.0, 0)
    request.add(wait)
    return wait


async def test_what_one_requests_waits_saw_is_not_taken_for_anothers() -> None:
    answers, one, other = Answers(lambda: 1.0, random.Random(1)), _request("1"), _request("2")
    _join(one), _join(other)
    answer, another = Answer(1, Step="load"), Answer(2, Step="copy")
    await answers.deliver(one, answer, 1.0, 1.0)
    await answers.deliver(other, another, 1.0, 1.0)
    assert one.read is not None
    assert other.read is not None
    assert one.read[1] is other.read[1], "one object for what was seen alike"
    asking = _join(one, "JobRun.Step"), _join(other, "JobRun.Step")
    await answers.deliver(one, answer, 2.0, 1.0)
    await answers.deliver(other, another, 2.0, 1.0)
    assert [wait.last_status for wait in asking] == ["load", "copy"]


async def test_an_answer_like_the_last_one_is_not_read_again() -> None:
    answers, request = Answers(lambda: 1.0, random.Random(1)), _request("1")
    wait = _join(request)
    answer = Answer(1)
    await answers.deliver(request, answer, 1.0, 1.0)
    read = answer.reads
    await answers.deliver(request, answer, 2.0, 1.0)
    assert (wait.polls, answer.reads) == (2, read)
