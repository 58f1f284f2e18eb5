"""What every test gets: uvloop, a deadline, real servers, an environment without this machine's accounts."""

import asyncio
import functools
import inspect
import os
import signal
import types
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path

import pytest
import redis
import uvloop

from tests.support.owner import Owner
from tests.support.servers import MotoServer, redis_binaries
from triggerd import Client
from triggerd.embedded import EmbeddedServer

_SYSTEMD = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"})

DEADLINE_S = 60.0
"""How long a test may take where it says nothing: `@pytest.mark.deadline(120)` allows more."""


class StrictLoop(uvloop.Loop):
    """uvloop, reporting what was still open when it closed.

    uvloop warns of an open transport from a C callback. With warnings made errors the exception is lost
    there and `close` waits for that transport for ever; so collect the warnings, close, and raise then.
    """

    def close(self) -> None:
        with warnings.catch_warnings(record=True) as leaks:
            warnings.simplefilter("always")
            super().close()
        if leaks:
            raise ResourceWarning("; ".join(str(leak.message) for leak in leaks))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon's loop for every async test."""
    return {"uvloop": StrictLoop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `server` runs once on each flavour of Redis."""
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", list(redis_binaries()), indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each async test under its deadline, in the loop, so that its `finally` blocks still run."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _within(_deadline_s(item), item.obj)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Put each other test under its deadline by an alarm. A few seconds later it also ends an async one
    whose loop is blocked, which no timeout inside that loop can."""
    limit_s = _deadline_s(item) + (5.0 if item.get_closest_marker("asyncio") else 0.0)

    def ring(_signal: int, _frame: types.FrameType | None) -> None:
        pytest.fail(f"the test did not end within {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What hostile tests have logged may be no text that one process of the tests can send to another."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def _deadline_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("deadline")
    return float(marker.args[0]) if marker is not None else DEADLINE_S


def _within(limit_s: float, test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def timed(*args: object, **kwargs: object) -> None:
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                await test(*args, **kwargs)
        except TimeoutError:
            if limit.expired():
                pytest.fail(f"the test did not end within {limit_s:g} s")
            raise

    return timed


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, no profile, no setting of whoever runs the tests: fake AWS credentials in us-east-1."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "TRIGGERD_")) or name in _SYSTEMD:
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # added to, because pip may need the rest of it
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost"))))


@pytest.fixture(scope="session")
def _valkey() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(binary=redis_binaries()["valkey9"]) as server:
        yield server


@pytest.fixture
def redis_url(_valkey: EmbeddedServer) -> str:
    """An empty Valkey 9. One server serves the whole session, flushed before each test."""
    return _flushed(_valkey)


@pytest.fixture
def td(redis_url: str) -> Iterator[Client]:
    """A client of `redis_url`."""
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def owner(redis_url: str) -> Iterator[Owner]:
    """A consumer of `redis_url` that the test steers by hand."""
    with Owner(redis_url) as owner:
        yield owner


@pytest.fixture(scope="session")
def _flavours() -> Iterator[Callable[[str], EmbeddedServer]]:
    running: dict[str, EmbeddedServer] = {}

    def get(flavour: str) -> EmbeddedServer:
        if flavour not in running:
            running[flavour] = EmbeddedServer(binary=redis_binaries()[flavour])
            running[flavour].start()
        return running[flavour]

    yield get
    for server in running.values():
        server.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, _flavours: Callable[[str], EmbeddedServer]) -> EmbeddedServer:
    """An empty server of each supported flavour in turn: the test runs once on each.

    `server.url` is for redis-py. The test may stop and start it, but leaves it running.
    """
    chosen = _flavours(request.param)
    _flushed(chosen)
    return chosen


def _flushed(server: EmbeddedServer) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A Valkey 9 of the test's own, which keeps its data over a restart: to be stopped, killed and frozen."""
    with EmbeddedServer(
        binary=redis_binaries()["valkey9"],
        folder=tmp_path / "valkey",
        appendonly=True,
        options=["--appendfsync", "always"],
    ) as server:
        yield server


@pytest.fixture(scope="session")
def _moto_server() -> Iterator[MotoServer]:
    with MotoServer() as moto:
        yield moto


@pytest.fixture
def moto(_moto_server: MotoServer) -> MotoServer:
    """An empty AWS. One moto serves the whole session, reset before each test."""
    _moto_server.reset()
    return _moto_server


@pytest.fixture
def moto_url(moto: MotoServer) -> str:
    """The endpoint of an empty AWS, for `endpoint_url`."""
    return moto.url
