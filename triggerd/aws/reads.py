"""A single read as a wait that its first answer ends: so it shares the poller's budgets, backoff and calls."""

from triggerd.aws.acceptors import Acceptor, Acceptors
from triggerd.aws.hints import hint
from triggerd.aws.waiters import ServiceModels, WaiterDefinition
from triggerd.errors import WaiterDefinitionError

_ANY_ANSWER = Acceptor("success", "error", expected=False)
_DELAY_S = 1.0  # nothing is asked twice; it is what "overdue" is measured by


def read_once(models: ServiceModels, service: str, operation: str) -> WaiterDefinition:
    """The definition of one read. Raises WaiterDefinitionError where the service has no such operation."""
    if operation not in (known := models.get(service).operation_names):
        raise WaiterDefinitionError(f"{service} has no operation {operation!r}{hint(operation, known)}")
    acceptors = Acceptors(f"{service} {operation}", [_ANY_ANSWER])
    return WaiterDefinition(
        service=service, name=operation, source="shipped", file=None, operation=operation, delay=_DELAY_S,
        max_attempts=1, acceptors=acceptors, raw={},
    )  # fmt: skip
