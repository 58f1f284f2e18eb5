"""Where the credentials of an identity come from: botocore's chain, static keys, and a role on top of either.

All of it blocks (files, child processes, HTTP) and builds clients: it runs in threads, never on the event loop, and is
botocore itself there, not aiobotocore, which reads the SSO cache and builds STS's client on the loop.
"""

from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError
from botocore.loaders import Loader
from botocore.session import Session

from triggerd.errors import ConfigError
from triggerd.settings import AwsSettings, ConnectionSettings

USER_AGENT = "triggerd"
_DEFAULT_SESSION_NAME = "triggerd"
_ASYNC_ONLY = ("connector_args", "http_session_cls", "load_executor")  # of `aiobotocore.config.AioConfig`
_RETRIES = {"total_max_attempts": 3, "mode": "standard"}


class Fetched(NamedTuple):
    """Credentials, and the instant that they end (milliseconds since the epoch), None where they do not."""

    keys: ReadOnlyCredentials
    expires_ms: int | None


class CredentialSource:
    """Fetches an identity's credentials from the start, each time: files and variables that changed are seen."""

    def __init__(
        self, settings: ConnectionSettings, region: str | None, aws: AwsSettings, loader: Loader, building: Lock
    ) -> None:
        """
        Args:
            region: Where STS is asked for a role.
            aws: Timeouts of such a call.
            building: Held while sessions and clients are made, one lock for all identities: that is nothing but CPU,
                and forty threads at it leave the event loop none for half a second.
        """
        self._settings, self._region, self._aws, self._loader, self._building = settings, region, aws, loader, building

    @property
    def renews(self) -> bool:
        """Whether what it fetches is known to end before it was fetched: a role's credentials do."""
        return self._settings.role_arn is not None

    def fetch(self) -> Fetched:
        """Blocks for as long as it takes.

        Raises:
            NoCredentialsError: The chain found none. ConfigError: no such token file, a profile that wants a person.
            ClientError, BotoCoreError: Whatever else AWS and botocore say.
        """
        with self._building:
            session = self._session()
        if not self._settings.role_arn:
            return _of_chain(session)
        # It may take long; the client takes what was found, or would look again.
        if not self._settings.web_identity_token_file and session.get_credentials() is None:
            raise NoCredentialsError
        with self._building:
            sts = self._sts(session)
        try:
            return _of_role(self._assume(sts))
        finally:
            sts.close()

    def _session(self) -> Session:
        settings = self._settings
        session = Session(profile=settings.profile)
        session.user_agent_extra = f"{USER_AGENT} {session.user_agent_extra}".strip()
        session.register_component("data_loader", self._loader)
        if settings.access_key_id:
            session.set_credentials(settings.access_key_id, settings.secret_access_key, settings.session_token)
        else:
            assuming = session.get_component("credential_provider").get_provider("assume-role")
            assuming._prompter = self._refuse_to_ask  # noqa: SLF001 - the default waits for a terminal
        return session

    def _refuse_to_ask(self, _prompt: str) -> str:
        raise ConfigError("profile", self._settings.profile, "it wants an MFA code, and nobody is there to type one")

    def _sts(self, session: Session) -> Any:
        settings = self._settings
        options = {
            "connect_timeout": self._aws.connect_timeout_s,
            "read_timeout": self._aws.read_timeout_s,
            **{name: value for name, value in settings.botocore.items() if name not in _ASYNC_ONLY},
            "retries": _RETRIES,
            # The connection's own is meant for its services; a token is a credential by itself.
            "signature_version": UNSIGNED if settings.web_identity_token_file else None,
        }
        return session.create_client(
            "sts",
            region_name=self._region,
            endpoint_url=settings.endpoint_of("sts"),
            verify=None if settings.verify is True else settings.verify,
            config=Config(**options),
        )

    def _assume(self, sts: Any) -> dict[str, Any]:
        settings = self._settings
        both = {
            "RoleArn": settings.role_arn,
            "RoleSessionName": settings.session_name or _DEFAULT_SESSION_NAME,
            "DurationSeconds": settings.session_duration_s,
            "Policy": settings.session_policy,
            "PolicyArns": [{"arn": arn} for arn in settings.session_policy_arns],
        }
        if settings.web_identity_token_file:  # such a call knows no more
            answer = sts.assume_role_with_web_identity(
                **_given(both), WebIdentityToken=_read(settings.web_identity_token_file)
            )
            return dict(answer)
        more = {
            "ExternalId": settings.external_id,
            "Tags": [{"Key": key, "Value": value} for key, value in settings.session_tags.items()],
            "TransitiveTagKeys": list(settings.transitive_tag_keys),
            "SourceIdentity": settings.source_identity,
        }
        return dict(sts.assume_role(**_given(both | more)))


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value}


def _of_chain(session: Session) -> Fetched:
    found = session.get_credentials()
    if found is None:
        raise NoCredentialsError
    try:
        keys = found.get_frozen_credentials()  # only now some are fetched, and known to end
    except RuntimeError as error:  # botocore's word for new ones that have ended
        raise CredentialRetrievalError(provider=found.method, error_msg=str(error)) from error
    return Fetched(keys, _ms(getattr(found, "_expiry_time", None)))


def _of_role(answer: dict[str, Any]) -> Fetched:
    given = answer["Credentials"]
    account = answer.get("AssumedRoleUser", {}).get("Arn", "").split(":")[4:5]
    keys = ReadOnlyCredentials(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], account[0] if account else None
    )
    return Fetched(keys, _ms(given["Expiration"]))


def _ms(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp() * 1000)


def _read(token_file: str) -> str:
    try:
        return Path(token_file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        # Not an OSError: that would look like the network's, which is waited through.
        raise ConfigError("web_identity_token_file", token_file, str(error)) from error
