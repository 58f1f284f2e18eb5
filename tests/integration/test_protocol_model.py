"""The whole protocol as a state machine: daemons, resumers, callers and operators, in any order, on real servers.

Every call may lose its answer or be carried out much later; daemons crash, lose their lease and go on; operators
damage things by hand. After every step: at most one final event for each id, nothing told twice or in two versions,
only by the owner. In the end: exactly one, and nothing left behind.

`TRIGGERD_MODEL_EXAMPLES=5000` makes it a long run, with every mutant; a failure is then shortened, too, which
takes minutes: add ``-o faulthandler_timeout=0``.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.model_machine import Protocol
from triggerd.embedded import EmbeddedServer
from triggerd.streams import script as scripts
from triggerd.streams.connection import SyncRedis

LONG = "TRIGGERD_MODEL_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("TRIGGERD_MODEL_EXAMPLES", "300"))
STEPS = 40


def explore(redis: SyncRedis, examples: int, *, shrink: bool = False, **ways: Any) -> None:
    """Run the model. Its invariants raise AssertionError."""
    machine = type("ProtocolHere", (Protocol,), {"redis": redis, **ways})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            report_multiple_bugs=False,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def redis(server: EmbeddedServer) -> Iterator[SyncRedis]:
    connection = SyncRedis(server.url, name="model")
    yield connection
    connection.close()


@pytest.mark.deadline(120 + 2 * EXAMPLES)
def test_one_final_event_for_each_trigger_whatever_happens(redis: SyncRedis) -> None:
    explore(redis, EXAMPLES, shrink=LONG)


MUTANTS = {
    "publish asks for no owner": ("publish", " or not owned_by(entry, consumer) then return -3", " then return -3"),
    "a retried event is a second one": ("publish", "if tonumber(seq) <= told then", "if false then"),
    "defer forgets what is finished": ("enqueue", "if finished(id) then", "if false then"),
    "adopt deletes a name with entries": ("adopt", "if #page == 0 then", "if true then"),
    "cancel takes no notice of the owner": ("cancel", "if not pending_for_anyone(entry) then", "if true then"),
    "cancel forgets what is finished": ("cancel", "if finished(id) then return -1 end", ""),
    "a sweep of one's own is taken for one's own event": ("publish", " and string.sub(done, start) == event", ""),
    "work to stop without an entry stays": ("expire", "if entry and entry_fields(entry) then", "if entry then"),
    "replay keeps the id": ("replay", "local new = id .. '~' .. letter", "local new = id"),
    "a time-out takes the entry from who has work to stop": (
        "common", "redis.call('RENAME', record,", "redis.call('XDEL', T, entry) redis.call('RENAME', record,"
    ),
}  # fmt: skip
IN_CI = tuple(MUTANTS)[:4]


@pytest.fixture
def broken(redis_url: str) -> Iterator[SyncRedis]:
    """A server for scripts that are broken on purpose; the whole ones are back afterwards."""
    connection = SyncRedis(redis_url, name="model")
    yield connection
    connection.close()
    scripts.script.cache_clear()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("name", MUTANTS if LONG else IN_CI)
def test_the_model_finds_a_broken_script(
    name: str, broken: SyncRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, whole, defect = MUTANTS[name]
    folder = Path(shutil.copytree(scripts._FOLDER, tmp_path / "lua"))
    source = (folder / f"{part}.lua").read_text()
    assert source.count(whole) == 1, "the script has changed: this mutant must change with it"
    (folder / f"{part}.lua").write_text(source.replace(whole, defect))
    monkeypatch.setattr(scripts, "_FOLDER", folder)
    scripts.script.cache_clear()
    with pytest.raises(AssertionError):
        explore(broken, 2_000)


def test_the_model_finds_a_daemon_that_does_not_audit(broken: SyncRedis) -> None:
    with pytest.raises(AssertionError):
        explore(broken, 2_000, audits=False)
