"""Secrets leave no trace in what people read: no values of telling keys, no passwords in URLs."""

import re
from typing import Any

HIDDEN = "***"

_SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|(private|api|access|secret|encryption|account|signing).?key"
    r"|authorization|signature|bearer|cookie|^(pwd|auth)$|_(pwd|auth)$",
    re.IGNORECASE,
)
# In the user part, up to the last @ of the host's part, or as a parameter (unix:///x.sock?password=...).
_URL_PASSWORD = re.compile(r"(\w+://[^\s/@:]*:)[^\s/]+(?=@)|(?<=[?&]password=)[^\s&]+", re.IGNORECASE)


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
        return _URL_PASSWORD.sub(lambda found: (found[1] or "") + HIDDEN, value)
    return value
