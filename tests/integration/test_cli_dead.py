"""`triggerd dead`: dead letters as somebody at a shell sees, replays and drops them."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from tests.support.owner import Owner
from tests.support.servers import REPOSITORY
from triggerd import Client
from triggerd.cli.main import main
from triggerd.envelope import TriggerReader, encode_trigger
from triggerd.event import Continuation, EventError, ended_prefix
from triggerd.keys import QueueKeys
from triggerd.signing import SigningKeys
from triggerd.streams.dead_letter import Burial, DeadLetters
from triggerd.streams.leases import Leases
from triggerd.streams.result_stream import ResultStream
from triggerd.triggers.testing import SuccessTrigger

KEYS = QueueKeys("default")
SECRET = {"password": "hunter2", "table": "sales"}
OLD_KEY, KEY = "the key of last year", "the key of this year"


@pytest.fixture
def raw(redis_url: str) -> Iterator[Any]:
    """redis-py itself, for what no verb would write."""
    with redis.Redis.from_url(redis_url) as raw:
        yield raw


def on(redis_url: str, *arguments: str, keys: str = "") -> Result:
    env = {"TRIGGERD_REDIS__URL": redis_url, "TRIGGERD_SIGNING_KEYS": keys}
    return CliRunner().invoke(main, ["dead", *arguments], env=env, prog_name="triggerd")


def letters(redis_url: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(on(redis_url, "ls", "--json", *arguments).stdout)
    return found


def bury(td: Client, owner: Owner, *, count: int = 1, code: str = "not_a_trigger", why: str = "no") -> None:
    """Make dead letters t0, t1, ... of `code`, as a daemon does."""
    for number in range(count):
        td.defer(SuccessTrigger(SECRET), id=f"{code}-{number}", reply_to="etl")
    event = ended_prefix(EventError(code, why), 0) + b"\xc6\0\0\0\0"
    items = [Burial(trigger.id, trigger.entry, 1, code, why, event) for trigger in owner.claim()]
    call = DeadLetters("default").bury(owner.name, items, 300_000)
    assert td.caller.redis.run(call) == [1] * count


def test_dead_letters_are_listed_newest_first_and_filtered(redis_url: str, td: Client, owner: Owner) -> None:
    assert on(redis_url, "ls").stdout == "no dead letters on queue 'default'\n"
    bury(td, owner, count=2, code="not_a_trigger", why="line one\nand \x1b[31mtwo of redis://u:hunter2@h")
    bury(td, owner, code="classpath_not_found")
    listed = on(redis_url, "ls").stdout.splitlines()
    assert [line.split()[3] for line in listed[1:]] == ["classpath_not_found-0", "not_a_trigger-1", "not_a_trigger-0"]
    assert "line one and \\x1b[31mtwo of redis://u:***@h" in listed[2]
    assert [row["id"] for row in letters(redis_url, "--code", "classpath_not_found")] == ["classpath_not_found-0"]
    assert [row["id"] for row in letters(redis_url, "--id", "not_a_trigger-0")] == ["not_a_trigger-0"]
    assert on(redis_url, "ls", "--code", "x").stdout == "none of the 3 dead letters\n"
    assert "3 dead letters in all; --limit" in on(redis_url, "ls", "--limit", "2").stdout


def test_a_list_goes_on_over_pages(redis_url: str, td: Client, raw: Any) -> None:
    for number in range(250):
        raw.xadd(KEYS.dead, {"id": f"t{number}", "code": "a" if number else "b", "why": "", "time": "1"})
    assert len(letters(redis_url, "--limit", "1000")) == 250
    assert [row["id"] for row in letters(redis_url, "--code", "b")] == ["t0"]


def test_a_letter_is_shown_whole_but_for_its_secrets(redis_url: str, td: Client, owner: Owner) -> None:
    bury(td, owner, why="arguments refused: {'password': 'hunter2'}")
    [letter] = letters(redis_url)
    shown = on(redis_url, "show", letter["letter"]).stdout
    for words in ('"table": "sales"', '"password": "***"', "not_a_trigger", "SuccessTrigger", "bytes", "etl"):
        assert words in shown
    assert "hunter2" not in shown
    facts = json.loads(on(redis_url, "show", letter["letter"], "--json").stdout)
    assert (facts["kind"], facts["replay_as"]) == ("trigger", f"not_a_trigger-0~{letter['letter']}")


def test_what_cannot_be_decoded_is_shown_in_hex_and_an_entry_without_envelope_by_its_fields(
    redis_url: str, owner: Owner, raw: Any
) -> None:
    owner.claim()
    raw.xadd(KEYS.triggers, {"hello": "world\x1b[31m", "token": "hunter2", "long": "x" * 1000})
    raw.xadd(KEYS.triggers, {"id": "bad\xff", "reply": "", "deadline": "1", "env": b"\x1b[31m" + b"\xff" * 100})
    assert [trigger.env[:1] for trigger in owner.claim()] == [b"\x1b"]
    raw.xadd(KEYS.dead, {"id": "t", "code": "undecodable", "why": "", "time": "1", "bytes": b"\x1b[31m" + b"\xff" * 99})
    garbage, fields = letters(redis_url)
    shown = on(redis_url, "show", garbage["letter"]).stdout
    assert "1b 5b 33 31 6d ff ff" in shown
    assert "size         104 bytes" in shown
    assert "\x1b" not in shown
    facts = json.loads(on(redis_url, "show", fields["letter"], "--json").stdout)
    assert facts["fields"]["token"] == "***"
    assert facts["fields"]["long"] == "x" * 200 + "... (1,000 characters)"
    assert "hunter2" not in on(redis_url, "show", fields["letter"]).stdout
    answered = on(redis_url, "replay", fields["letter"])
    assert (answered.exit_code, "holds nothing that could be run" in answered.stdout) == (1, True)


@pytest.mark.parametrize("time", ["soon", "9" * 18, "9" * 5000])
def test_a_dead_letter_written_by_hand_is_listed_and_shown_whatever_its_time(
    redis_url: str, raw: Any, time: str
) -> None:
    letter = raw.xadd(KEYS.dead, {"id": "t", "code": "a", "why": "", "time": time, "bytes": b"\x94"}).decode()
    for arguments in (["ls"], ["show", letter]):
        answered = on(redis_url, *arguments)
        assert (answered.exit_code, letter in answered.stdout) == (0, True)


def test_a_replayed_trigger_runs_under_a_new_id(redis_url: str, td: Client, owner: Owner) -> None:
    bury(td, owner)
    [letter] = letters(redis_url)
    new_id = f"not_a_trigger-0~{letter['letter']}"
    answered = on(redis_url, "replay", letter["letter"], "--timeout", "2h", "--on-timeout", "cancel")
    assert (answered.exit_code, answered.stdout) == (0, f"{letter['letter']}  replayed as {new_id}\n")
    assert letters(redis_url) == []
    [trigger] = owner.claim()
    assert (trigger.id, trigger.reply_to) == (new_id, "etl")
    owner.fire(trigger, 5)
    assert td.handle(new_id).result(timeout=5).payload == 5
    again = on(redis_url, "replay", letter["letter"], "--json")
    assert (again.exit_code, json.loads(again.stdout)) == (
        1, [{"letter": letter["letter"], "result": "no_such_letter"}],
    )  # fmt: skip


def test_a_letter_that_stayed_after_its_replay_is_replayed_once(redis_url: str, td: Client, owner: Owner) -> None:
    bury(td, owner)
    [letter] = letters(redis_url)
    td.defer(SuccessTrigger(), id=f"not_a_trigger-0~{letter['letter']}")  # as if the script had been cut short
    answered = on(redis_url, "replay", letter["letter"])
    assert (answered.exit_code, "replayed before, as not_a_trigger-0~" in answered.stdout) == (0, True)
    assert len(owner.claim()) == 1


def test_all_replays_what_the_filters_leave_and_says_what_it_could_not(
    redis_url: str, td: Client, owner: Owner
) -> None:
    bury(td, owner, count=3)
    bury(td, owner, count=2, code="classpath_not_allowed")
    answered = on(redis_url, "replay", "--all", "--code", "classpath_not_allowed")
    assert (answered.exit_code, answered.stdout) == (0, "2 of 2 dead letters done\n")
    long_id = "x" * 500
    with redis.Redis.from_url(redis_url) as raw:
        raw.xadd(KEYS.dead, {"id": long_id, "code": "a", "why": "", "time": "1", "bytes": b"\x94"})
    answered = on(redis_url, "replay", "--all")
    assert answered.exit_code == 1
    assert answered.stdout.splitlines()[-1] == "3 of 4 dead letters done"
    assert "its new id would be too long" in answered.stdout
    assert len(owner.claim()) == 5


def test_a_replayed_event_is_back_on_its_result_stream(redis_url: str, td: Client, owner: Owner) -> None:
    stream, run = ResultStream("default", "etl"), td.caller.redis.run
    td.defer(SuccessTrigger(), id="t1", reply_to="etl")
    owner.fire(owner.claim()[0], {"token": "hunter2", "n": 1})
    run(stream.prepare())
    run(Leases("default").renew("resumer", 60_000))
    [event] = run(stream.claim("resumer", 1)).events
    assert run(stream.bury("resumer", event.entry, "continuation_raised", "ValueError: password=hunter2"))
    [letter] = letters(redis_url)
    assert (letter["kind"], letter["why"]) == ("event", "ValueError: password=***")
    shown = on(redis_url, "show", letter["letter"]).stdout
    assert '{"token": "***", "n": 1}' in shown
    answered = on(redis_url, "replay", letter["letter"])
    assert answered.stdout == f"{letter['letter']}  its event is back on result stream 'etl'\n"
    assert [event.trigger_id for event in run(stream.claim("resumer", 1)).events] == ["t1"]


def test_dropped_letters_are_gone_and_all_of_them_only_after_yes(redis_url: str, td: Client, owner: Owner) -> None:
    bury(td, owner, count=3)
    first, *_ = letters(redis_url)
    assert on(redis_url, "drop", first["letter"]).stdout == f"{first['letter']}  dropped\n"
    assert on(redis_url, "drop", first["letter"]).exit_code == 1
    refused = on(redis_url, "drop", "--all")
    assert (refused.exit_code, "needs --yes" in refused.stderr, len(letters(redis_url))) == (2, True, 2)
    assert on(redis_url, "drop", "--all", "--yes").stdout == "2 of 2 dead letters done\n"
    assert letters(redis_url) == []


@pytest.mark.parametrize(("verb", "answer", "left"), [("drop", b"n", 2), ("drop", b"y", 0), ("replay", b"y", 0)])
def test_on_a_terminal_all_of_them_only_after_a_question(
    redis_url: str, td: Client, owner: Owner, verb: str, answer: bytes, left: int
) -> None:
    bury(td, owner, count=2)
    here, there = pty.openpty()
    try:
        os.write(here, answer + b"\n")
        command = [sys.executable, "-m", "triggerd", "dead", verb, "--all", "--redis", redis_url]
        done = subprocess.run(command, stdin=there, capture_output=True, timeout=30, check=False, cwd=REPOSITORY)
    finally:
        os.close(here)
        os.close(there)
    assert b"2 dead letters" in done.stderr
    assert (done.returncode, len(letters(redis_url))) == (1 if left else 0, left)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["show", "1-1"], 1, "no dead letter '1-1' on queue 'default'"),
        (["show", "nightly"], 2, "'nightly' is no id of a dead letter"),
        (["replay"], 2, "name dead letters, or say --all"),
        (["replay", "1-1", "--all"], 2, "name dead letters, or say --all"),
        (["drop", "1-1", "--code", "x"], 2, "--code and --id go with --all"),
        (["replay", "1-1", "--sign"], 2, "--sign needs the setting signing_keys"),
        (["ls", "--redis", "redis://127.0.0.1:1"], 4, "Redis cannot be reached"),
    ],
)
def test_what_cannot_be_is_one_line(redis_url: str, arguments: list[str], status: int, words: str) -> None:
    done = on(redis_url, *arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (status, 1)
    assert words in done.stderr


def signed_letter(redis_url: str, raw: Any, keys: list[str]) -> str:
    """A dead letter of a trigger that a producer with these keys deferred; without keys, of an unsigned one."""
    with Client(redis_url, signing_keys=keys) as producer:
        producer.defer(SuccessTrigger(), "go_on", id="t1")
    [(_, fields)] = raw.xrange(KEYS.triggers)
    raw.flushall()
    dead = {"id": "t1", "code": "bad_signature", "why": "", "time": "1", "reply": "", "bytes": fields[b"env"]}
    letter: bytes = raw.xadd(KEYS.dead, dead)
    return letter.decode()


def test_a_replay_signs_anew_what_an_old_key_of_ours_has_signed(redis_url: str, raw: Any, owner: Owner) -> None:
    letter = signed_letter(redis_url, raw, [OLD_KEY])
    assert on(redis_url, "replay", letter, keys=f"{KEY},{OLD_KEY}").exit_code == 0
    [trigger] = owner.claim()
    today = SigningKeys([KEY])
    envelope = TriggerReader("default", keys=today).read(trigger.env)
    assert Continuation.decode(envelope.resume, "default", today).method_name == "go_on"


def test_a_replay_does_not_make_a_signed_trigger_of_a_forged_one_unless_told(
    redis_url: str, raw: Any, owner: Owner
) -> None:
    letter = signed_letter(redis_url, raw, [])
    refused = on(redis_url, "replay", "--all", keys=KEY)
    assert (refused.exit_code, "if you vouch for it, --sign" in refused.stdout) == (1, True)
    assert owner.claim() == []
    assert on(redis_url, "replay", letter, "--sign", keys=KEY).exit_code == 0
    [trigger] = owner.claim()
    assert TriggerReader("default", keys=SigningKeys([KEY])).read(trigger.env).classpath.endswith("SuccessTrigger")
    bad = {"id": "t2", "code": "undecodable", "why": "", "time": "1", "bytes": encode_trigger("a.B", {})[:-3]}
    unreadable = on(redis_url, "replay", raw.xadd(KEYS.dead, bad).decode(), "--sign", keys=KEY)
    assert (unreadable.exit_code, "not replayed: " in unreadable.stdout) == (1, True)
