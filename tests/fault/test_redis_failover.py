"""A master that turns replica, for a while or for good: what was promised to its connections, the next master keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.servers import free_port
from tests.support.trouble import FLAVOURS, KEYS, LEASE_MS, Scene, durable_server, kill, pause, raw_of
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.embedded import EmbeddedServer
from triggerd.triggers.testing import SuccessTrigger

LEASE_S = LEASE_MS / 1000


@pytest.mark.parametrize(
    ("scene", "stale"),
    [(("valkey9",), "yes"), (("redis6.2",), "yes"), (("valkey9",), "no")],
    indirect=["scene"],
    ids=["valkey9-READONLY", "redis6.2-READONLY", "MASTERDOWN"],
)
def test_a_master_turned_replica_and_back(scene: Scene, stale: str) -> None:
    with scene.trouble():
        scene.raw.config_set("replica-serve-stale-data", stale)
        scene.raw.replicaof("127.0.0.1", free_port())
        scene.fire("during")
        scene.wait_down()
        pause(LEASE_S)
        scene.raw.replicaof("NO", "ONE")
        scene.wait_up()
    scene.all_end()


@contextmanager
def replica_of(master: EmbeddedServer, folder: Path) -> Iterator[EmbeddedServer]:
    """A second server that has everything which the first one has."""
    with durable_server(folder, "valkey9", "--repl-diskless-sync-delay", "0") as server, raw_of(server) as replica:
        follow(replica, master)
        with raw_of(master) as raw:
            raw.set("the last word", 1)
            assert raw.wait(1, 5000) == 1
        yield server


def follow(replica: Any, master: EmbeddedServer) -> None:
    """Make a server the replica of another, and wait until it has caught up."""
    with raw_of(master) as raw:
        port = int(raw.config_get("port")["port"])
        if port == 0:
            port = free_port()
            raw.config_set("repl-diskless-sync-delay", 0)
            raw.config_set("bind", "127.0.0.1")
            raw.config_set("port", port)
    replica.replicaof("127.0.0.1", port)
    eventually_sync(lambda: replica.info("replication")["master_link_status"] == "up")


def test_a_failover_to_a_replica(scene: Scene, tmp_path: Path) -> None:
    """The address is switched over early, and the old master comes back as a replica."""
    old = scene.server
    with replica_of(old, tmp_path / "replica") as new, raw_of(new) as promoted:
        with scene.trouble():
            kill(old)
            scene.proxy.upstream = new.socket_path
            scene.fire("during")
            scene.wait_down()
            promoted.replicaof("NO", "ONE")
            old.start()
            with raw_of(old) as demoted:
                follow(demoted, new)
            scene.wait_up()
        scene.attach(new)
        scene.all_end()


def test_a_demoted_master_keeps_no_connection(scene: Scene, tmp_path: Path) -> None:
    """The address means the new master by now, but nothing cuts the connections to the old one, which still answers."""
    with replica_of(scene.server, tmp_path / "replica") as new, raw_of(new) as promoted:
        with scene.trouble():
            promoted.replicaof("NO", "ONE")
            follow(scene.raw, new)
            scene.proxy.upstream = new.socket_path
            scene.fire("during")
            scene.attach(new)
            scene.end_once(scene.ids("during"))
            scene.wait_up()
        scene.all_end()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_producer_leaves_a_demoted_master(tmp_path: Path, flavour: str) -> None:
    with (
        durable_server(tmp_path / "old", flavour) as old,
        durable_server(tmp_path / "new", flavour) as new,
        Proxy(old.socket_path) as proxy,
        Client(proxy.url) as td,
    ):
        td.defer(SuccessTrigger(), id="before")
        with raw_of(old) as demoted:
            demoted.replicaof("127.0.0.1", free_port())
        proxy.upstream = new.socket_path
        td.defer(SuccessTrigger(), id="after")
        with raw_of(new) as raw:
            assert raw.xlen(KEYS.triggers) == 1
