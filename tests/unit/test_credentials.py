"""Promises of an identity's credentials: one fetch for all who ask, ahead of the end, and no trouble before it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError

from tests.support.waiting import eventually
from triggerd.aws import credentials as module
from triggerd.aws.credentials import Credentials
from triggerd.aws.sources import Fetched
from triggerd.clock import wall_ms


class Source:
    """Gives key 1, 2, ...; each holds `lives_s` (None: for ever). A fetch raises `trouble`, waits for `gate`."""

    def __init__(self, lives_s: float | None = None) -> None:
        self.lives_s, self.fetches = lives_s, 0
        self.trouble: Exception | None = None
        self.gate: threading.Event | None = None

    def fetch(self) -> Fetched:
        self.fetches += 1
        if self.gate is not None:
            self.gate.wait(20)
        if self.trouble is not None:
            raise self.trouble
        keys = ReadOnlyCredentials(f"key {self.fetches}", "s", None, None)
        return Fetched(keys, None if self.lives_s is None else wall_ms() + int(self.lives_s * 1000))


Kept = Callable[[Source], Credentials]


@pytest.fixture
async def keep() -> AsyncIterator[Kept]:
    made: list[Credentials] = []

    def make(source: Source) -> Credentials:
        made.append(Credentials("an identity", source.fetch, renews=False))
        return made[-1]

    yield make
    for credentials in made:
        await credentials.close()


async def key(credentials: Credentials) -> str:
    return str((await credentials.get_frozen_credentials()).access_key)


async def test_nothing_is_fetched_before_somebody_asks_and_once_for_all_who_do(keep: Kept) -> None:
    source = Source()
    credentials = keep(source)
    assert source.fetches == 0
    assert set(await asyncio.gather(*(key(credentials) for _ in range(200)))) == {"key 1"}
    assert (source.fetches, credentials.refreshed, credentials.failed) == (1, 1, 0)
    assert credentials.expires_ms is None
    assert not credentials.refreshable


async def test_they_are_fetched_again_before_they_end_while_nobody_asks(keep: Kept) -> None:
    source = Source(lives_s=4)
    credentials = keep(source)
    assert await key(credentials) == "key 1"
    first = credentials.expires_ms
    assert first is not None
    assert credentials.refreshable
    await eventually(lambda: credentials.refreshed == 2)
    assert wall_ms() < first, "ahead of the end"
    source.gate = threading.Event()  # whatever comes now hangs
    assert await key(credentials) == "key 2"
    source.gate.set()


async def test_a_refresh_that_fails_is_no_trouble_while_the_old_ones_hold(keep: Kept) -> None:
    source = Source(lives_s=8)
    credentials = keep(source)
    assert await key(credentials) == "key 1"
    source.trouble = CredentialRetrievalError(provider="x", error_msg="as the test says")
    await eventually(lambda: credentials.failed == 1)
    assert await key(credentials) == "key 1"
    source.trouble = None
    await eventually(lambda: credentials.refreshed == 2)
    assert await key(credentials) == f"key {source.fetches}"


async def test_without_any_the_last_failure_is_raised_at_once_until_the_next_try(keep: Kept) -> None:
    source = Source()
    source.trouble = NoCredentialsError()
    credentials = keep(source)
    for _ in range(100):
        with pytest.raises(NoCredentialsError):
            await key(credentials)
    assert source.fetches == 1
    source.trouble = None

    async def has_one() -> bool:
        try:
            return bool(await key(credentials))
        except NoCredentialsError:
            return False

    await eventually(has_one)
    assert source.fetches == 2


async def test_a_fetch_that_hangs_holds_up_its_calls_once_and_the_loop_never(
    keep: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    source, other = Source(), keep(Source())
    source.gate = threading.Event()
    credentials = keep(source)
    began_s = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(key(credentials) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in answers} == {CredentialRetrievalError}
    for _ in range(50):  # nobody waits a second time for the same fetch
        with pytest.raises(CredentialRetrievalError, match=r"an identity: not there after .*, still trying"):
            await key(credentials)
    assert asyncio.get_running_loop().time() - began_s < 2
    assert await key(other) == "key 1"
    assert source.fetches == 1, "there is never a second one beside it"
    source.gate.set()
    await eventually(lambda: credentials.refreshed)
    assert await key(credentials) == "key 1"


async def test_a_fetch_that_hangs_for_good_is_left_and_others_are_made_but_not_many(
    keep: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANGS_AFTER_S", 0.02)
    monkeypatch.setattr(module, "_LONGEST_BACKOFF_S", 0.02)
    source = Source()
    source.gate = threading.Event()
    credentials = keep(source)

    async def says(words: str) -> bool:
        try:
            await key(credentials)
        except CredentialRetrievalError as error:
            return bool(words) and words in str(error)
        return not words

    await eventually(lambda: says("nothing came in 0.02 s"))
    await eventually(lambda: says("3 fetches hang"))
    assert source.fetches == 3
    source.gate.set()
    await eventually(lambda: says(""))
    assert source.fetches == 4


async def test_where_there_were_some_none_is_a_source_that_is_away_and_waited_for(keep: Kept) -> None:
    source = Source(lives_s=1)
    credentials = keep(source)
    assert await key(credentials) == "key 1"
    source.trouble = NoCredentialsError()
    ends_ms = credentials.expires_ms
    assert ends_ms is not None
    await eventually(lambda: wall_ms() >= ends_ms)
    with pytest.raises(CredentialRetrievalError, match="where there were some"):
        await key(credentials)


@pytest.mark.parametrize("trouble", [ValueError("no JSON"), RuntimeError("still expired"), KeyError("x")])
async def test_where_there_were_some_a_source_that_talks_nonsense_is_waited_for(keep: Kept, trouble: Exception) -> None:
    source = Source(lives_s=1)
    credentials = keep(source)
    assert await key(credentials) == "key 1"
    source.trouble, ends_ms = trouble, credentials.expires_ms or 0
    await eventually(lambda: wall_ms() >= ends_ms)
    with pytest.raises(CredentialRetrievalError, match="where there were some"):
        await key(credentials)


async def test_that_no_thread_can_be_started_is_waited_through(keep: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    credentials = keep(Source())
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(CredentialRetrievalError, match="can't start new thread"):
            await key(credentials)


async def test_what_has_expired_when_it_comes_is_a_failure(keep: Kept) -> None:
    credentials = keep(Source(lives_s=-1))
    with pytest.raises(CredentialRetrievalError, match="what came has expired"):
        await key(credentials)
    assert (credentials.refreshed, credentials.failed) == (0, 1)


async def test_closing_does_not_wait_for_a_fetch_that_hangs(keep: Kept) -> None:
    source = Source()
    source.gate = threading.Event()
    credentials = keep(source)
    asking = asyncio.create_task(key(credentials))
    await eventually(lambda: source.fetches == 1)
    await asyncio.wait_for(credentials.close(), 1)
    with pytest.raises(asyncio.CancelledError):
        await asking
    source.gate.set()


async def test_an_exit_inside_a_fetch_ends_nothing(keep: Kept) -> None:
    source = Source()
    credentials = keep(source)

    def leave() -> Fetched:
        raise SystemExit(3)

    credentials._fetch = leave
    with pytest.raises(RuntimeError, match=r"SystemExit\(3\)"):
        await key(credentials)
