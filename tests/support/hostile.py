"""Hostile entries for the trigger queue and the result stream, each made from a recipe of a few bytes.

A recipe is what hypothesis draws: the same bytes make the same entry, and smaller bytes make a tamer one.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgpack

from triggerd.envelope import VERSION, encode_trigger, pack, pack_binary
from triggerd.event import Continuation, EventError, encode_event

RECIPE_BYTES = 8
Fields = dict[bytes, bytes]

_TRIGGERS = "triggerd.triggers"
_PAYLOAD = {
    "list": [1, -1, 2**63, 1.5, None, True], "tuple": (1, (2, ())), "set": {1, "a"}, "when": dt.date(2026, 1, 2),
    "span": dt.timedelta(days=1), "money": Decimal("1.10"), "bytes": b"\xff\x00", "text": "\u00e9\U0001f40d",
}  # fmt: skip
_RESUME = Continuation("execute_complete", {"n": 1}, ("acme.tasks.Task", {"cluster": "dwh"}), {"run": "r1"}).encode()

DANGEROUS = (
    "os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "pty.spawn", "antigravity.geohash", "this.s",
    "triggerd.__main__.main", "triggerd.cli.run.run", "triggerd.daemon.daemon.Daemon", "tests.support.canary.Canary",
    f"{_TRIGGERS}.testing.__loader__", f"{_TRIGGERS}.testing.SuccessTrigger.__init__", f"{_TRIGGERS}.testing", "os",
    f"{_TRIGGERS}.testing.successtrigger", ".", "..", "a..b", ".SuccessTrigger",
    f" {_TRIGGERS}.testing.SuccessTrigger",
    f"{_TRIGGERS}.testing.SuccessTrigger\n", f"{_TRIGGERS}.testing\x00.SuccessTrigger", "x" * 513, "a." * 250 + "b",
    "\u202eos.system", "tests.support.triggers._Kwargs", "../../etc/passwd", "{}", "%s%n", "*", "?", "[a-z]*",
    "os:system",
    f"{_TRIGGERS}.t\u0435sting.SuccessTrigger", "\ud800",
)  # fmt: skip


def _trigger(classpath: str, kwargs: bytes, resume: bytes = _RESUME, version: bytes = pack(VERSION)) -> bytes:
    name = classpath.encode("utf-8", "surrogatepass")
    return b"\x94" + version + pack_binary(resume) + b"\xda" + len(name).to_bytes(2, "big") + name + pack_binary(kwargs)


_VALID = (
    encode_trigger(f"{_TRIGGERS}.testing.SuccessTrigger", {}, _RESUME),
    encode_trigger(f"{_TRIGGERS}.testing.SuccessTrigger", {"payload": _PAYLOAD}, _RESUME),
    encode_trigger(f"{_TRIGGERS}.testing.FailureTrigger", {"message": "no"}),
    encode_trigger(f"{_TRIGGERS}.time.DateTimeTrigger", {"moment": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, _RESUME),
    encode_trigger(f"{_TRIGGERS}.time.TimeDeltaTrigger", {"seconds": 0.001}, _RESUME),
    encode_trigger(f"{_TRIGGERS}.aws.AwsWaiterTrigger", {"service": "none", "waiter_name": "x", "waiter_args": {}}),
)
_EVENTS = (
    encode_event({"status": "success", "value": 1}, resume=Continuation().encode()),
    encode_event(_PAYLOAD, resume=_RESUME, details={"polls": 3}),
    encode_event(None, resume=b"", error=EventError("trigger_raised", "no", "ValueError"), fired_ms=1),
)

_LENGTHS = (
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xdc\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xc7\xff\x02", b"\xc6\x00\x00\x00\x00", b"\xc1", b"\xde\x7f\xff",
)  # fmt: skip
_DEEP = (b"\x91", b"\x81\xa1k", b"\x81", b"\xdd\x00\x00\x00\x01")
_VALUES = (  # no kwargs, or kwargs that no constructor expects, as msgpack
    b"", b"\xc0", b"\x01", b"\xa1x", b"\x90", b"\x81\x01\x02", b"\x81\xc4\x01a\x01", b"\x81\x90\x01",
    b"\x81\xa4self\x01",
    b"\x81\xa9__class__\x01", b"\x82\xa7payload\x01\xa7payload\x02", b"\x81\xa7payload\xcb\x7f\xf8" + b"\0" * 6,
    b"\x81\xa7payload\xd6\xff\xff\xff\xff\xff", b"\x81\xa7payload\xc7\x00\x01", b"\x81\xa7payload\xd4\x02\x90",
    b"\x81\xa7payload\xc7\x03\x02\x91\x91\x90", b"\x81\xa7payload\xc7\x02\x07\xa1x", b"\x81\xa7payload\xa3\xed\xa0\x80",
    *(b"\x81\xa7payload" + msgpack.packb(msgpack.ExtType(code, msgpack.packb(value))) for code, value in (
        (4, "9999-99-99"), (4, "2026-01-01T00:00:00+99:99"), (5, 7), (6, [2**62, 0, 0]), (6, ["a"]), (6, [1] * 9),
        (7, "1e999999999"), (7, "sNaN"), (7, "9" * 5000), (1, {"a": 1}), (2, [[1]]), (3, list(range(5000))),
        (77, None))),
    *(b"\x81\xa7seconds" + msgpack.packb(value) for value in (-1, 1e308, float("nan"), "x", None, 2**63)),
    *(b"\x81\xa6moment" + msgpack.packb(value) for value in ("now", "0001-01-01T00:00:00+23:59", 5, [1])),
)  # fmt: skip
_VERSIONS = (
    b"\x00",
    b"\x02",
    b"\xff",
    b"\xcf" + b"\xff" * 8,
    b"\xc3",
    b"\xcb\x3f\xf0" + b"\0" * 6,
    b"\xa11",
    b"\xc0",
    b"\x90",
)
_SHAPES = (
    b"", b"\x90", b"\x80", b"\xc0", b"\x01", b"\x91\x01", b"\x92\x01\x02", b"\x94\x01\x02\x03\x04",
    b"\x95\x01\xc4\x00\xa1x\x80\x01", b"\x94\x01\xc4\x00\xa0\xc4\x01\x80", b"\x94\x01\xc4\x00\xc4\x01x\xc4\x01\x80",
    b"\xd4\x01\x94", b'{"classpath": "x"}',
)  # fmt: skip


def _nested(a: int, b: int) -> bytes:
    depth = a * 8 + b if a < 250 else a * 240
    if b % 5 == 4:  # each level in an extension of its own
        packed = b"\xc0"
        for _ in range(min(depth, 200)):
            packed = msgpack.packb(msgpack.ExtType(1 + b % 3, b"\x91" + packed))
        return b"\x81\xa7payload" + packed
    return b"\x81\xa7payload" + _DEEP[b % 4] * depth + b"\xc0"


def _mutated(valid: bytes, other: bytes, how: int, a: int, b: int) -> bytes:
    """`valid` damaged in one of the ways in which any msgpack can be."""
    at = (a * 256 + b) % len(valid)
    match how:
        case 0:
            return valid
        case 1:
            return valid[:at] + bytes([valid[at] ^ (1 << (b % 8))]) + valid[at + 1 :]
        case 2:
            return valid[:at]
        case 3:
            return valid[:at] + other[(b * 7) % len(other) :]
        case 4:
            return valid[:at] + _LENGTHS[b % len(_LENGTHS)] + valid[at + 1 :]
        case 5:
            return valid + bytes([a]) * (b + 1)
        case 6:
            return _SHAPES[b % len(_SHAPES)]
        case _:
            return valid[:at] + bytes([a, b]) * (how % 5) + valid[at + 2 :]


def envelope(which: int, how: int, a: int, b: int) -> bytes:
    """A trigger envelope."""
    success = f"{_TRIGGERS}.testing.SuccessTrigger"
    match how % 16:
        case 8 | 9:
            return _trigger(DANGEROUS[(a * 256 + b) % len(DANGEROUS)], b"\x80")
        case 10 | 11:
            paths = (success, f"{_TRIGGERS}.time.TimeDeltaTrigger", f"{_TRIGGERS}.time.DateTimeTrigger")
            return _trigger(paths[a % 3], _VALUES[b % len(_VALUES)])
        case 12:
            return _trigger(success, b"\x80", version=_VERSIONS[b % len(_VERSIONS)])
        case 13:
            return _trigger(success, _nested(a, b))
        case 14 if a > 250:
            return _trigger(success, b"\x81\xa7payload" + msgpack.packb(b"x" * (a * 1_200)))
        case 14:
            return _trigger(success, b"\x80", resume=_VALUES[b % len(_VALUES)])
        case damage:
            return _mutated(_VALID[which % len(_VALID)], _VALID[a % len(_VALID)], damage, a, b)


_IDS: tuple[Callable[[bytes, int], bytes | None], ...] = (
    lambda own, b: b"",
    lambda own, b: None,
    lambda own, b: own + b"x" * (400 + b),
    lambda own, b: own + bytes([b % 32]),
    lambda own, b: own + b"\n1 fired",
    lambda own, b: b"\xff\xfe" + own + bytes([b]),
    lambda own, b: own + b"}:{x}",
    lambda own, b: b"twice-%d" % (b % 4),
    lambda own, b: own + "\u202e\U0001f40d".encode(),
    lambda own, b: own + b"\xed\xa0\x80",
)
_REPLIES = (
    b"", None, b"other", b"a}b", b"{x}", b"a b", b"a:b", b"x" * 64, b"x" * 65, b"\xff", b"../x", b"a\n", b"-._",
    b"\x00",
)  # fmt: skip
_DEADLINES = (
    None, b"", b"0", b"-1", b"1e300", b"nan", b"inf", b"-inf", b"0x10", b"9" * 20, b"soon", b"1.5", b"\xff", b" 5 ",
)  # fmt: skip
_ON_TIMEOUTS = (b"cancel", b"", b"\xff", b"CANCEL")


def entry(recipe: bytes, number: int) -> Fields:
    """One entry of the trigger stream, as a foreign producer would add it with a plain XADD."""
    which, how, a, b, field, value, *_ = recipe
    trigger_id = b"t%d" % number
    fields: dict[bytes, bytes | None] = {
        b"id": trigger_id, b"reply": b"default", b"deadline": None, b"env": envelope(which, how, a, b)
    }  # fmt: skip
    match field % 16:
        case 8 | 9:
            fields[b"id"] = _IDS[value % len(_IDS)](trigger_id, b)
        case 10 | 11:
            fields[b"reply"] = _REPLIES[value % len(_REPLIES)]
        case 12 | 13:
            fields[b"deadline"] = _DEADLINES[value % len(_DEADLINES)]
            fields[b"on_timeout"] = _ON_TIMEOUTS[a % 4] if b % 2 else None
        case 14 if value % 4 == 0:
            fields = {b"foo": b"bar", bytes([a, b]): bytes([value])}
        case 14:
            fields[b"env"] = None if value % 2 else b""
        case 15:
            fields = dict(sorted(fields.items(), reverse=True)) | {b"": b"", bytes([a]): bytes([b]) * value}
    return {name: content for name, content in fields.items() if content is not None}


def event(recipe: bytes, number: int) -> Fields:
    """One entry of a result stream."""
    which, how, a, b, field, value, *_ = recipe
    damaged = _mutated(_EVENTS[which % len(_EVENTS)], _VALID[a % len(_VALID)], how % 10, a, b)
    if how % 16 >= 10:
        damaged = b"\x93\x01" + pack_binary(_VALUES[a % len(_VALUES)]) + pack_binary(_VALUES[b % len(_VALUES)])
    fields: dict[bytes, bytes | None] = {b"id": b"e%d" % number, b"seq": b"1", b"outcome": b"fired", b"event": damaged}
    match field % 16:
        case 8 | 9:
            fields[b"id"] = _IDS[value % len(_IDS)](b"e%d" % number, b)
        case 10 | 11:
            fields[b"seq"] = _DEADLINES[value % len(_DEADLINES)]
        case 12 | 13:
            fields[b"outcome"] = (b"failed", b"timed_out", b"", b"won", b"\xff", None)[value % 6]
        case 14:
            fields[b"event"] = None if value % 2 else b""
        case 15:
            fields = {b"foo": b"bar"}
    return {name: content for name, content in fields.items() if content is not None}


def describe(value: Any) -> str:
    """A value for an assertion's message, however long."""
    text = repr(value)
    return text if len(text) < 600 else f"{text[:600]}... ({len(text):,} characters)"
