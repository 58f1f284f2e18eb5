"""Whose credentials a call is made with."""

from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from triggerd.settings import ConnectionSettings

# How calls are sent, not whose they are. Of a role, STS's answer hangs on how STS is asked: see `of`.
_OF_THE_WAY: dict[str, Any] = {"region": None, "endpoint_url": None, "endpoints": {}, "verify": True, "botocore": {}}


class Identity(NamedTuple):
    """What decides which credentials are used. Answers are shared inside one identity only, and quotas are its own."""

    label: str
    """For people and metrics: the role, else the profile or the end of the access key's id. Two identities may have
    equal ones, as of one role with other session tags."""
    digest: bytes
    """Of all that decides, secret keys included."""
    sts_endpoint: str | None

    @classmethod
    def of(cls, settings: ConnectionSettings) -> "Identity":
        decides = msgspec.structs.replace(settings, **_OF_THE_WAY)
        endpoint = settings.endpoint_of("sts") if settings.role_arn else None
        return cls(_label(settings), fingerprint(decides), endpoint)


def fingerprint(settings: ConnectionSettings) -> bytes:
    """Equal for connections of equal settings, whatever their names; tells nothing of what is secret in them."""
    return sha256(msgspec.json.encode(settings, order="sorted")).digest()


def _label(settings: ConnectionSettings) -> str:
    if settings.role_arn:
        return settings.role_arn
    if settings.access_key_id:
        return f"access key ...{settings.access_key_id[-4:]}"
    return f"profile {settings.profile}" if settings.profile else "the default credentials"
