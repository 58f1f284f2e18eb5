"""The wheel as a user gets it: with and without the daemon, in a virtual environment that has never seen this tree."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.servers import REPOSITORY

pytestmark = pytest.mark.deadline(240)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(REPOSITORY))
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the SDK only."""
    return install(tmp_path_factory.mktemp("bare"), str(wheel))


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the daemon and an embedded server."""
    return install(tmp_path_factory.mktemp("full"), f"{wheel}[daemon,embedded]")


def install(folder: Path, what: str) -> Path:
    venv.create(folder, with_pip=True)
    run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what)
    return folder / "bin"


def run(*command: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it far from this tree, so that only what is installed can be found."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=env)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def test_the_wheel_carries_the_files_that_stand_at_the_top_of_the_tree(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"triggerd/py.typed", "triggerd/_data/config/triggerd.toml", "triggerd/_data/waiters/README.md"}
    wanted |= {f"triggerd/_data/waiters/{path.name}" for path in (REPOSITORY / "waiters").glob("*.json")}
    wanted |= {f"triggerd/_data/systemd/{path.name}" for path in (REPOSITORY / "systemd").iterdir()}
    wanted |= {f"triggerd/streams/lua/{path.name}" for path in (REPOSITORY / "triggerd/streams/lua").glob("*.lua")}
    assert wanted <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


def test_the_sdk_needs_redis_and_msgpack_alone(bare: Path) -> None:
    listed = json.loads(
        run(str(bare / "python"), "-m", "pip", "--disable-pip-version-check", "list", "--format=json").stdout
    )
    # async-timeout and PyJWT come with some releases of redis-py.
    assert {entry["name"].lower() for entry in listed} - {"pip", "setuptools", "async-timeout", "pyjwt"} == {
        "triggerd", "redis", "msgpack",
    }  # fmt: skip
    program = (
        "from triggerd import *; from triggerd.triggers.testing import SuccessTrigger\n"
        "from triggerd.deferral import plan_deferral; print(plan_deferral(SuccessTrigger(1)).reply_to)"
    )
    assert run(str(bare / "python"), "-c", program).stdout == "default\n"


def test_without_the_daemon_the_command_says_in_one_line_what_to_install(bare: Path) -> None:
    done = run(str(bare / "triggerd"), "run", expect=2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'triggerd[daemon]'" in done.stderr


def test_the_daemon_finds_its_waiters_and_its_server(full: Path) -> None:
    assert run(str(full / "triggerd"), "--version").stdout.startswith("triggerd")
    listed = json.loads(run(str(full / "triggerd"), "waiters", "ls", "redshift", "--json").stdout)
    assert "cluster_paused" in {waiter["waiter"] for waiter in listed if waiter["source"] == "shipped"}
    program = (
        "import threading, os, signal, time\n"
        "from triggerd.embedded import EmbeddedServer\n"
        "from triggerd import Client\n"
        "from triggerd.triggers.testing import SuccessTrigger\n"
        "import subprocess, sys\n"
        "with EmbeddedServer() as server:\n"
        "    daemon = subprocess.Popen([sys.argv[1], 'run', '--redis', server.url, '--http-port', '0'])\n"
        "    print(Client(server.url).defer(SuccessTrigger({'status': 'success'})).result(timeout=30)['status'])\n"
        "    daemon.terminate(); print(daemon.wait(30))\n"
    )
    assert run(str(full / "python"), "-c", program, str(full / "triggerd")).stdout == "success\n0\n"
