"""`triggerd` under an audit hook: every import and every program started is a line of the file $TRIGGERD_TEST_AUDIT.

Run as ``python tests/support/audited.py FILE run ...``.
"""

import os
import sys
from pathlib import Path

_WATCHED = ("import", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn")

sys.path.insert(0, str(Path.cwd()))
_out = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _note(event: str, args: tuple[object, ...]) -> None:
    if event in _WATCHED:
        os.write(_out, f"{event} {args[0]!r}\n".encode(errors="replace"))


if __name__ == "__main__":
    from triggerd.__main__ import main

    sys.addaudithook(_note)
    main()
