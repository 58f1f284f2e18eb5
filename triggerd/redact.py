"""Secrets leave no trace in what people read: no values of telling keys, no passwords in URLs."""

import re
from typing import Any

HIDDEN = "***"

_SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|(private|api|access|secret|encryption|account|signing).?key"
    r"|authorization|signature|bearer|cookie|^(pwd|auth)$|_(pwd|auth)$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(\w+://[^\s/@:]*:)[^\s/@]+(?=@)")


def redacted(value: Any) -> Any:
    """A copy of plain data without the values of keys such as ``password`` or ``api_key``."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(key, str) and _SECRET.search(key) and member else redacted(member)
            for key, member in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(redacted(member) for member in value)
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1{HIDDEN}", value)
    return value
