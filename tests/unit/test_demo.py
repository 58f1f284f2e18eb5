"""The demo's judgement: what its check finds, how it counts, what it shows. The demo itself runs in integration."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from examples.demo.jobs import SERVICES, plan
from examples.demo.progress import Progress
from examples.demo.records import Expected, Records, Resumed, Started
from examples.demo.report import rows
from examples.demo.verify import problems

_DONE = Expected("success", "run_id", "jr_1")
_FAILED = Expected("error", "run_id", "jr_2", says="FAILED")
_STARTED = [Started("a", "glue", 1_000, {"a:1": _DONE}), Started("b", "glue", 1_000, {"b:1": _FAILED})]
_A = Resumed("a:1", "fired", {"status": "success", "run_id": "jr_1"}, 3, 4.0, 5_000, 5_002)
_B = Resumed("b:1", "fired", {"status": "error", "message": "is FAILED", "run_id": "jr_2"}, 9, 4.1, 6_000, 6_010)


def _records(folder: Path, *resumed: Resumed) -> Records:
    records = Records(folder)
    for started in _STARTED:
        records.started_file.append(started)
    for call in resumed:
        records.resumed_file.append(call)
    records.refresh()
    return records


def test_nothing_is_wrong_where_each_event_came_once(tmp_path: Path) -> None:
    assert problems(_records(tmp_path, _A, _B), 2, {"a:1": 4_900}) == []


@pytest.mark.parametrize(
    ("resumed", "says"),
    [
        ([_A], "glue task b: was never resumed"),
        ([_A, _A, _B], "glue task a: was resumed 2 times"),
        ([_A, _B, replace(_A, event_id="x:1")], "x:1: was resumed, and nobody had started it"),
        ([replace(_A, payload={"status": "success", "run_id": "jr_9"}), _B], "glue task a: expected"),
        ([replace(_A, payload={**_A.payload, "more": 1}), _B], "glue task a: expected"),
        ([_A, replace(_B, payload={"status": "success", "run_id": "jr_2"})], "glue task b: expected"),
        ([_A, replace(_B, payload={**_B.payload, "message": "no idea"})], "glue task b: expected"),
        ([replace(_A, outcome="timed_out"), _B], "glue task a: its trigger has timed_out"),
        ([replace(_A, resumed_ms=4_899), _B], "glue task a: was resumed before AWS had got there"),
    ],
)
def test_the_check_names_what_is_wrong(tmp_path: Path, resumed: list[Resumed], says: str) -> None:
    (found,) = problems(_records(tmp_path, *resumed), 2, {"a:1": 4_900})
    assert found.startswith(says)


def test_a_job_that_was_never_started_is_missed(tmp_path: Path) -> None:
    assert problems(_records(tmp_path, _A, _B), 3, {}) == ["2 of 3 jobs were started"]


def test_a_row_counts_tasks_calls_and_latencies(tmp_path: Path) -> None:
    glue, total = rows(_records(tmp_path, _A, _B), {"glue": 5}, {"a:1": 4_902, "b:1": 900})
    assert (glue.service, glue.started, glue.resumed, glue.failed, glue.calls) == ("glue", 2, 2, 1, 5)
    # 3 answers in 4.0 s; the other had 9 because it shared them, a waiter of its own would have asked 1 + ceil(4.1 / 2)
    assert glue.calls_unshared == 3 + 4
    assert glue.fired_to_resumed_ms == (2.0, 10.0)
    assert glue.reached_to_resumed_ms == (100.0, 100.0), "b's state was reached before its wait began"
    assert replace(total, service="glue") == glue


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    records = _records(tmp_path, _A)
    whole = records.resumed_file.path.read_text()
    with records.resumed_file.path.open("a") as file:
        file.write(whole[:20])
        file.flush()
        records.refresh()
        assert len(records.resumed) == 1
        file.write(whole[20:])
    records.refresh()
    assert len(records.resumed) == 2


def test_each_service_has_jobs_and_the_plan_is_the_same_every_time() -> None:
    jobs = plan(40)
    assert len(jobs) == len({job.name for job in jobs}) == 40
    assert {job.service for job in jobs} == set(SERVICES)
    assert [job.name for job in jobs] == [job.name for job in plan(40)]
    assert {job.service for job in jobs if job.fails} == {"stepfunctions", "s3", "athena"}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_moves_on_a_terminal_and_is_plain_on_a_pipe(tmp_path: Path) -> None:
    records = _records(tmp_path, _A)
    terminal, pipe = _Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        progress = Progress(2, stream)
        progress.show(records)
        progress.show(records, last=True)
    assert terminal.getvalue().startswith("\r\x1b[K" + "█" * 10 + "▒" * 10)
    assert terminal.getvalue().count("\n") == 1
    assert [line.strip() for line in pipe.getvalue().splitlines()] == [
        "0 s  started 2/2, resumed 1/2, 0 with an error"
    ] * 2


class _AsciiTerminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_the_progress_fits_one_line_of_a_narrow_terminal_that_knows_ascii_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    written = io.BytesIO()
    terminal = _AsciiTerminal(written, encoding="ascii", newline="")
    Progress(2, terminal).show(_records(tmp_path, _A), last=True)
    line = written.getvalue().decode().removeprefix("\r\x1b[K").removesuffix("\n")
    assert line.startswith("#" * 10 + "=" * 10)
    assert len(line) < 40
