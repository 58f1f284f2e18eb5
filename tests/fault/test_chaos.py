"""`make chaos`, for some seconds: it breaks what it says, counts what it did, and its verdict is its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import REPOSITORY


@pytest.mark.deadline(150)
def test_a_short_chaos_ends_with_the_verdict_that_nothing_was_lost(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--minutes", "0.2", "--seed", "11", "--triggers", "300", "--json"],
        cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(tmp_path), "TRIGGERD_QUEUES": "not-mine"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["ok"] is True
    assert report["violations"] == []
    assert report["deferred"] > 300
    assert report["events resumed"] > 100
    assert sum(report["acts"].values()) >= 3
    assert "in flight" in run.stderr, "it shows how it goes"
    assert list(tmp_path.iterdir()) == [], "and leaves nothing behind"
