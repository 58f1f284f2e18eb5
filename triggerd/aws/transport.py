"""Sends one call and says how it went. The only file that knows AWS's and botocore's ways to fail."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import aiohttp
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    ResponseStreamingError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from triggerd.aws.connections import SharedClient
from triggerd.aws.reply import Reply
from triggerd.aws.waits import method_name
from triggerd.settings import AwsSettings

Result = Literal["ok", "aws_error", "throttled", "unavailable", "refused"]

# botocore.retries.standard.ThrottledRetryableChecker, and what that list misses on reads.
THROTTLE_CODES = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException",
    "TooManyRequestsException", "ProvisionedThroughputExceededException", "TransactionInProgressException",
    "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "RequestThrottled", "SlowDown",
    "PriorRequestNotComplete", "EC2ThrottledException",
    "KmsThrottlingException", "KMSThrottlingException", "KMSThrottlingFault", "EKSRequestThrottledException",
    "APICallRateForCustomerExceeded", "DependentServiceRequestThrottlingFault",
    "ActiveWaitingRequestsExceededException",
    "KmsThrottled", "KMS.ThrottlingException", "OverLimit",  # SQS; the last: 120,000 messages are in flight
})  # fmt: skip
TRANSIENT_CODES = frozenset({
    "RequestTimeout", "RequestTimeoutException", "InternalError", "InternalFailure", "InternalServerError",
    "InternalServerException", "InternalServiceError", "InternalServiceException", "ServerException",
    "ServiceUnavailable", "ServiceUnavailableException", "Unavailable", "BadGateway", "GatewayTimeout",
})  # fmt: skip
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_NO_CREDENTIALS = "no AWS credentials found: check the connection's profile or role, or the environment"
_UNAVAILABLE = (
    BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, ResponseParserError,
    CredentialRetrievalError, MetadataRetrievalError, TokenRetrievalError,
    aiohttp.ClientError, TimeoutError, OSError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went.

    Attributes:
        result: ``ok`` and ``aws_error`` are answers; ``throttled`` and ``unavailable`` are lost and sent again;
            ``refused`` was never sent and never will be (no credentials, wrong parameters).
        answer: The answer, or AWS's error response (STS's where it refused a role); empty where there was none.
        why: One line for people, where it is not ``ok``.
        retry_after_s: What AWS asked for, 0 where it did not.
    """

    result: Result
    answer: Mapping[str, Any] | Reply
    why: str = ""
    retry_after_s: float = 0.0

    @property
    def response(self) -> Mapping[str, Any]:
        """The answer as acceptors read it: botocore's, but that times and bytes may still be as AWS wrote them."""
        return self.answer.response if isinstance(self.answer, Reply) else self.answer

    def full(self) -> Mapping[str, Any]:
        """The answer exactly as botocore gives it."""
        return self.answer.full() if isinstance(self.answer, Reply) else self.answer

    @property
    def digest(self) -> int | None:
        """Two answers to the same request with equal digests are equal. None: not known."""
        return self.answer.digest if isinstance(self.answer, Reply) else None


class Transport:
    """Sends calls through the shared clients."""

    def __init__(self, settings: AwsSettings) -> None:
        self._prepares = settings.transport == "prepared"

    async def send(self, shared: SharedClient, operation: str, params: Mapping[str, Any]) -> Outcome:
        """Never raises but for CancelledError."""
        try:
            if self._prepares and shared.prepared is not None:
                return Outcome("ok", await shared.prepared.call(operation, params))
            return Outcome("ok", await getattr(shared.client, method_name(operation))(**params))
        except ClientError as error:
            outcome = classify(error, refreshable=shared.refreshable)
            if outcome.result == "aws_error" and error.operation_name != operation:
                # STS gave no credentials. That is no answer to this call: no acceptor may take it for one.
                return replace(outcome, result="refused")
            return outcome
        except _UNAVAILABLE as error:
            return Outcome("unavailable", {}, _one_line(error))
        except Exception as error:  # noqa: BLE001 - botocore's other errors, and bugs, must not stop the poller
            why = _NO_CREDENTIALS if isinstance(error, NoCredentialsError) else _one_line(error)
            return Outcome("refused", {}, why)


def classify(error: ClientError, *, refreshable: bool) -> Outcome:
    """Tell an answer (a missing resource, a denied call) from a lost one (a throttle, a 5xx)."""
    response = error.response
    details, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, message = str(details.get("Code", "")), str(details.get("Message", ""))
    status = metadata.get("HTTPStatusCode", 0)
    retry_after_s = _retry_after_s(metadata.get("HTTPHeaders", {}))
    why = f"{error.operation_name}: {code}: {message}"
    result: Result = "aws_error"
    if code in THROTTLE_CODES or status == 429 or "rate exceeded" in message.lower():
        result = "throttled"
    elif status >= 500 or code in TRANSIENT_CODES or (code in EXPIRED_CODES and refreshable):
        result = "unavailable"
    return Outcome(result, response, why, retry_after_s)


def is_transient(error: BaseException) -> bool:
    """Whether a call that raised this is worth sending again: a throttle, a 5xx, the network, an expired token."""
    if isinstance(error, ClientError):
        return classify(error, refreshable=True).result != "aws_error"
    return isinstance(error, _UNAVAILABLE)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """AWS's own header is in milliseconds, HTTP's in seconds (or a date, which we leave alone)."""
    for header, unit_s in (("x-amz-retry-after", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(header, "")) * unit_s)
        except ValueError:
            continue
    return 0.0


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
