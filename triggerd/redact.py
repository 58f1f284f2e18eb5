"""Secrets leave no trace in what people read: no values of telling keys, no passwords in URLs.

Text that somebody else has written (an exception's message) is searched for the ways in which a secret usually stands
in it. A secret that stands there bare, without a key or a URL around it, cannot be told from any other word.
"""

import re
from typing import Any

HIDDEN = "***"

_TELLING = (
    r"passw|passphrase|secret|token|credential|(?:private|api|access|secret|encryption|account|signing).?key"
    r"|authorization|signature|bearer|cookie"
)
_SECRET = re.compile(_TELLING + r"|^(pwd|auth)$|_(pwd|auth)$", re.IGNORECASE)
# In the user part, up to the last @ of the host's part, or as a parameter (unix:///x.sock?password=...).
_URL_PASSWORD = re.compile(r"(://[^\s/@:]*:)[^\s/]+(?=@)|(?<=[?&]password=)[^\s&]+", re.IGNORECASE)

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?")

# Each piece has one way only to match, so that hostile text costs no more than its length. A quote without its end
# counts up to the end of the text, which may have been cut there.
_VALUE = (
    r"""(?:[bru]?"(?:[^"\\]|\\.)*(?:"|\\?$)|[bru]?'(?:[^'\\]|\\.)*(?:'|\\?$)|\\"[^"]*(?:"|$)"""
    r"""|\[[^\]]*(?:\]|$)|\([^)]*(?:\)|$)|\{[^}]*(?:\}|$)|[^\s,;&'"\[\]{}()]+)"""
)
_PAIR = re.compile(
    # password=x, 'api_key': 'x', \"token\": \"x\". A colon needs the quote: "NoCredentialsError: ..." is no pair.
    rf"""((?:{_TELLING}|(?<![a-z])(?:pwd|auth)(?![a-z]))[\w.-]{{0,40}}(?:\s?=(?!=)\s?|\\?["']\]?\s?[:=](?!=)\s?)){_VALUE}"""
    # password: x, and the headers that carry one
    rf"|((?<![a-z])(?:passw(?:or)?d|passphrase|pwd|x-[a-z-]{{0,40}}(?:key|token))\s?:\s?){_VALUE}"
    r"|((?<![a-z])(?:authorization|cookie)\s?:\s?)[^\r\n]+"
    # what looks like nothing else: Bearer and its token, a JWT
    r"|((?<![a-z])bearer\s)[\w.~+/=-]{8,}|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.IGNORECASE,
)


def redacted(value: Any) -> Any:
    """A copy of plain data without the values of keys such as ``password`` or ``api_key``, in its texts too."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(key, str) and _SECRET.search(key) and member else redacted(member)
            for key, member in value.items()
        }
    for kind in (list, tuple, set, frozenset):  # not the value's own type: a named tuple takes its members one by one
        if isinstance(value, kind):
            return kind(redacted(member) for member in value)
    if isinstance(value, bytes):
        return redacted(value.decode("latin-1")).encode("latin-1")
    if isinstance(value, str):
        text = _URL_PASSWORD.sub(lambda found: (found[1] or "") + HIDDEN, _PRIVATE_KEY.sub(HIDDEN, value))
        return _PAIR.sub(lambda found: next(filter(None, found.groups()), "") + HIDDEN, text)
    return value
