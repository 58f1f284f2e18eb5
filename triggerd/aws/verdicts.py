"""What an answer means for a wait, and why it ended without success in one readable line.

The line says what failed, its status and AWS's own reason, never the whole response: that may hold secrets.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from triggerd.aws.acceptors import PATH_MATCHERS, Acceptor
from triggerd.aws.waiters import WaiterDefinition
from triggerd.aws.waits import Wait
from triggerd.errors import AwsCallError, WaiterDefinitionError, WaiterExhaustedError, WaiterFailedError

Decision = Acceptor | WaiterDefinitionError | None
"""What the acceptors say to an answer; the error where one of them cannot be evaluated on it."""

Verdict = Acceptor | Exception | None
"""How a wait ends: in success by an acceptor, by an exception, or not yet."""

_REASON_KEYS = (
    "statechangereason", "failurereason", "errormessage", "statusreason", "stoppedreason", "failuredetails",
    "statemessage", "exitmessage", "statusmessage", "statedetails", "cause", "error", "reason",
)  # fmt: skip
_MAX_REASON = 500
_MAX_DEPTH = 5


def decide(definition: WaiterDefinition, response: Mapping[str, Any]) -> Decision:
    """Ask the acceptors."""
    try:
        return definition.acceptors.decide(response)
    except WaiterDefinitionError as error:
        return error


def judge(wait: Wait, decided: Decision, response: Mapping[str, Any], now_s: float, *, used_up: bool) -> Verdict:
    """What an answer means for one wait, as botocore's waiter would have it."""
    if isinstance(decided, WaiterDefinitionError):
        return WaiterDefinitionError(str(decided))  # each its own: an exception collects tracebacks where it is raised
    if decided is not None and decided.state == "success":
        return decided
    error = response.get("Error")
    code = error.get("Code") if isinstance(error, Mapping) else None
    if not used_up and (code is None if decided is None else decided.state == "retry"):
        return None  # before the answer is copied: this is how nearly every poll ends
    facts = {**_facts(wait, now_s), "aws_code": code, "response": copy.deepcopy(dict(response))}
    label = wait.definition.label
    if decided is None and code is not None:
        asked = label if label.endswith(f" {wait.definition.operation}") else f"{label}: {wait.definition.operation}"
        return AwsCallError(f"{asked}: {error_text(response['Error'])}", **facts)
    if decided is not None and decided.state == "failure":
        return WaiterFailedError(f"{label}: {_failure(decided, response, wait.last_status)}", **facts)
    status = f"answered {error_text(response['Error'])}" if code is not None else wait.last_status or "unfinished"
    return WaiterExhaustedError(f"{label}: still {status} after {wait.polls} polls, the budget is used up", **facts)


def refused(wait: Wait, why: str, response: Mapping[str, Any], now_s: float) -> AwsCallError:
    """The call could not be made at all; `response` is STS's error where it gave no credentials, else empty."""
    code = response.get("Error", {}).get("Code")
    facts = {**_facts(wait, now_s), "aws_code": code, "response": copy.deepcopy(dict(response))}
    return AwsCallError(f"{wait.definition.label}: {why}", **facts)


def _facts(wait: Wait, now_s: float) -> dict[str, Any]:
    return {"last_status": wait.last_status, "polls": wait.polls, "waited_s": now_s - wait.began_s}


def _failure(acceptor: Acceptor, response: Mapping[str, Any], status: str | None) -> str:
    error = response.get("Error")
    if isinstance(error, Mapping) and "Code" in error:
        return f"AWS answered {error_text(error)}"
    if acceptor.matcher in PATH_MATCHERS and isinstance(acceptor.expected, str):
        what = f"{acceptor.argument} is {acceptor.expected}"
    else:
        what = f"{acceptor}, status {status}" if status else str(acceptor)
    why = reason(response)
    return f"{what}: {why}" if why else what


def error_text(error: Mapping[str, Any]) -> str:
    """``Code: message`` of an AWS error."""
    return _cut(f"{error.get('Code', 'Unknown')}: {error.get('Message', '')}".rstrip(": "))


def reason(response: Mapping[str, Any]) -> str | None:
    """AWS's own words, from the fields in which its services commonly put them; the nearest to the top wins."""
    best: dict[str, str] = {}
    for name, value in _fields(response):
        if name in _REASON_KEYS and name not in best:
            text = _text(value)
            if text:
                best[name] = text
    if "cause" in best and "error" in best:  # Step Functions: the error's name and its text
        best["cause"] = f"{best['error']}: {best['cause']}"
    return next((_cut(best[name]) for name in _REASON_KEYS if name in best), None)


def _fields(response: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(lower-case name, value) of all fields, level by level."""
    level: list[Any] = [{name: value for name, value in response.items() if name != "ResponseMetadata"}]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                for name, value in item.items():
                    yield str(name).lower(), value
                    below.append(value)
            elif isinstance(item, list):
                below.extend(item)
        level = below


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):
        parts = {str(name).lower(): part for name, part in value.items() if isinstance(part, str) and part}
        texts = [parts[name] for name in ("code", "reason", "message", "errormessage") if name in parts]
        return ": ".join(dict.fromkeys(texts)) or None
    return value if isinstance(value, str) and value.strip() else None


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}..."
