"""Secrets leave no trace in what people read: values whose key says that they are one are not shown."""

import re
from typing import Any

HIDDEN = "***"

_SECRET = re.compile(
    r"passw|secret|token|credential|private.?key|api.?key|access.?key|authorization|signature", re.IGNORECASE
)


def redacted(value: Any) -> Any:
    """A copy of plain data without the values of keys such as ``password`` or ``api_key``."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(key, str) and _SECRET.search(key) and member else redacted(member)
            for key, member in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(redacted(member) for member in value)
    return value
