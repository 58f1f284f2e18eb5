"""The benchmarks still run: each with `--smoke`, tiny and ours alone. What they say of speed is no test's business."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.servers import REPOSITORY

# What somebody may have set for work of their own: a benchmark must not care.
_ELSEWHERE = {"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def _smoke(*program: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", *program, "--smoke"],
        cwd=REPOSITORY, env={**os.environ, **_ELSEWHERE}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("program", "sides"),
    [
        ("polls", {"ecs, ours, single", "ecs, ours, botocore", "ecs, ours, merged", "ecs, ours, shared"}),
        ("waits", {"engine, 200", "daemon, 200"}),
        ("quota", {"merged", "one by one"}),
        ("quota --throttled-half", {"half throttled"}),
        ("soak", {"triggers, daemon", "AWS waits, engine"}),
        ("throughput", {"triggerd"}),
        ("latency", set()),
        ("recovery", set()),
    ],
)
def test_a_benchmark_measures_every_side_of_ours(program: str, sides: set[str]) -> None:
    name, *options = program.split()
    found = _smoke(f"bench.{name}", *options)
    assert found["bench"] == name
    assert isinstance(found["figures"], dict)
    assert found["figures"]
    assert sides <= set(found["figures"])
    assert found["packages"]


def test_the_servers_scripts_are_timed_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.scripts", "--pending", "200", "--rounds", "1", "--json"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["servers"]
