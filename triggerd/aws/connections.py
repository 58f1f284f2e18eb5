"""Named connections -> one session per credential identity, one shared client per (connection, region, service).

Sessions and clients are cold work (model files, endpoint rules, class building: 50 to 150 ms of CPU), so they are
made in one thread, never on the event loop, each once, and kept until `close`.
"""

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.exceptions import BotoCoreError, DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader

from triggerd.aws.credentials import Credentials
from triggerd.aws.identity import Identity, fingerprint
from triggerd.aws.prepared import Prepared
from triggerd.aws.regions import Regions
from triggerd.aws.sources import USER_AGENT, CredentialSource
from triggerd.aws.timestamps import parse_timestamp
from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError
from triggerd.settings import AwsSettings, ConnectionSettings

T = TypeVar("T")

_DNS_TTL_S = 60
_AIRFLOWS_DEFAULT = "aws_default"
# What a hand-written trigger gets: nobody would send its call again, so the SDK does.
_PATIENT = {"total_max_attempts": 3, "mode": "standard"}
_PATIENT_READ_TIMEOUT_S = 60.0  # botocore's own: SQS answers a long poll after 20 s, to the second
# What the poller gets: it decides when to send again.
_SINGLE = {"total_max_attempts": 1, "mode": "standard"}


@dataclass(frozen=True, slots=True, eq=False)
class SharedClient:
    """An open aiobotocore client, and what the poller must know of it. Compared by identity: one object per key."""

    service: str
    client: Any
    identity: Identity
    region: str
    credentials: Credentials | None = None
    """The identity's, shared by all its clients; None where calls are not signed."""
    prepared: Prepared | None = None
    """The cheap way to send its calls; a hand-written trigger's client has none."""

    @property
    def refreshable(self) -> bool:
        """Whether an expired token is a hiccup and not the end."""
        return self.credentials is not None and self.credentials.refreshable


@dataclass(frozen=True, slots=True)
class _ClientKey:
    service: str
    region: str | None
    patient: bool
    settings: bytes


class _Provider:
    """What an AioSession takes for its chain: the credentials of its identity, without asking anybody."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> Credentials:
        return self._credentials


class Connections:
    """Owns the sessions, the clients and the thread that builds them."""

    def __init__(self, settings: AwsSettings, loader: Loader) -> None:
        self._settings = settings
        self._loader = loader
        self._regions = Regions(loader)
        self._cold: ThreadPoolExecutor | None = None
        # Filled in the cold thread only. With the region that STS is asked in, where only triggers name one.
        self._sessions: dict[tuple[Identity, str | None], tuple[AioSession, Credentials]] = {}
        self._building_sources = Lock()
        self._building: dict[_ClientKey, asyncio.Task[SharedClient]] = {}

    async def open(self) -> None:
        self._cold = ThreadPoolExecutor(max_workers=1, thread_name_prefix="triggerd-aws-cold")

    async def close(self) -> None:
        """Close every client; callers that still wait for one are cancelled."""
        builds, self._building = list(self._building.values()), {}
        for build in builds:
            build.cancel()
        for result in await asyncio.gather(*builds, return_exceptions=True):
            if isinstance(result, SharedClient):
                if result.prepared is not None:
                    result.prepared.close()
                await result.client.__aexit__(None, None, None)
        await asyncio.gather(*(credentials.close() for credentials in self.credentials()))
        if self._cold is not None:
            cold, self._cold = self._cold, None
            # Joining waits for a build that is under way: off the loop, too.
            await asyncio.to_thread(cold.shutdown, cancel_futures=True)
        self._sessions.clear()

    def credentials(self) -> list[Credentials]:
        """Those of every identity in use."""
        return [credentials for _, credentials in list(self._sessions.values())]

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Run cold, blocking work in the one thread that may touch sessions and model files."""
        if self._cold is None:
            raise RuntimeError("the AWS side is not open: use `async with`")
        return await asyncio.get_running_loop().run_in_executor(self._cold, work, *args)

    @asynccontextmanager
    async def client(self, service: str, connection: str, region: str | None) -> AsyncIterator[Any]:
        """The shared client of a hand-written trigger; it retries as an SDK does. Leaving does not close it."""
        yield (await self.shared(service, connection, region, patient=True)).client

    async def shared(self, service: str, connection: str, region: str | None, *, patient: bool = False) -> SharedClient:
        """The one client of this connection, region and service; built on first use.

        Raises:
            ConfigError: There is no such connection, or its settings are unusable.
            WaiterDefinitionError: There is no such service.
            AwsCallError: No region, no such profile, no usable credentials: whatever botocore says.
        """
        found = self._connection(connection)
        key = _ClientKey(service, region or found.region, patient, _of_effect(found))
        return await self._once(key, found, connection)

    async def _once(self, key: _ClientKey, settings: ConnectionSettings, connection: str) -> SharedClient:
        """Build on first use, join a build under way. Shielded: a caller that gives up takes nobody else along."""
        build = self._building.get(key)
        if build is None:
            name = f"aws client {key.service} of connection {connection}"
            build = asyncio.create_task(self._build(key, settings, connection), name=name)
            self._building[key] = build
            build.add_done_callback(lambda done: self._forget_failed(key, done))
        return await asyncio.shield(build)

    def _forget_failed(self, key: _ClientKey, build: asyncio.Task[SharedClient]) -> None:
        # A failed build is not kept: the next caller tries again.
        if (build.cancelled() or build.exception() is not None) and self._building.get(key) is build:
            del self._building[key]

    def _connection(self, name: str) -> ConnectionSettings:
        connections = self._settings.connections
        if name in connections:
            return connections[name]
        if name.lower() in connections:  # in the environment, Airflow's ids have no case
            return connections[name.lower()]
        if name == _AIRFLOWS_DEFAULT:
            return self._connection("default")
        if name == "default":
            return ConnectionSettings()
        known = sorted({*connections, "default"})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        way = "aws.connections in the settings and AIRFLOW_CONN_<ID> in the environment make one"
        raise ConfigError("connection", name, f"no connection of this name is configured, {hint} ({way})")

    async def _build(self, key: _ClientKey, settings: ConnectionSettings, connection: str) -> SharedClient:
        try:
            return await self.in_thread(self._build_cold, key, settings)
        except (UnknownServiceError, DataNotFoundError) as error:
            raise WaiterDefinitionError(f"{key.service}: botocore has no such service") from error
        except BotoCoreError as error:
            raise AwsCallError(f"connection {connection!r}: {error}") from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"aws.connections.{connection}", ..., f"{key.service}: {error}") from error

    def _build_cold(self, key: _ClientKey, settings: ConnectionSettings) -> SharedClient:
        """In the cold thread. The private loop only carries aiobotocore's coroutines; nothing of it stays behind:
        a client makes its connector on its first call, and asyncio's locks bind to a loop when they are contended.
        """
        if key.region is not None and key.region != settings.region:
            self._regions.check(key.region)
        identity = Identity.of(settings)
        session, credentials = self._session(identity, settings, key.region)
        context = session.create_client(
            key.service,
            region_name=key.region,
            endpoint_url=settings.endpoint_of(key.service),
            verify=None if settings.verify is True else settings.verify,
            config=self._config(settings, key),
        )
        client = asyncio.run(context.__aenter__())
        prepared = None if key.patient else Prepared(client, self._settings.keepalive_s)
        signed = client.meta.config.signature_version is not UNSIGNED
        region = client.meta.region_name
        return SharedClient(key.service, client, identity, region, credentials if signed else None, prepared)

    def _session(
        self, identity: Identity, settings: ConnectionSettings, region: str | None
    ) -> tuple[AioSession, Credentials]:
        """The one of this identity. A role is asked for in the region of the connection or of this machine, else in
        that of the call, which may be none at all: so it counts for no call elsewhere.
        """
        session = AioSession(profile=settings.profile)
        home: str | None = settings.region or session.get_config_variable("region")
        known = identity, None if home or not settings.role_arn else region
        if known not in self._sessions:
            self._sessions[known] = self._made_session(session, identity, settings, home or region)
        return self._sessions[known]

    def _made_session(
        self, session: AioSession, identity: Identity, settings: ConnectionSettings, region: str | None
    ) -> tuple[AioSession, Credentials]:
        source = CredentialSource(settings, region, self._settings, self._loader, self._building_sources)
        credentials = Credentials(identity.label, source.fetch, renews=source.renews)
        session.user_agent_extra = f"{USER_AGENT} {session.user_agent_extra}"
        session.register_component("data_loader", self._loader)
        session.register_component("credential_provider", _Provider(credentials))
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_timestamp)
        return session, credentials

    def _config(self, settings: ConnectionSettings, key: _ClientKey) -> AioConfig:
        read_timeout_s = self._settings.read_timeout_s
        options: dict[str, Any] = {
            "connect_timeout": self._settings.connect_timeout_s,
            "read_timeout": max(read_timeout_s, _PATIENT_READ_TIMEOUT_S) if key.patient else read_timeout_s,
            "max_pool_connections": self._settings.max_concurrent_calls,
            "connector_args": {
                "keepalive_timeout": self._settings.keepalive_s,
                "ttl_dns_cache": _DNS_TTL_S,
            },
            **settings.botocore,
            "retries": _PATIENT if key.patient else _SINGLE,
        }
        if options.get("signature_version") == "unsigned":
            options["signature_version"] = UNSIGNED
        return AioConfig(**options)


def _of_effect(settings: ConnectionSettings) -> bytes:
    """Equal for connections of equal effect. The region is a part of the key of its own."""
    return fingerprint(msgspec.structs.replace(settings, region=None))
