"""What the doctor makes of a server's INFO, where no real server can be brought into that state at will."""

from typing import Any

import pytest

from triggerd.daemon.doctor_server import (
    Info,
    check_durability,
    check_memory,
    check_replicas,
    check_role,
    check_version,
)


@pytest.mark.parametrize(
    ("info", "level", "words"),
    [
        ({"redis_version": "6.0.16"}, "refuse", "Redis 6.0.16"),
        ({"redis_version": "5.9.9"}, "refuse", "Redis 5.9.9"),
        ({"redis_version": "6.2.0"}, "ok", "Redis 6.2.0"),
        ({"redis_version": "10.0.0"}, "ok", "Redis 10.0.0"),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.1"}, "ok", "Valkey 9.0.1"),
        ({}, "unchecked", "does not tell"),
    ],
)
def test_what_is_older_than_6_2_is_refused(info: Info, level: str, words: str) -> None:
    [found] = check_version(info)
    assert (found.level, words in found.found) == (level, True)


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"role": "slave"}, "wait"),
        ({"role": "master", "loading": 1}, "wait"),
        ({"role": "master", "async_loading": 1}, "wait"),
        ({"role": "master", "loading": 0}, "ok"),
        ({}, "ok"),
    ],
)
def test_what_passes_by_itself_is_waited_for(info: Info, level: str) -> None:
    assert [found.level for found in check_role(info)] == [level]


@pytest.mark.parametrize(
    ("used", "limit", "policy", "level"),
    [
        (10, 0, "allkeys-lru", "warn"),
        (10, 100, "allkeys-lru", "refuse"),
        (10, 100, "volatile-ttl", "refuse"),
        (80, 100, "noeviction", "ok"),
        (81, 100, "noeviction", "warn"),
    ],
)
def test_memory_is_limited_not_nearly_full_and_never_evicted(used: int, limit: int, policy: str, level: str) -> None:
    info = {"used_memory": used * 10**6, "maxmemory": limit * 10**6, "maxmemory_policy": policy}
    assert [found.level for found in check_memory(info)] == [level]


@pytest.mark.parametrize(
    ("info", "appendfsync", "level"),
    [
        ({"aof_enabled": 0}, "always", "warn"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "always", "warn"),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "everysec", "warn"),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "always", "ok"),
        ({"aof_enabled": 1}, None, "ok"),
        ({}, "always", "unchecked"),
    ],
)
def test_only_an_append_only_file_that_is_written_always_is_without_a_warning(
    info: Info, appendfsync: str | None, level: str
) -> None:
    assert [found.level for found in check_durability(info, appendfsync)] == [level]


def replica(**differs: Any) -> dict[str, Any]:
    return {"ip": "h", "port": 1, "state": "online", "offset": 100} | differs


@pytest.mark.parametrize(
    ("replicas", "min_replicas", "words"),
    [
        ([], "0", ["none"]),
        ([replica()], "1", ["1, none behind"]),
        ([replica()], None, ["1, none behind"]),
        ([replica()], "0", ["1, min-replicas-to-write 0"]),
        ([replica(), replica(offset=-20_000_000)], "1", ["h:1 is online, 20,000,100 bytes behind"]),
        ([replica(state="wait_bgsave")], "1", ["h:1 is wait_bgsave, 0 bytes behind"]),
    ],
)
def test_replicas_are_up_to_date_and_waited_for(
    replicas: list[dict[str, Any]], min_replicas: str | None, words: list[str]
) -> None:
    info: dict[str, Any] = {"connected_slaves": len(replicas), "master_repl_offset": 100}
    info |= {f"slave{number}": replica for number, replica in enumerate(replicas)}
    assert [found.found for found in check_replicas(info, min_replicas)] == words
