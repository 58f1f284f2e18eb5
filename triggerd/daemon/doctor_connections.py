"""The doctor's look at the connections to AWS: who each one is, where, and until when."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from triggerd.aws.aws import Aws
from triggerd.aws.identity import Identity
from triggerd.aws.local import open_aws
from triggerd.connection_settings import ConnectionSettings
from triggerd.daemon.finding import Finding
from triggerd.settings import AwsSettings

LIMIT_S = 15.0
"""How long AWS may take to say who a connection is."""
_AT_ONCE = 16


async def check_connections(settings: AwsSettings, names: Sequence[str], limit_s: float = LIMIT_S) -> list[Finding]:
    """One finding per connection: what STS says of it, or what is in the way. One that fails is no refusal, since the
    waits of all others go on."""
    room = asyncio.Semaphore(_AT_ONCE)
    if not names:
        return []
    async with open_aws(settings) as aws:

        async def look(name: str) -> Finding:
            async with room:
                return await _look(aws, name, settings.connections.get(name, ConnectionSettings()), limit_s)

        return await asyncio.gather(*map(look, names))


async def _look(aws: Aws, name: str, connection: ConnectionSettings, limit_s: float) -> Finding:
    about = f"connection {name}"
    advice = f"look at [aws.connections.{name}], or at AIRFLOW_CONN_{name.upper()}"
    try:
        async with asyncio.timeout(limit_s), aws.client("sts", connection=name) as sts:
            who, region = (await sts.get_caller_identity())["Arn"], sts.meta.region_name
    except TimeoutError:
        return Finding("warn", about, f"no answer within {limit_s:g} s", advice)
    except Exception as error:  # noqa: BLE001 - AWS's, botocore's, that of a file: whatever it is, it is the finding
        return Finding("warn", about, (str(error) or repr(error)).removeprefix(f"connection {name!r}: "), advice)
    label = Identity.of(connection).label
    ends_ms = min((ends for known, ends, *_ in aws.credentials() if known == label and ends is not None), default=None)
    until = "" if ends_ms is None else f", until {datetime.fromtimestamp(ends_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    return Finding("ok", about, f"{who} in {region}{until}")
