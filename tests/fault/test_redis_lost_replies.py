"""Replies that never arrive: the server has carried the request out, the connection breaks, nobody knows.

Each verb's reply is swallowed whole, or cut after three bytes. In the end each trigger has had each event once, and
nothing stays pending for a consumer that lives and does not run it.
"""

from collections.abc import Iterator

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.resuming import running
from tests.support.triggers import CountingTrigger, FileTrigger
from tests.support.trouble import ENV, EVENTS, KEYS, LEASE_MS, Scene, durable_server, scene_of, sha
from tests.support.waiting import eventually_sync
from triggerd import Client, Resumer
from triggerd.keys import RESUMER_GROUP, TRIGGER_GROUP
from triggerd.streams.script import script
from triggerd.triggers.testing import SuccessTrigger

VERBS = (
    "enqueue", "claim", "load", "pending", "adopt", "publish", "checkpoint", "bury", "renew", "claim_events",
    "begin_event", "ack", "repair", "drain", "expire", "cancel",
)  # fmt: skip
AFTER_BYTES = [0, 3]
"""Of a reply arrives nothing, or its beginning."""


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with durable_server(folder / "valkey") as server, scene_of(server, folder / "go") as scene:
        for verb in VERBS:
            scene.raw.script_load(script(verb).source)  # a request carries its hash from the first time on
        yield scene


@pytest.fixture
def shared(_shared: Scene) -> Iterator[Scene]:
    """One daemon and one server for the whole file."""
    yield _shared
    _shared.proxy.lose_nothing()
    _shared.daemon.thaw()  # one test that fails half-way is not to fail the others


@pytest.fixture(params=AFTER_BYTES)
def after_bytes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A trigger id of this test's own."""
    return str(request.node.name).replace("[", "-").replace("]", "")


def resp(*arguments: str) -> bytes:
    """How these arguments stand beside each other in a request."""
    return b"".join(f"${len(argument)}\r\n{argument}\r\n".encode() for argument in arguments)


def test_claim(shared: Scene, name: str, after_bytes: int) -> None:
    """redis-py's own retry claimed more, and what the first claim had got waited for the audit of ten minutes."""
    lost = shared.proxy.lose_reply(sha("claim"), name.encode(), after_bytes=after_bytes)
    shared.td.defer(SuccessTrigger(), id=name)
    lost.wait()
    shared.end_once([name])


def test_claim_and_then_the_load_of_the_audit(shared: Scene, name: str, after_bytes: int) -> None:
    losses = [
        shared.proxy.lose_reply(sha(verb), name.encode(), after_bytes=after_bytes) for verb in ("claim", "load", "load")
    ]
    shared.td.defer(SuccessTrigger(), id=name)
    for lost in losses:
        lost.wait()
    shared.end_once([name])


def test_claim_and_then_the_pages_of_the_audit(shared: Scene, name: str, after_bytes: int) -> None:
    claim = shared.proxy.lose_reply(sha("claim"), name.encode(), after_bytes=after_bytes)
    page = shared.proxy.lose_reply(sha("pending"), after_bytes=after_bytes)
    shared.td.defer(SuccessTrigger(), id=name)
    claim.wait()
    page.wait()
    shared.end_once([name])


@pytest.mark.parametrize(("seq", "final"), [("1", "0"), ("3", "0"), ("4", "1")])
def test_publish_of_one_of_several_events(shared: Scene, name: str, after_bytes: int, seq: str, final: str) -> None:
    lost = shared.proxy.lose_reply(sha("publish"), name.encode(), resp(seq, final), after_bytes=after_bytes)
    shared.td.defer(CountingTrigger(events=3), id=name)
    lost.wait()
    shared.end_once([name])
    assert shared.td.handle(name).result(timeout=1).seq == 4


def test_publish_of_the_only_event(shared: Scene, name: str, after_bytes: int) -> None:
    lost = shared.proxy.lose_reply(sha("publish"), name.encode(), after_bytes=after_bytes)
    shared.td.defer(SuccessTrigger("once"), id=name)
    lost.wait()
    shared.end_once([name])
    eventually_sync(lambda: shared.metric("triggerd_events_unpublished") == 0)


def test_checkpoint(shared: Scene, name: str, after_bytes: int) -> None:
    lost = shared.proxy.lose_reply(sha("checkpoint"), name.encode(), after_bytes=after_bytes)
    shared.td.defer(CountingTrigger(events=3), id=name)
    lost.wait()
    shared.end_once([name])


def test_bury(shared: Scene, name: str, after_bytes: int) -> None:
    before = shared.raw.xlen(KEYS.dead)
    lost = shared.proxy.lose_reply(sha("bury"), name.encode(), after_bytes=after_bytes)
    shared.td.defer(("nobody.allows.This", {}), id=name)
    lost.wait()
    shared.end_once([name])
    assert shared.raw.xlen(KEYS.dead) == before + 1
    assert shared.td.handle(name).result(timeout=1).outcome == "failed"


def test_renew(shared: Scene, name: str, after_bytes: int) -> None:
    lapses = shared.metric("triggerd_leases_lapsed_total")
    shared.defer(name, count=1)
    shared.proxy.lose_reply(sha("renew"), after_bytes=after_bytes).wait()
    shared.fire(name)
    shared.end_once([f"{name}-0"])
    shared.wait_up()
    assert shared.metric("triggerd_leases_lapsed_total") == lapses, "the lease was there all the time"


def test_enqueue(shared: Scene, name: str, after_bytes: int) -> None:
    names = [f"{name}-{number}" for number in range(120)]
    with Client(shared.proxy.url) as td:
        lost = shared.proxy.lose_reply(sha("enqueue"), names[-1].encode(), after_bytes=after_bytes)
        td.defer_many({"trigger": SuccessTrigger(), "id": each} for each in names)
        lost.wait()
    shared.end_once(names)


def test_enqueue_beside_a_lost_claim_and_a_lost_publish(shared: Scene, name: str, after_bytes: int) -> None:
    names = [f"{name}-{number}" for number in range(50)]
    losses = [
        shared.proxy.lose_reply(sha(verb), names[-1].encode(), after_bytes=after_bytes)
        for verb in ("enqueue", "claim", "load", "publish", "publish")
    ]
    with Client(shared.proxy.url) as td:
        td.defer_many({"trigger": SuccessTrigger(), "id": each} for each in names)
    for lost in losses:
        lost.wait()
    shared.end_once(names)


def test_adopt(shared: Scene, name: str, after_bytes: int) -> None:
    with DaemonProcess(shared.server.url, env=ENV) as victim:
        shared.daemon.freeze()
        shared.defer(name)
        eventually_sync(lambda: shared.pending() == 5)
        victim.kill()
        shared.daemon.thaw()
    lost = shared.proxy.lose_reply(sha("adopt"), f"{name}-4".encode(), after_bytes=after_bytes)
    lost.wait(4 * LEASE_MS / 1000 + 5)
    shared.fire(name)
    shared.end_once(f"{name}-{number}" for number in range(5))


def test_repair(shared: Scene, name: str, after_bytes: int) -> None:
    shared.daemon.freeze()
    shared.defer(name)
    shared.raw.xreadgroup(TRIGGER_GROUP, "deleted by hand", {KEYS.triggers: ">"})
    shared.raw.xgroup_delconsumer(KEYS.triggers, TRIGGER_GROUP, "deleted by hand")
    shared.daemon.thaw()
    lost = shared.proxy.lose_reply(sha("repair"), f"{name}-4".encode(), after_bytes=after_bytes)
    with DaemonProcess(shared.proxy.url, env=ENV) as starting:
        lost.wait()
        shared.fire(name)
        shared.end_once(f"{name}-{number}" for number in range(5))
        assert starting.stop() == 0


def test_drain(shared: Scene, name: str, after_bytes: int) -> None:
    shared.daemon.freeze()
    with DaemonProcess(shared.proxy.url, env=ENV) as leaving:
        shared.defer(name)
        eventually_sync(lambda: shared.pending() == 5)
        lost = shared.proxy.lose_reply(sha("drain"), after_bytes=after_bytes)
        assert leaving.stop() == 0
        lost.wait()
    shared.daemon.thaw()
    shared.fire(name)
    shared.end_once(f"{name}-{number}" for number in range(5))


def test_expire(shared: Scene, name: str, after_bytes: int) -> None:
    lost = shared.proxy.lose_reply(sha("expire"), name.encode(), after_bytes=after_bytes)
    shared.td.defer(FileTrigger(path="/nowhere"), id=name, timeout=0.2)
    lost.wait()
    shared.end_once([name])
    assert shared.td.handle(name).result(timeout=1).outcome == "timed_out"
    eventually_sync(lambda: shared.metric("triggerd_triggers_running") == 0)


def test_cancel(shared: Scene, name: str, after_bytes: int) -> None:
    shared.td.defer(FileTrigger(path="/nowhere"), id=name)
    eventually_sync(lambda: shared.td.handle(name).status() == "running")
    with Client(shared.proxy.url) as td:
        lost = shared.proxy.lose_reply(sha("cancel"), name.encode(), after_bytes=after_bytes)
        assert td.handle(name).cancel() in ("requested", "finished")  # the first of two requests may have done it
        lost.wait()
    shared.end_once([name])
    assert shared.td.handle(name).result(timeout=1).outcome == "cancelled"


@pytest.mark.parametrize("verb", ["claim_events", "begin_event", "ack", "renew"])
def test_of_a_resumer(shared: Scene, name: str, after_bytes: int, verb: str) -> None:
    shared.raw.delete(EVENTS)
    seen: list[str] = []
    with Client(shared.proxy.url) as td:
        resumer = Resumer(td, lease_ms=LEASE_MS)
        resumer.on_event(lambda event, _: seen.append(event.trigger_id))
        with running(resumer):
            shared.td.defer(SuccessTrigger(), id=f"{name}-0")
            eventually_sync(lambda: seen == [f"{name}-0"])
            needles = (name.encode(),) if verb == "claim_events" else (resumer.name.encode(),) if verb != "ack" else ()
            lost = shared.proxy.lose_reply(sha(verb), *needles, after_bytes=after_bytes)
            shared.td.defer(SuccessTrigger(), id=f"{name}-1")
            lost.wait()
            eventually_sync(lambda: set(seen) == {f"{name}-0", f"{name}-1"})
            eventually_sync(lambda: shared.raw.xlen(EVENTS) == 0)
            assert shared.raw.xpending(EVENTS, RESUMER_GROUP)["pending"] == 0
    assert len(seen) <= 3, "at least once, and one reply was lost"


def test_connections_that_the_server_closes_when_idle(shared: Scene, name: str) -> None:
    shared.raw.config_set("timeout", 1)
    try:
        with Client(shared.proxy.url) as td:
            shared.defer(name)
            first = td.defer(SuccessTrigger(), id=f"{name}-first")
            assert first.result(timeout=10).outcome == "fired"
            busy = {client["id"] for client in shared.raw.client_list()}
            # The pool of the client, and those of the daemon that nobody has used since.
            eventually_sync(lambda: len({client["id"] for client in shared.raw.client_list()} & busy) < len(busy))
            eventually_sync(lambda: not [c for c in shared.raw.client_list() if c["name"] == td.caller.name])
            second = td.defer(SuccessTrigger(), id=f"{name}-second")
            shared.fire(name)
            assert second.result(timeout=10).outcome == "fired"
        shared.end_once([f"{name}-{number}" for number in range(5)])
    finally:
        shared.raw.config_set("timeout", 0)
