"""Every Redis key and field, named once; the Lua scripts get these names from `LUA_NAMES`.

With P = ``triggerd:{<queue>}:`` (one hash tag, so one slot per queue):

    P triggers            stream   id, reply, deadline, env (the trigger envelope) [, on_timeout]; group "triggerd"
    P trigger:<id>        hash     the record of a trigger in flight: entry, reply, deferred
                                   [, seq, publisher, cancel, checkpoint, adoptions, quarantined, replay_of]
    P done:<id>           string   "<outcome> <seq> <finished_ms> <by>\\n<event envelope>", PX result_ttl: finished
    P stopping:<id>       hash     the record of a trigger that has timed out and whose remote work its caller wants
                                   stopped: finished, its entry is kept until that call has ended
    P deadlines, cancels  zset     id -> epoch ms; every trigger in flight has a deadline
    P consumer:<name>     string   a consumer's lease, PX: "alive" or "quiet"; or the word "drained"
    P events:<reply_to>   stream   id, seq, outcome, event (the event envelope); group "resumers"; acked = deleted
    P dead                stream   dead letters: id, entry, reply, why, code, time, and what it was: bytes (a trigger
                                   envelope), fields (JSON of an entry without one), or seq, outcome, event
    P control             pub/sub  hints only: losing one delays, never loses

There = in flight (record) or finished (done): existence is the only state.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from triggerd.errors import NameNotValidError

TRIGGER_GROUP = "triggerd"
RESUMER_GROUP = "resumers"
ALIVE, QUIET, DRAINED, LAPSED = "alive", "quiet", "drained", "dead"
"""What the key of a consumer says: it has a lease, it has one and takes nothing new, it has left. No key: dead."""
RELEASED = "released"
"""The consumer name under which events lie that a resumer gave back; it never has a lease."""

# Fields of a trigger entry, in the order in which they are always written: repeated names cost a stream nothing.
ID, REPLY, DEADLINE, ENV = "id", "reply", "deadline", "env"
ON_TIMEOUT, STOP_WORK = "on_timeout", "cancel"  # after them, where the caller wants the remote work stopped
# Fields of the record.
ENTRY, DEFERRED, SEQ, PUBLISHER, CANCEL, CHECKPOINT, ADOPTIONS, QUARANTINED, REPLAY_OF = (
    "entry", "deferred", "seq", "publisher", "cancel", "checkpoint", "adoptions", "quarantined", "replay_of",
)  # fmt: skip
# Fields of an event entry (with ID and SEQ).
OUTCOME, EVENT = "outcome", "event"
# Fields of a dead letter (with ID, ENTRY and REPLY).
WHY, CODE, TIME, BYTES, FIELDS = "why", "code", "time", "bytes", "fields"

MAX_ID_BYTES = 512
MAX_ENV_BYTES = 256 * 1024
"""Of an `env` no daemon is handed more than one byte beyond: a foreign producer may have put a gigabyte there."""
MAX_ACTOR_CHARS = 200
BATCH = 100
"""Items in one script call at most: 100 publishes take 2-3 ms of the server, 1,000 would take 20."""

_is_name = lru_cache(maxsize=1024)(re.compile(r"[A-Za-z0-9_.-]{1,64}\Z").match)
_TRIGGERS, _RECORD, _DONE, _STOPPING, _DEADLINES, _CANCELS, _CONSUMER, _EVENTS, _DEAD, _CONTROL = (
    "triggers", "trigger:", "done:", "stopping:", "deadlines", "cancels", "consumer:", "events:", "dead", "control",
)  # fmt: skip


def check_name(what: str, value: str) -> str:
    """Return `value` if it can name a queue or a result stream; braces would break the hash tag."""
    if not isinstance(value, str) or not _is_name(value):
        raise NameNotValidError(what, value, "1 to 64 letters, digits, '_', '.' or '-' are allowed")
    return value


def check_id(value: str) -> str:
    """Return `value` if it can be a trigger id: text of 1 to 512 bytes without control characters."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.encode()) <= MAX_ID_BYTES:
        raise NameNotValidError("trigger id", value, f"printable text of 1 to {MAX_ID_BYTES} bytes is allowed")
    return value


def check_actor(value: str) -> str:
    """Return `value` if it can say who asked for something: it stands in the first line of a `done` string."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_ACTOR_CHARS:
        raise NameNotValidError("by", value, f"printable text of 1 to {MAX_ACTOR_CHARS} characters is allowed")
    return value


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one trigger queue."""

    queue: str

    def __post_init__(self) -> None:
        check_name("queue", self.queue)

    @property
    def prefix(self) -> str:
        return f"triggerd:{{{self.queue}}}:"

    @property
    def triggers(self) -> str:
        return self.prefix + _TRIGGERS

    @property
    def deadlines(self) -> str:
        return self.prefix + _DEADLINES

    @property
    def cancels(self) -> str:
        return self.prefix + _CANCELS

    @property
    def dead(self) -> str:
        return self.prefix + _DEAD

    @property
    def control(self) -> str:
        return self.prefix + _CONTROL

    def record(self, trigger_id: str) -> str:
        return self.prefix + _RECORD + trigger_id

    def done(self, trigger_id: str) -> str:
        return self.prefix + _DONE + trigger_id

    def stopping(self, trigger_id: str) -> str:
        return self.prefix + _STOPPING + trigger_id

    def consumer(self, name: str) -> str:
        return self.prefix + _CONSUMER + name

    def events(self, reply_to: str) -> str:
        return self.prefix + _EVENTS + check_name("reply_to", reply_to)


_FIELDS = (
    ID, REPLY, DEADLINE, ENV, ON_TIMEOUT, ENTRY, DEFERRED, SEQ, PUBLISHER, CANCEL, CHECKPOINT, ADOPTIONS, QUARANTINED,
    REPLAY_OF, OUTCOME, EVENT,
)  # fmt: skip
_DEAD_FIELDS = (WHY, CODE, TIME, BYTES, FIELDS)
_LUA_KEYS = ", ".join(
    f"{name} = '{key}'"
    for name, key in (
        ("TRIGGERS", _TRIGGERS), ("RECORD", _RECORD), ("DONE", _DONE), ("STOPPING", _STOPPING),
        ("DEADLINES", _DEADLINES), ("CANCELS", _CANCELS), ("CONSUMER", _CONSUMER), ("EVENTS", _EVENTS),
        ("DEAD", _DEAD), ("CONTROL", _CONTROL),
    )
)  # fmt: skip
_LUA_FIELDS = ", ".join(f"{name.upper()} = '{name}'" for name in (*_FIELDS, *_DEAD_FIELDS))

LUA_NAMES = f"""\
local KEY = {{ {_LUA_KEYS} }}
local F = {{ {_LUA_FIELDS} }}
local GROUP = '{TRIGGER_GROUP}'
local RESUMERS = '{RESUMER_GROUP}'
local ALIVE, QUIET, DRAINED, LAPSED = '{ALIVE}', '{QUIET}', '{DRAINED}', '{LAPSED}'
local STOP_WORK = '{STOP_WORK}'
local RELEASED = '{RELEASED}'
local MAX_ID_BYTES, MAX_ENV_BYTES = {MAX_ID_BYTES}, {MAX_ENV_BYTES}
local P = string.sub(KEYS[1], 1, -#KEY.TRIGGERS - 1)
local T = KEYS[1]
"""
"""The Lua scripts' header: these names, and from KEYS[1] (the trigger stream T) the prefix P of all other keys."""
