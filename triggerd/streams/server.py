"""What is asked about the server and about a queue's keys, for `triggerd doctor` and the daemon's start; reads only."""

from triggerd.streams.script import Call, text


def key_type(key: str) -> Call[str]:
    """``stream``, ``zset``, ...; ``none`` where there is no such key."""
    return Call("type", ("TYPE", key), text)
