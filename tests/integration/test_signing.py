"""Signed triggers through a daemon and a Resumer: what was signed runs, the rest is buried, and its caller hears."""

from typing import Any

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.owner import Owner
from tests.support.resuming import running
from tests.support.waiting import eventually_sync
from triggerd import Client, Event, Resumer
from triggerd.event import Continuation
from triggerd.keys import QueueKeys
from triggerd.streams.dead_letter import DeadLetters
from triggerd.triggers.testing import SuccessTrigger

OLD, NEW, OTHER = "the old key of 24 bytes.", "the new key of 24 bytes.", "another key of 25 bytes.."
EVENTS = QueueKeys("default").events("default")


def defer(url: str, name: str, *keys: str, **options: Any) -> None:
    with Client(url, signing_keys=keys) as td:
        td.defer(SuccessTrigger(name), "go_on", kwargs={"of": name}, id=name, **options)


def letters(url: str) -> dict[str, str]:
    with Client(url) as td:
        return {letter.id: letter.code for letter in td.caller.redis.run(DeadLetters("default").ls())}


def resumer_with(td: Client, seen: list[tuple[str, str, str]]) -> Resumer:
    resumer = Resumer(td)

    @resumer.on_event
    def note(event: Event, continuation: Continuation) -> None:
        seen.append((event.trigger_id, event.outcome, continuation.kwargs["of"]))

    return resumer


def test_a_daemon_with_keys_runs_what_they_have_signed_and_buries_the_rest_with_an_event(redis_url: str) -> None:
    env = {"TRIGGERD_SIGNING_KEYS": f"{NEW},{OLD}", "TRIGGERD_LOGS__LEVEL": "debug"}
    with DaemonProcess(redis_url, env=env) as daemon, Client(redis_url, signing_keys=()) as td:
        for name, keys in {"new": [NEW], "old": [OLD], "unsigned": [], "other": [OTHER]}.items():
            defer(redis_url, name, *keys)
        ended = {name: td.handle(name).result(20) for name in ("new", "old", "unsigned", "other")}
        log = daemon.log_text
    assert {name: event.outcome for name, event in ended.items()} == {
        "new": "fired", "old": "fired", "unsigned": "failed", "other": "failed",
    }  # fmt: skip
    codes = {name: event.error.code for name, event in ended.items() if event.error}
    assert codes == letters(redis_url) == {"unsigned": "unsigned", "other": "bad_signature"}
    assert not [key for key in (NEW, OLD, OTHER) if key in log]
    seen: list[tuple[str, str, str]] = []
    with Client(redis_url, signing_keys=()) as td, running(resumer_with(td, seen)):
        eventually_sync(lambda: len(seen) == 4)
    assert sorted(seen) == [
        ("new", "fired", "new"), ("old", "fired", "old"), ("other", "failed", "other"),
        ("unsigned", "failed", "unsigned"),
    ]  # fmt: skip


def test_a_daemon_without_keys_runs_signed_triggers_too(redis_url: str) -> None:
    with DaemonProcess(redis_url), Client(redis_url) as td:
        defer(redis_url, "signed", NEW)
        assert td.handle("signed").result(20).outcome == "fired"


def test_a_resumer_with_keys_calls_no_continuation_that_they_have_not_signed(redis_url: str) -> None:
    seen: list[tuple[str, str, str]] = []
    for name, keys in {"new": [NEW], "old": [OLD], "unsigned": [], "other": [OTHER]}.items():
        defer(redis_url, name, *keys)
    with Owner(redis_url) as owner:
        for trigger in owner.claim():
            owner.fire(trigger, 1)
    with redis.from_url(redis_url) as raw:  # by somebody who can write to Redis, with a payload of theirs
        [(_, genuine), *_] = raw.xrange(EVENTS)
        raw.xadd(EVENTS, genuine | {b"id": b"forged", b"event": genuine[b"event"].replace(b"go_on", b"run_x")})
    with Client(redis_url, signing_keys=[NEW, OLD]) as td, running(resumer_with(td, seen)):
        eventually_sync(lambda: td.caller.redis.run(DeadLetters("default").ls())[2:])
        eventually_sync(lambda: len(seen) == 2)
    assert sorted(name for name, *_ in seen) == ["new", "old"]
    assert letters(redis_url) == {"unsigned": "unsigned", "other": "bad_signature", "forged": "bad_signature"}


@pytest.mark.parametrize("keys", [[NEW], []])
def test_a_signed_continuation_survives_the_scripts_that_end_a_trigger(redis_url: str, keys: list[str]) -> None:
    seen: list[tuple[str, str, str]] = []
    defer(redis_url, "cancelled", NEW)
    defer(redis_url, "late", NEW, timeout=0.01)
    with Client(redis_url, signing_keys=keys) as td:
        td.handle("cancelled").cancel()
        with running(resumer_with(td, seen)):
            eventually_sync(lambda: len(seen) == 2)
    assert sorted(seen) == [("cancelled", "cancelled", "cancelled"), ("late", "timed_out", "late")]
