"""The shipped units: clean for systemd, and hardened to 1.5 or less."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from triggerd.data import data_path
from triggerd.settings import Settings

WORST_ALLOWED = 1.5


def render(name: str, folder: Path) -> Path:
    """A copy that names the program of this virtual environment: systemd checks that it is there."""
    program = Path(sys.executable).parent / "triggerd"
    assert program.exists(), "triggerd is not installed in this environment: make setup"
    unit = folder / name.replace("@.", "@etl.")
    unit.write_text(data_path(f"systemd/{name}").read_text().replace("/opt/triggerd/bin/triggerd", str(program)))
    return unit


def analyze(*arguments: str) -> str:
    tool = shutil.which("systemd-analyze")
    assert tool is not None, "this test needs systemd-analyze (Debian's package systemd)"
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["triggerd.service", "triggerd@.service"])
def test_a_unit_is_clean_and_hardened(name: str, tmp_path: Path) -> None:
    unit = render(name, tmp_path)
    assert analyze("verify", "--man=no", str(unit)) == ""
    report = analyze("security", "--offline=true", "--no-pager", str(unit))
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", report)
    assert float(level) <= WORST_ALLOWED


def test_the_instance_unit_has_the_settings_of_the_plain_one() -> None:
    def settings(name: str) -> list[str]:
        lines = data_path(f"systemd/{name}").read_text().replace("/%i", "").replace(" (%i)", "").splitlines()
        return [line for line in lines if "=" in line and not line.startswith("#")]

    instance, plain = settings("triggerd@.service"), settings("triggerd.service")
    differing = {line.partition("=")[0] for line in set(instance) ^ set(plain)}
    assert differing <= {"ExecStart", "EnvironmentFile"}


@pytest.mark.parametrize("name", ["triggerd.service", "triggerd@.service"])
def test_systemd_waits_longer_than_a_drain_takes(name: str) -> None:
    [stop_s] = re.findall(r"^TimeoutStopSec=(\d+)s$", data_path(f"systemd/{name}").read_text(), re.MULTILINE)
    assert float(stop_s) > Settings().drain_timeout_s
