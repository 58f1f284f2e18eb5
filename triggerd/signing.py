"""Optional signatures of envelopes: HMAC-SHA256 with a key that producers, Resumers and daemons share.

A signature promises that somebody with a key wrote these bytes for this queue: classpath, kwargs and continuation. It
does not promise when, nor that they are wanted now: it does not cover the trigger id (a dead letter is replayed under a
new one), nor what stands beside the envelope: deadline, reply_to, on_timeout, checkpoint. So whoever can write to Redis
can send an old signed envelope once more, also delete and cancel, and make up the payload of an event, which scripts in
Redis put together and cannot sign.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Literal

from triggerd.errors import ConfigError, EnvelopeSignatureError

MIN_KEY_BYTES = 16

# The trailer is two msgpack binaries of fixed length, so that it is found by slicing: 8 bytes of key id, 32 of HMAC.
_ID_HEADER, _SIGNATURE_HEADER = b"\xc4\x08", b"\xc4\x20"
_SIGNATURE_BYTES = 32
TRAILER_BYTES = len(_ID_HEADER) + 8 + len(_SIGNATURE_HEADER) + _SIGNATURE_BYTES

Signed = Literal["trigger", "resume"]
"""What is signed. It goes into the HMAC, so that one cannot be passed off as the other."""


class SigningKeys:
    """The keys of one installation: the first one signs, each of them verifies.

    To change the key: add the new one at the end everywhere, then move it to the front everywhere, then, when nothing
    of the old one is in flight any more, take that away.

    Args:
        keys: At least one, each of at least 16 bytes; text is taken as UTF-8. They are shown nowhere.

    Raises:
        ConfigError: No key, or one that is too short.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        if isinstance(keys, (str, bytes)) or not keys:
            raise ConfigError("signing_keys", ..., "a list of at least one key is expected")
        self._keys = dict(_by_id(keys))
        self._signing_id = next(iter(self._keys))

    def sign(self, what: Signed, queue: str, data: bytes) -> bytes:
        """`data` and after it `TRAILER_BYTES` with the id of the key and the signature."""
        head = data + _ID_HEADER + self._signing_id + _SIGNATURE_HEADER
        return head + _digest(self._keys[self._signing_id], what, queue, head)

    def verify(self, what: Signed, queue: str, signed: bytes) -> None:
        """Return if `signed` is what `sign` made.

        Raises:
            EnvelopeSignatureError: It is not, or its key is none of these.
        """
        if not ends_signed(signed):
            raise EnvelopeSignatureError(f"the {what} part does not end with a signature")
        head, signature = signed[:-_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]
        key_id = head[-len(_SIGNATURE_HEADER) - 8 : -len(_SIGNATURE_HEADER)]
        key = self._keys.get(key_id)
        if key is None:
            raise EnvelopeSignatureError(f"the {what} part is signed with key {key_id.hex()}, which is none of ours")
        if not hmac.compare_digest(signature, _digest(key, what, queue, head)):
            raise EnvelopeSignatureError(f"the {what} part was changed after it was signed, or is of another queue")

    def __repr__(self) -> str:
        return f"<SigningKeys {', '.join(key_id.hex() for key_id in self._keys)}>"


def keys_of_text(text: str) -> list[str]:
    """The keys in an environment variable: comma-separated, or a list in JSON as the daemon's settings take it too."""
    if text.startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(key, str) for key in found):
            raise ConfigError("TRIGGERD_SIGNING_KEYS", ..., "begins with [ and is no list of text in JSON")
        return found
    return [key for part in text.split(",") if (key := part.strip())]


def ends_signed(data: bytes) -> bool:
    """Whether `data` ends as `SigningKeys.sign` lets it end; says nothing about who wrote it."""
    trailer = data[-TRAILER_BYTES:]
    id_end = len(_ID_HEADER) + 8
    return (
        len(trailer) == TRAILER_BYTES
        and trailer.startswith(_ID_HEADER)
        and trailer[id_end : id_end + len(_SIGNATURE_HEADER)] == _SIGNATURE_HEADER
    )


def _by_id(keys: Sequence[str | bytes]) -> Iterator[tuple[bytes, bytes]]:
    for number, key in enumerate(keys, 1):
        secret = key.encode() if isinstance(key, str) else key
        if not isinstance(secret, bytes) or len(secret) < MIN_KEY_BYTES:
            raise ConfigError("signing_keys", ..., f"key {number} is none: text or bytes, at least {MIN_KEY_BYTES}")
        yield hashlib.sha256(b"triggerd key id\0" + secret).digest()[:8], secret


def _digest(key: bytes, what: Signed, queue: str, head: bytes) -> bytes:
    # Neither word nor queue name can hold a NUL, so no two of these run into each other.
    return hmac.digest(key, f"triggerd {what}\0{queue}\0".encode() + head, "sha256")
