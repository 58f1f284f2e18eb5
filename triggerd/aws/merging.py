"""The seam between what is due and what is sent: due requests are grouped here before anything goes out.

Today one request is one call, and waits with the same request already share it. A call may carry several requests,
so merging requests that differ in one id changes this file only: another way to `plan`, another `project`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from triggerd.aws.connections import SharedClient
from triggerd.aws.waits import Request


@dataclass(frozen=True, slots=True)
class Call:
    """One AWS call that answers one or more requests, each with one or more waits."""

    shared: SharedClient
    operation: str
    params: Mapping[str, Any]
    requests: tuple[Request, ...]

    @property
    def group(self) -> tuple[Any, ...]:
        """Whose quota it spends. Never across credential identities."""
        return self.shared.identity, self.shared.region, self.shared.service

    @property
    def waits(self) -> int:
        return sum(len(request.waits) for request in self.requests)

    def project(self, response: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
        """What the single call of this request would have answered. Nobody may change it: others read it, too."""
        del request  # one request per call: the answer is its answer
        return response


def plan(due: Iterable[Request]) -> list[Call]:
    """The calls that answer these requests, in their order."""
    return [Call(request.shared, request.operation, request.params, (request,)) for request in due]
