"""The credentials of one identity, kept fresh: whoever asks gets them at once, one refresh at a time replaces them.

They are fetched in a thread when they are first wanted, and again after about three quarters of the time that they
still hold. A fetch that fails is repeated, later each time; nobody notices while the old ones hold.
"""

import asyncio
import contextlib
import contextvars
import logging
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, CredentialRetrievalError

from triggerd.aws.sources import Fetched
from triggerd.clock import monotonic_s, wall_ms

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long a call waits for a fetch, once: calls that wait hold connections that other identities want."""
HANGS_AFTER_S = 120.0
"""A fetch that takes longer (a program that hangs, as botocore gives it all the time it wants) is left to itself, and
another one is made, later."""
_MOST_HANGING = 3
_LEAST_S = 1.0
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 60.0


class Credentials:
    """What aiobotocore's signers ask. Made in any thread, used on one loop."""

    method = "triggerd"

    def __init__(self, label: str, fetch: Callable[[], Fetched], *, renews: bool) -> None:
        """`fetch` blocks: it runs in a thread of its own. `renews`: what it fetches is known to end."""
        self.label = label
        self.refreshed = self.failed = 0
        """How often a fetch gave credentials, and how often none."""
        self._fetch, self._renews = fetch, renews
        self._held: Fetched | None = None
        self._failure: BaseException | None = None
        self._failures = 0
        self._hanging: set[Future[Fetched]] = set()
        self._began_s = self._again_s = 0.0
        self._refresh: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def refreshable(self) -> bool:
        """Whether they renew themselves, so that an expired token is a hiccup and not the end."""
        return self._renews or self.expires_ms is not None

    @property
    def expires_ms(self) -> int | None:
        """When the present ones end, milliseconds since the epoch. None: there are none yet, or they do not end."""
        return None if self._held is None else self._held.expires_ms

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The present ones; waits only where none hold.

        Raises:
            CredentialRetrievalError: Fetching takes too long. Otherwise what the last fetch raised, at once until the
                next one gives some.
        """
        if not _holds(self._held):
            await self._arrival()
        if self._held is None:
            raise CredentialRetrievalError(provider=self.method, error_msg=f"{self.label}: closed")
        return self._held.keys

    async def get_account_id(self) -> str | None:
        """For services whose endpoint has the account in it."""
        account: str | None = (await self.get_frozen_credentials()).account_id
        return account

    def get_deferred_property(self, _name: str) -> Callable[[], Awaitable[str | None]]:
        """For botocore's constructor of clients, which asks for the account id only."""
        return self.get_account_id

    async def close(self) -> None:
        """No refresh from here on. A fetch under way in its thread is left to itself: it may hang."""
        self._again_s = float("inf")
        if self._timer is not None:
            self._timer.cancel()
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.wait([self._refresh])

    async def _arrival(self) -> None:
        # In no run's context: what one trigger has begun serves all, and outlives it.
        contextvars.Context().run(self._begin)
        if self._failure is None and self._refresh is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._began_s + PATIENCE_S - monotonic_s()):
                    await asyncio.shield(self._refresh)
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # it is raised many times, and would keep each way it went
        if self._refresh is not None:
            why = f"{self.label}: not there after {PATIENCE_S:g} s, still trying"
            raise CredentialRetrievalError(provider=self.method, error_msg=why)

    def _begin(self) -> None:
        if self._refresh is None and monotonic_s() >= self._again_s:
            self._began_s = monotonic_s()
            self._refresh = asyncio.create_task(self._renew(), name=f"credentials of {self.label}")

    async def _renew(self) -> None:
        try:
            fetched = await self._fetched()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who ask hear of it
            self._fail(error)
        else:
            self._take(fetched)
        finally:
            self._refresh = None

    async def _fetched(self) -> Fetched:
        self._hanging = {each for each in self._hanging if not each.done()}
        if len(self._hanging) >= _MOST_HANGING:
            why = f"{self.label}: {_MOST_HANGING} fetches hang"
            raise CredentialRetrievalError(provider=self.method, error_msg=why)
        fetch = _in_own_thread(self._fresh, f"triggerd-credentials-{self.label}")
        limit = asyncio.timeout(HANGS_AFTER_S)
        try:
            async with limit:
                return await asyncio.wrap_future(fetch)
        except TimeoutError as error:
            if not limit.expired():
                raise
            self._hanging.add(fetch)
            why = f"{self.label}: nothing came in {HANGS_AFTER_S:g} s"
            raise CredentialRetrievalError(provider=self.method, error_msg=why) from error

    def _fresh(self) -> Fetched:
        try:
            fetched = self._fetch()
        except ClientError:
            raise
        except Exception as error:
            if self._held is None:
                raise
            # An instance's metadata service that is away looks like none at all, a file that is being written like
            # none or nonsense; where there were some, their source is away. What AWS itself refuses is refused.
            why = f"{self.label}: {type(error).__name__}: {error}, where there were some"
            raise CredentialRetrievalError(provider=self.method, error_msg=why) from error
        if not _holds(fetched):
            raise CredentialRetrievalError(provider=self.method, error_msg=f"{self.label}: what came has expired")
        return fetched

    def _take(self, fetched: Fetched) -> None:
        if self._failures:
            log.info("%s: there are credentials again, after %d failures", self.label, self._failures)
        self.refreshed += 1
        self._held, self._failure, self._failures = fetched, None, 0
        if fetched.expires_ms is not None:
            left_s = (fetched.expires_ms - wall_ms()) / 1000
            # Some sources give new ones in the last minutes only: then this comes nearer to the end each time.
            self._set_timer(max(_LEAST_S, left_s * random.uniform(0.7, 0.8)))  # noqa: S311 - jitter

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        backoff_s = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2**self._failures) * random.uniform(0.75, 1.25)  # noqa: S311
        self._failures = min(self._failures + 1, 20)
        self._again_s, self._failure = monotonic_s() + backoff_s, error
        held = _holds(self._held)
        state = "not refreshed, the old ones still hold" if held else "no credentials"
        log.warning("%s: %s: %s: %s", self.label, state, type(error).__name__, error)
        if held:  # else only who asks causes another fetch
            self._set_timer(backoff_s)

    def _set_timer(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._due)

    def _due(self) -> None:
        self._again_s = 0.0
        self._begin()


def _holds(fetched: Fetched | None) -> bool:
    return fetched is not None and (fetched.expires_ms is None or wall_ms() < fetched.expires_ms)


def _in_own_thread(work: Callable[[], T], name: str) -> Future[T]:
    """A daemon thread: one that hangs in a child process or a lost connection holds up neither others nor the exit."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited, and must not end the loop
            done.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # this machine has no thread to spare, for now
        raise CredentialRetrievalError(provider=name, error_msg=str(error)) from error
    return done
