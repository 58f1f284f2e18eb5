"""One named connection to AWS: what may be said of it, and what fits together."""

from collections.abc import Iterator
from typing import Any

import msgspec

from triggerd.redact import redacted


class ConnectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named connection to AWS. A trigger on the queue names it; it never carries credentials itself.

    Without any field set, a connection means what the AWS CLI would do on this machine: the default
    credential chain (environment, profile, web identity, container, instance) and the default region.
    """

    region: str | None = None
    """Region of calls that name none. None: AWS_REGION, AWS_DEFAULT_REGION, or the profile's."""

    access_key_id: str | None = None
    """Static key to call with, or to assume `role_arn` with, instead of a profile. Better from the environment
    (TRIGGERD_AWS__CONNECTIONS__<NAME>__ACCESS_KEY_ID) than from a file; shown nowhere."""

    secret_access_key: str | None = None
    """The other half of `access_key_id`."""

    session_token: str | None = None
    """The third part of a static key that is temporary. Nobody renews it: its end is the end of the connection."""

    profile: str | None = None
    """Profile of ~/.aws/config to take the (source) credentials from: keys, a role, SSO, a credential_process. None:
    the default chain."""

    role_arn: str | None = None
    """Role to assume with those credentials, refreshed before it expires. None: use them as they are."""

    external_id: str | None = None
    """External id that the trust policy of `role_arn` asks for."""

    session_name: str | None = None
    """Name of the assumed session in CloudTrail. None: ``triggerd``."""

    session_duration_s: int | None = None
    """Seconds that the assumed session holds, 900 to 43,200 and at most what the role allows. None: an hour."""

    session_tags: dict[str, str] = {}
    """Tags of the assumed session, which policies may ask for."""

    transitive_tag_keys: tuple[str, ...] = ()
    """Which of the tags a role that is assumed from this session inherits."""

    source_identity: str | None = None
    """Who it is for, in CloudTrail and policies; no later session can change it."""

    session_policy: str | None = None
    """A policy (JSON) that narrows what the session may do."""

    session_policy_arns: tuple[str, ...] = ()
    """Managed policies that narrow it."""

    web_identity_token_file: str | None = None
    """File with an OIDC token, read again at each refresh: `role_arn` is then assumed with it, and no other
    credentials are needed."""

    endpoint_url: str | None = None
    """Endpoint of all services, STS included: a VPC endpoint, moto, LocalStack. None: AWS's own."""

    endpoints: dict[str, str] = {}
    """Endpoint per service name, as ``{"sts": "https://..."}``; goes before `endpoint_url`. Empty: AWS's own."""

    verify: bool | str = True
    """Check TLS certificates (True), do not (False), or check against this CA bundle (a path)."""

    botocore: dict[str, Any] = {}
    """More options of ``botocore.config.Config``, as ``{"use_fips_endpoint": true}``. Not `retries`: the
    poller decides when to send again, hidden retries inside the SDK would spend quota that nobody counts."""

    def endpoint_of(self, service: str) -> str | None:
        """Where calls of this service go; None: to AWS's own endpoint."""
        return self.endpoints.get(service, self.endpoint_url) or None

    def __repr__(self) -> str:
        return f"ConnectionSettings({redacted(msgspec.to_builtins(self))})"


def rules_of(connection: ConnectionSettings) -> Iterator[tuple[str, bool, str]]:
    """Every rule as (field, whether it holds, what it says). No message has a value: it may be a secret."""
    has_key, token_file = bool(connection.access_key_id), bool(connection.web_identity_token_file)
    yield (
        "secret_access_key",
        has_key == bool(connection.secret_access_key),
        "access_key_id and secret_access_key go together",
    )
    yield "session_token", has_key or not connection.session_token, "belongs to an access_key_id"
    yield "profile", not (has_key and connection.profile), "name one source: this, or access_key_id"
    yield "web_identity_token_file", not (has_key and token_file), "name one source: this, or access_key_id"
    for field in ("external_id", "session_name", "session_duration_s", "session_tags", "transitive_tag_keys",
                  "source_identity", "session_policy", "session_policy_arns", "web_identity_token_file"):  # fmt: skip
        yield field, bool(connection.role_arn) or not getattr(connection, field), "says how role_arn is assumed: set it"
    for field in ("external_id", "session_tags", "transitive_tag_keys", "source_identity"):
        why = "a token of web_identity_token_file carries its own: AWS takes none beside it"
        yield field, not (token_file and getattr(connection, field)), why
    seconds = connection.session_duration_s
    yield "session_duration_s", seconds is None or 900 <= seconds <= 43_200, "900 to 43,200 seconds"
