"""One AWS call for one or more requests, and a merged answer taken apart again."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from triggerd.aws.forms import Form, Place
from triggerd.aws.lanes import Lane
from triggerd.aws.projection import Page
from triggerd.aws.waits import Request

# Calls that AWS answers when something has happened: the parameter that says for how long to wait, and its most.
_LONG_POLLS = {("redshift-data", "DescribeStatement"): ("WaitTimeSeconds", 30)}


class Answer(Protocol):
    """What AWS has answered to a request; a merged answer is one for each of its requests."""

    @property
    def response(self) -> Mapping[str, Any]:
        """What acceptors and status queries read. Nobody may change it."""
        ...

    @property
    def digest(self) -> int | None:
        """Two answers to the same request with equal digests are equal. None: not known."""
        ...

    def full(self) -> Mapping[str, Any]:
        """The answer as botocore gives it."""
        ...


class Call:
    """What is sent: a plain call for one request, or, in a lane with a form, a merged one for several."""

    __slots__ = ("ids", "lag_s", "lane", "long", "operation", "params", "requests", "sent_s")

    def __init__(self, lane: Lane, requests: Sequence[Request], sent_s: float, lag_s: float, long_poll_s: int) -> None:
        """
        Args:
            lag_s: So late it is sent. long_poll_s: for how long AWS may hold its answer; 0: not at all.
        """
        self.lane, self.requests, self.sent_s, self.lag_s = lane, requests, sent_s, lag_s
        self.operation = lane.operation
        self.long = long_poll_s > 0
        first = requests[0]
        self.ids: list[str] = []
        if lane.form is not None:
            self.ids = [name for request in requests if request.place for name in request.place.ids]
            self.params: Mapping[str, Any] = lane.form.request(lane.common, self.ids)
        elif self.long:
            name, _ = _LONG_POLLS[first.shared.service, first.operation]
            self.params = {**first.params, name: long_poll_s}
        else:
            self.params = first.params

    @property
    def waits(self) -> int:
        return sum(len(request.waits) for request in self.requests)


def long_poll_s(request: Request, at_most_s: float) -> int:
    """For how many seconds this request's next call may be held by AWS; 0 where it knows no such call.

    No longer than the shortest delay of its waits, or they would be polled less often than they ask; and not for a
    first poll, nor for one that is to be the last: those want to know how things are now.
    """
    known = _LONG_POLLS.get((request.shared.service, request.operation))
    if known is None or known[0] in request.params or not all(wait.slack_s for wait in request.waits):
        return 0
    return int(min(known[1], at_most_s, min((wait.delay_s for wait in request.waits), default=0.0)))


class MergedAnswer:
    """The pages of a merged answer, as far as they have been read."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._answers: list[Answer] = []
        self._full: Page | None = None
        self.page: Page | None = None

    @property
    def pages(self) -> int:
        return len(self._answers)

    @property
    def token(self) -> str | None:
        """Where it goes on; None: this was all."""
        return self.page.token if self.page is not None else None

    def add(self, answer: Answer) -> None:
        """Read one more page."""
        self._answers.append(answer)
        self._full = None
        self.page = self.form.read(answer.response, self.page)

    def of(self, place: Place) -> "Projected | None":
        """What the single call would have answered; None: the pages do not say."""
        assert self.page is not None, "read a page first"  # noqa: S101
        response = self.form.project(self.page, place)
        return None if response is None else Projected(self, place, response)

    def full(self, place: Place) -> Mapping[str, Any] | None:
        """The same from what botocore reads in the pages."""
        if self._full is None:
            for answer in self._answers:
                self._full = self.form.read(answer.full(), self._full)
        assert self._full is not None, "read a page first"  # noqa: S101
        return self.form.project(self._full, place)


class Projected:
    """One request's part of a merged answer: an `Answer`."""

    __slots__ = ("_merged", "_place", "response")

    digest = None

    def __init__(self, merged: MergedAnswer, place: Place, response: Mapping[str, Any]) -> None:
        self._merged, self._place = merged, place
        self.response = response

    def full(self) -> Mapping[str, Any]:
        return self._merged.full(self._place) or self.response
