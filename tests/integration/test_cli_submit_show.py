"""`triggerd submit` and `triggerd show` as somebody at a shell uses them."""

import json
import subprocess
from typing import Any

import pytest
from redis import Redis

from tests.support.command import triggerd
from tests.support.owner import Owner
from triggerd import Client
from triggerd.envelope import decode_trigger
from triggerd.event import Continuation
from triggerd.keys import QueueKeys
from triggerd.triggers.testing import SuccessTrigger

SUCCESS = "triggerd.triggers.testing.SuccessTrigger"


def on(redis_url: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return triggerd(*arguments, env={"TRIGGERD_REDIS__URL": redis_url}, stdin=stdin)


def test_a_submitted_trigger_can_be_shown_until_it_has_finished(redis_url: str) -> None:
    arguments = (
        "submit",
        SUCCESS,
        '{"payload": {"password": "hunter2", "table": "sales"}}',
        "--id",
        "t1",
        "--timeout",
        "7230",  # shown as 2 h for half a minute
    )
    assert on(redis_url, *arguments).stdout == "t1\n"
    assert json.loads(on(redis_url, *arguments, "--json").stdout) == {
        "id": "t1", "queue": "default", "enqueued": "in_flight",
    }  # fmt: skip
    queued = on(redis_url, "show", "t1").stdout
    for words in ("state      queued", SUCCESS, '"table": "sales"', '"password": "***"', "(in 2 h)", "s ago)"):
        assert words in queued
    assert "hunter2" not in queued
    with Owner(redis_url) as owner:
        [trigger] = owner.claim()
        running: dict[str, Any] = json.loads(on(redis_url, "show", "t1", "--json").stdout)
        assert (running["state"], running["owner"]) == ("running", owner.name)
        owner.fire(trigger, {"status": "success", "token": "hunter2"})
    finished = json.loads(on(redis_url, "show", "t1", "--json").stdout)
    assert (finished["state"], finished["event_id"]) == ("fired", "t1:1")
    assert finished["payload"] == {"status": "success", "token": "***"}
    assert "finished" in on(redis_url, "show", "t1").stdout


def test_an_unknown_id_is_exit_1_and_names_the_queue(redis_url: str) -> None:
    done = on(redis_url, "show", "nope", "--queue", "etl")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'nope' on queue 'etl'" in done.stderr


def test_submit_waits_for_the_event_and_its_exit_status_says_how_it_went(redis_url: str) -> None:
    with Client(redis_url) as td, Owner(redis_url) as owner:
        for name, payload in (("good", {"status": "success"}), ("bad", {"status": "error", "message": "no"})):
            td.defer(SuccessTrigger(payload), id=name)
        for trigger in owner.claim():
            owner.fire(trigger, {"status": "success"} if trigger.id == "good" else {"status": "error", "message": "no"})
    good = on(redis_url, "submit", SUCCESS, "--id", "good", "--wait", "--json")
    assert (good.returncode, json.loads(good.stdout)["payload"]) == (0, {"status": "success"})
    bad = on(redis_url, "submit", SUCCESS, "--id", "bad", "--wait")
    assert bad.returncode == 1
    assert '"message": "no"' in bad.stdout
    late = on(redis_url, "submit", SUCCESS, "--wait", "--wait-timeout", "200ms")
    assert late.returncode == 3
    assert "still in flight" in late.stderr
    late = on(redis_url, "submit", SUCCESS, "--id", "late", "--wait-timeout", "200ms", "--json")
    assert (late.returncode, json.loads(late.stdout)["id"]) == (3, "late")


def test_kwargs_come_from_stdin(redis_url: str) -> None:
    assert on(redis_url, "submit", SUCCESS, "-", "--id", "t1", stdin='{"payload": 5}').returncode == 0
    assert json.loads(on(redis_url, "show", "t1", "--json").stdout)["kwargs"] == {"payload": 5}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([SUCCESS, '{"payload": }'], "no JSON (line 1, column 13)"),
        ([SUCCESS, "[1]"], "must be a JSON object"),
        ([SUCCESS, "--timeout", "-5"], "no duration"),
        ([SUCCESS, "--timeout", "400d"], "up to 366d"),
        ([SUCCESS, "--on-timeout", "stop"], "'stop' is not one of"),
        ([SUCCESS, '{"paylod": 1}'], "did you mean 'payload'"),
        (["acme"], "'acme' is no trigger"),
        ([SUCCESS, "--method-kwargs", "{"], "--method-kwargs is no JSON"),
        ([SUCCESS, "--queue", "a b"], "queue 'a b'"),
        ([SUCCESS, "--redis", "http://x"], "redis.url"),
    ],
)
def test_usage_is_exit_2_and_says_the_way_out(redis_url: str, arguments: list[str], words: str) -> None:
    done = on(redis_url, "submit", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("arguments", [["show", "t1"], ["submit", SUCCESS]])
def test_no_redis_is_one_line_without_the_password_and_exit_4(arguments: list[str]) -> None:
    done = on("redis://ann:hunter2@127.0.0.1:1", *arguments)
    assert done.returncode == 4
    assert done.stderr.startswith("triggerd: Redis cannot be reached: ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_what_went_wrong_is_shown_and_cannot_touch_the_terminal(redis_url: str) -> None:
    with Client(redis_url) as td, Owner(redis_url) as owner:
        td.defer(SuccessTrigger(), id="t1")
        [trigger] = owner.claim()
        td.handle("t1").cancel(by="ann")
        assert "cancel asked by  ann\n" in on(redis_url, "show", "t1").stdout
        owner.fail(trigger, "cancelled", "asked by\x1b[31m ann")
    shown = on(redis_url, "show", "t1")
    assert shown.returncode == 0
    assert "state     cancelled\n" in shown.stdout
    assert "error     cancelled: asked by\\x1b[31m ann\n" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert json.loads(on(redis_url, "show", "t1", "--json").stdout)["error"]["message"] == "asked by\x1b[31m ann"


def test_the_caller_names_the_continuation(redis_url: str) -> None:
    arguments = (
        "--reply-to",
        "etl",
        "--method-name",
        "go_on",
        "--method-kwargs",
        '{"day": 1}',
        "--on-timeout",
        "cancel",
    )
    assert on(redis_url, "submit", SUCCESS, "--id", "t1", *arguments).returncode == 0
    with Owner(redis_url) as owner, Redis.from_url(redis_url) as redis:
        [(_, entry)] = redis.xrange(QueueKeys("default").triggers)
        assert entry[b"on_timeout"] == b"cancel"
        [trigger] = owner.claim()
    continuation = Continuation.decode(decode_trigger(trigger.env).resume)
    assert (trigger.reply_to, continuation.method_name, continuation.kwargs) == ("etl", "go_on", {"day": 1})
