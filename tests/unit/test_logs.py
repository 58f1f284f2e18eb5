"""Logs: the run on every line, nothing secret, JSON that is JSON."""

import asyncio
import io
import json
import logging
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from triggerd import logs
from triggerd.settings import LogSettings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def start(**settings: Any) -> io.StringIO:
    out = io.StringIO()
    logs.configure(LogSettings(**settings), out)
    return out


def test_a_line_is_one_json_object_with_event_level_logger_time_and_fields() -> None:
    out = start()
    logs.get_logger("triggerd.test").info("lease lapsed", queue="default", other=object)
    (line,) = lines(out)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "lease lapsed",
        "level": "info",
        "logger": "triggerd.test",
        "queue": "default",
        "other": "<class 'object'>",
    }


async def test_every_line_of_a_run_names_its_trigger_also_from_the_standard_library_and_inner_tasks() -> None:
    out = start()

    async def inner() -> None:
        logging.getLogger("some.library").warning("slow %s", "disk")

    async def run(trigger_id: str) -> None:
        logs.bind_run(SimpleNamespace(id=trigger_id, classpath="acme.Wait"))
        logs.get_logger("triggerd.test").info("begins")
        await asyncio.gather(inner(), asyncio.to_thread(logging.getLogger("thread").warning, "hm"))

    await asyncio.gather(asyncio.create_task(run("one")), asyncio.create_task(run("two")))
    logs.get_logger("triggerd.test").info("outside")
    seen = [(line["event"], line.get("trigger_id"), line.get("classpath")) for line in lines(out)]
    expected = [(event, name, "acme.Wait") for name in ("one", "two") for event in ("begins", "slow disk", "hm")]
    assert sorted(seen, key=str) == sorted([*expected, ("outside", None, None)], key=str)


@pytest.mark.parametrize("form", ["json", "console"])
def test_passwords_are_hidden_in_urls_in_fields_in_messages_and_in_tracebacks(form: str) -> None:
    out = start(format=form)
    log = logs.get_logger("triggerd.test")
    log.warning("cannot reach redis://user:hunter2@host:6379/0", url="rediss://:hunter2@host", password="hunter2")
    try:
        raise ValueError("redis://u:hunter2@h failed")
    except ValueError:
        log.exception("broken", session_token="hunter2")
    logging.getLogger("lib").warning("at %s", "redis://:hunter2@h")
    assert "hunter2" not in out.getvalue()
    assert "ValueError: redis://u:***@h failed" in out.getvalue()
    if form == "json":
        assert lines(out)[0]["url"] == "rediss://:***@host"
        assert "ValueError" in lines(out)[1]["exception"]


def test_lines_below_the_level_are_not_written() -> None:
    out = start(level="warning")
    logs.get_logger("triggerd.test").info("no")
    logging.getLogger("lib").info("no")
    logs.get_logger("triggerd.test").warning("yes")
    assert [line["event"] for line in lines(out)] == ["yes"]


def test_the_debug_level_does_not_turn_on_botocores_request_dumps() -> None:
    out = start(level="debug")
    logging.getLogger("botocore.auth").debug("CanonicalRequest")
    assert out.getvalue() == ""


def test_auto_is_for_people_on_a_terminal_and_json_elsewhere() -> None:
    terminal = Terminal()
    logs.configure(LogSettings(), terminal)
    logs.get_logger("triggerd.test").info("hello", queue="default")
    assert "\x1b[" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_console_lines_off_a_terminal_have_no_colour() -> None:
    out = start(format="console")
    logs.get_logger("triggerd.test").info("hello", queue="default")
    assert "\x1b" not in out.getvalue()
    assert "queue=default" in out.getvalue()


def test_lines_to_the_journal_begin_with_their_priority(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as out:
        at = os.fstat(out.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{at.st_dev}:{at.st_ino}")
        logs.configure(LogSettings(), out)
        logs.get_logger("triggerd.test").warning("hot")
        out.flush()
        out.seek(0)
        text = out.read()
    assert text.startswith("<4>{")
    assert json.loads(text[3:])["event"] == "hot"
