"""Whose credentials a call is made with, and how a role is assumed without blocking the loop."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from aiobotocore.credentials import AioDeferredRefreshableCredentials

from triggerd.errors import ConfigError
from triggerd.settings import ConnectionSettings

_DEFAULT_SESSION_NAME = "triggerd"


class Identity(NamedTuple):
    """What decides which credentials are used. Answers are shared inside one identity only, and quotas are its own."""

    profile: str | None
    role_arn: str | None
    external_id: str | None
    session_name: str | None
    web_identity_token_file: str | None
    sts_endpoint: str | None

    @classmethod
    def of(cls, settings: ConnectionSettings) -> "Identity":
        role = settings.role_arn
        return cls(
            settings.profile,
            role,
            settings.external_id,
            settings.session_name,
            settings.web_identity_token_file,
            settings.endpoints.get("sts", settings.endpoint_url) if role else None,
        )

    @property
    def label(self) -> str:
        """For people: the role, else the profile."""
        return self.role_arn or (f"profile {self.profile}" if self.profile else "the default credentials")


class _Client(Protocol):
    @property
    def client(self) -> Any: ...


class AssumedRole:
    """A botocore credential provider: assumes the role on the first call, and again before it expires.

    One object per identity, so a hundred clients of a role cost one AssumeRole an hour. It calls STS with a client
    that exists already: aiobotocore's own provider would build one on the event loop at every refresh.
    """

    def __init__(self, settings: ConnectionSettings, sts: _Client) -> None:
        self._sts = sts
        self._token_file = settings.web_identity_token_file
        self._request: dict[str, Any] = {
            "RoleArn": settings.role_arn,
            "RoleSessionName": settings.session_name or _DEFAULT_SESSION_NAME,
        }
        if settings.external_id and not settings.web_identity_token_file:  # a token call knows no external id
            self._request["ExternalId"] = settings.external_id

    async def load_credentials(self) -> Any:
        """What `AioSession.get_credentials` asks for; it calls nothing yet."""
        refresh: Callable[[], Awaitable[dict[str, Any]]] = self._refresh
        return AioDeferredRefreshableCredentials(refresh_using=refresh, method="assume-role")

    async def _refresh(self) -> dict[str, Any]:
        if self._token_file:
            token = await asyncio.to_thread(_read, self._token_file)
            answer = await self._sts.client.assume_role_with_web_identity(
                **self._request, WebIdentityToken=token.strip()
            )
        else:
            answer = await self._sts.client.assume_role(**self._request)
        credentials = answer["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }


def _read(token_file: str) -> str:
    try:
        return Path(token_file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        # Not an OSError: that would look like the network's, which is waited through.
        raise ConfigError("web_identity_token_file", token_file, str(error)) from error
