"""Single calls through a shared client, for what is no shared read: a message received, a private iterator."""

from collections.abc import Mapping
from typing import Any

from triggerd.errors import AwsCallError, message_of
from triggerd.trigger import AwsContext

SHORTEST_DELAY_S = 0.1
"""Between calls that no budget paces: a `delay` of next to nothing would take a core, and AWS is paid by the call."""


async def send(aws: AwsContext, client: Any, method: str, **parameters: Any) -> dict[str, Any] | None:
    """One call by the client's method; None where a throttle, a 5xx or the network lost it: try again later.

    Raises:
        AwsCallError: Any other error of AWS, with its code.
    """
    try:
        answer: dict[str, Any] = await getattr(client, method)(**parameters)
    except Exception as error:
        if aws.transient(error):
            return None
        raise AwsCallError(message_of(error), aws_code=code_of(error)) from error
    return answer


def code_of(error: BaseException) -> str | None:
    """AWS's own error code in what a client raised."""
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, Mapping) else None
    code = details.get("Code") if isinstance(details, Mapping) else None
    return code if isinstance(code, str) else None
