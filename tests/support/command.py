"""`python -m triggerd ...` as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.support.servers import REPOSITORY


def triggerd(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; 30 seconds at most."""
    return subprocess.run(
        [sys.executable, "-m", "triggerd", *arguments],
        input=stdin, capture_output=True, text=True, timeout=30, check=False, cwd=REPOSITORY,
        env=os.environ | dict(env or {}),
    )  # fmt: skip
