"""A Resumer in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from triggerd import Resumer


@contextmanager
def running(resumer: Resumer) -> Iterator[Resumer]:
    """Run it in the block; leaving stops it and waits for its end."""
    thread = threading.Thread(target=resumer.run)
    thread.start()
    try:
        yield resumer
    finally:
        resumer.stop()
        thread.join()
