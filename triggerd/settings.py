"""What the daemon is told: frozen structs, every field with its unit, its default and why."""

from typing import Any

import msgspec


class ConnectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named connection to AWS. A trigger on the queue names it; it never carries credentials itself.

    Without any field set, a connection means what the AWS CLI would do on this machine: the default
    credential chain (environment, profile, web identity, container, instance) and the default region.
    """

    region: str | None = None
    """Region of calls that name none. None: AWS_REGION, AWS_DEFAULT_REGION, or the profile's."""

    profile: str | None = None
    """Profile of ~/.aws/config to take the (source) credentials from. None: the default chain."""

    role_arn: str | None = None
    """Role to assume with those credentials, refreshed before it expires. None: use them as they are."""

    external_id: str | None = None
    """External id that the trust policy of `role_arn` asks for."""

    session_name: str | None = None
    """Name of the assumed session in CloudTrail. None: ``triggerd``."""

    web_identity_token_file: str | None = None
    """File with an OIDC token: `role_arn` is then assumed with it, and no other credentials are needed."""

    endpoint_url: str | None = None
    """Endpoint of all services, STS included: a VPC endpoint, moto, LocalStack. None: AWS's own."""

    endpoints: dict[str, str] = {}
    """Endpoint per service name, as ``{"sts": "https://..."}``; goes before `endpoint_url`."""

    verify: bool | str = True
    """Check TLS certificates (True), do not (False), or check against this CA bundle (a path)."""

    botocore: dict[str, Any] = {}
    """More options of ``botocore.config.Config``, as ``{"use_fips_endpoint": true}``. Not `retries`: the
    poller decides when to send again, hidden retries inside the SDK would spend quota that nobody counts."""


class AwsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the daemon talks to AWS."""

    connections: dict[str, ConnectionSettings] = {}
    """Connections by name. ``default`` exists even where it is not listed."""

    waiter_folders: tuple[str, ...] = ()
    """Folders with your own ``<service>.json`` waiters; they go before the shipped ones, in this order."""

    max_concurrent_calls: int = 64
    """AWS calls in flight at once, all services together. 64 calls of 100 ms are 640 calls/s, far above any
    default quota; more would only hold memory and sockets while AWS is slow."""

    connect_timeout_s: float = 5.0
    """Seconds to open a connection. Short: a poll that could not be sent is simply sent again."""

    read_timeout_s: float = 20.0
    """Seconds to wait for an answer. Describe calls answer within one or two."""

    keepalive_s: float = 18.0
    """Seconds that an idle connection is kept. AWS closes it after 20."""

    start_burst: int = 100
    """First polls that may go out at once. A wait that starts alone is never held back."""

    start_rate_per_s: float = 200.0
    """Beyond the burst, first polls per second: a restart with 50,000 waits ramps up, unthrottled."""
