"""Trigger envelopes and values <-> msgpack bytes: versioned, size-limited, strictly decoded.

A trigger envelope is a msgpack array ``[version, resume, classpath, kwargs]`` in which `resume` and `kwargs` are
packed once more, as binary. So a reader decodes no deeper than it must: the daemon looks at version and classpath
before it touches the kwargs, never looks into `resume` (what the caller wants back with the event), and a Lua script
can copy `resume` into an event without decoding anything else.

Signed, it is ``[version, resume, classpath, kwargs, key_id, signature]``, and `resume`, which goes into events through
scripts that cannot sign, is an array ``[resume, key_id, signature]`` of its own: see `triggerd.signing`.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

import msgpack

from triggerd.errors import (
    EnvelopeDecodeError,
    EnvelopePackError,
    EnvelopeTooLargeError,
    EnvelopeUnsignedError,
    EnvelopeVersionError,
)
from triggerd.keys import MAX_ENV_BYTES
from triggerd.signing import TRAILER_BYTES, SigningKeys, ends_signed

VERSION = 1
PACKED_VERSION: bytes = msgpack.packb(VERSION)
MAX_ENVELOPE_BYTES = MAX_ENV_BYTES
"""Limit of a trigger and of an event envelope. 100 of them make one script call, so this bounds what one call moves."""

MAX_CLASSPATH_CHARS = 512
_MAX_DEPTH = 32
_SETS = (set, frozenset)
_MAX_SET_BYTES = 32 * 1024
"""Of one set: members whose hashes collide on purpose make it cost the square of their number."""
_INT_RANGE = range(-(2**63), 2**64)

# First bytes: msgpack's headers of arrays with 4, 6 and 3 elements.
_PLAIN_TRIGGER, _SIGNED_TRIGGER, _SIGNED_RESUME = b"\x94", b"\x96", b"\x93"
_BEGIN = _PLAIN_TRIGGER + PACKED_VERSION
_BINARY_HEADERS = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""How many bytes of length follow the first byte of a msgpack binary."""


def pack(value: Any, path: str = "value") -> bytes:
    """`value` as msgpack bytes.

    Carried: None, bool, int (64 bit), float, str, bytes, list, tuple, dict (keys: str, int, bytes, bool), set,
    frozenset, datetime (with its UTC offset, without the zone's name), date, timedelta, Decimal.

    Raises:
        EnvelopePackError: Something else stands in `value`; the error names its path and its type.
    """
    try:
        return _pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        _explain(value, path, 0)
        raise EnvelopePackError(path, str(error)) from error


def unpack(data: bytes) -> Any:
    """The value that `pack` made bytes of.

    Raises:
        EnvelopeDecodeError: These bytes are not msgpack, or hold a type that triggerd does not know.
    """
    try:
        return _unpack(data, 0)
    except EnvelopeDecodeError:
        raise
    except Exception as error:  # msgpack and the types raise whatever hostile bytes lead them to
        raise EnvelopeDecodeError(f"not msgpack: {type(error).__name__}: {error}") from error


def pack_binary(data: bytes) -> bytes:
    """`data` as a msgpack binary with a header of fixed length, as the Lua scripts write it too."""
    return b"\xc6" + len(data).to_bytes(4, "big") + data


@dataclass(slots=True)  # not frozen: one for every run, and a frozen one takes four times as long to make
class TriggerEnvelope:
    """A decoded trigger envelope; kwargs are unpacked only when asked for."""

    classpath: str
    kwargs_bytes: bytes
    resume: bytes

    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the trigger.

        Raises:
            EnvelopeDecodeError: They are not a map with text as keys.
        """
        kwargs = unpack(self.kwargs_bytes)
        if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
            raise EnvelopeDecodeError(f"kwargs of {self.classpath} are not a map with text as keys")
        return kwargs


def encode_trigger(classpath: str, kwargs: Mapping[str, Any], resume: bytes = b"") -> bytes:
    """The envelope of a trigger.

    Raises:
        EnvelopePackError: A kwarg cannot be put on the wire. EnvelopeTooLargeError: over `MAX_ENVELOPE_BYTES`.
    """
    if not isinstance(classpath, str) or not classpath:
        raise EnvelopePackError("classpath", f"a dotted path is expected, not {classpath!r}")
    for key in kwargs:
        if not isinstance(key, str):
            raise EnvelopePackError("kwargs", f"keys are the constructor's argument names, not {key!r}")
    packed = pack(dict(kwargs), "kwargs")
    envelope = b"".join((_BEGIN, pack_binary(resume), _packed_text(classpath), pack_binary(packed)))
    check_size(f"the envelope of {classpath}", envelope)
    return envelope


def decode_trigger(envelope: bytes) -> TriggerEnvelope:
    """Read the header of a trigger envelope; a signature is not looked at (`TriggerReader` does that).

    Raises:
        EnvelopeTooLargeError, EnvelopeVersionError, EnvelopeDecodeError: It cannot be run by this triggerd.
    """
    check_size("the envelope", envelope)
    match unpack_versioned(envelope):
        case ([_, bytes() as resume, str() as classpath, bytes() as kwargs]
              | [_, bytes() as resume, str() as classpath, bytes() as kwargs, bytes(), bytes()]
              ) if 0 < len(classpath) <= MAX_CLASSPATH_CHARS:  # fmt: skip
            return TriggerEnvelope(classpath, kwargs, resume)
    raise EnvelopeDecodeError("a trigger envelope is [version, resume, classpath, kwargs] with or without a signature")


class TriggerReader:
    """Reads the trigger envelopes of one queue, in the order that hostile bytes ask for: size, signature, contents.

    Args:
        queue: The queue that they stand on.
        max_envelope_bytes: What is larger is refused unread.
        keys: None: signed and unsigned ones are read alike. Otherwise nothing is decoded before its signature holds.
    """

    def __init__(
        self, queue: str, max_envelope_bytes: int = MAX_ENVELOPE_BYTES, keys: SigningKeys | None = None
    ) -> None:
        self._queue, self._max_envelope_bytes, self._keys = queue, max_envelope_bytes, keys

    def read(self, envelope: bytes) -> TriggerEnvelope:
        """The header of an envelope.

        Raises:
            EnvelopeTooLargeError, EnvelopeUnsignedError, EnvelopeSignatureError, EnvelopeVersionError,
            EnvelopeDecodeError: It must not or cannot be run here.
        """
        check_size("the envelope", envelope, self._max_envelope_bytes)
        if self._keys is not None:
            if envelope[:1] != _SIGNED_TRIGGER:
                raise EnvelopeUnsignedError("the envelope is not signed, and this daemon has signing keys")
            self._keys.verify("trigger", self._queue, envelope)
        return decode_trigger(envelope)


def sign_trigger(envelope: bytes, queue: str, keys: SigningKeys) -> bytes:
    """The signed form of what `encode_trigger` made.

    Raises:
        EnvelopeTooLargeError: With the signature it is over `MAX_ENVELOPE_BYTES`.
    """
    signed = keys.sign("trigger", queue, _SIGNED_TRIGGER + envelope[1:])
    check_size("the signed envelope", signed)
    return signed


def sign_resume(resume: bytes, queue: str, keys: SigningKeys) -> bytes:
    """The signed form of the resume part of an envelope."""
    return keys.sign("resume", queue, _SIGNED_RESUME + pack_binary(resume))


def read_resume(resume: bytes, queue: str, keys: SigningKeys | None) -> bytes:
    """The continuation's bytes in a resume part, signed or not. Without keys a signature is not verified.

    Raises:
        EnvelopeUnsignedError, EnvelopeSignatureError: There are keys, and it was not signed with one of them.
    """
    # An unsigned one is a map, whose first byte is another.
    signed = resume[:1] == _SIGNED_RESUME
    if keys is not None:
        if not signed:
            raise EnvelopeUnsignedError("the continuation is not signed, and this Resumer has signing keys")
        keys.verify("resume", queue, resume)
    return resume[len(pack_binary(b"")) + 1 : -TRAILER_BYTES] if signed and ends_signed(resume) else resume


def resume_of(envelope: bytes) -> bytes:
    """The resume part of an envelope that is not to be decoded, taken out by slicing as the Lua scripts do it.

    So the caller of an envelope that was refused still hears of it; of garbage this makes b"".
    """
    length_bytes = _BINARY_HEADERS.get(envelope[2], 0) if len(envelope) > 2 else 0
    start = 3 + length_bytes
    end = start + int.from_bytes(envelope[3:start], "big")
    return envelope[start:end] if end <= len(envelope) else b""


def unpack_versioned(envelope: bytes) -> list[Any]:
    """The fields of a trigger or event envelope whose version this triggerd reads."""
    fields = unpack(envelope)
    if not isinstance(fields, list) or not fields or type(fields[0]) is not int:
        raise EnvelopeDecodeError("an envelope is an array that begins with its version")
    if fields[0] != VERSION:
        raise EnvelopeVersionError(fields[0], VERSION)
    return fields


def check_size(what: str, envelope: bytes, limit_bytes: int = MAX_ENVELOPE_BYTES) -> None:
    """Raise EnvelopeTooLargeError if `envelope` is over the limit."""
    if len(envelope) > limit_bytes:
        raise EnvelopeTooLargeError(what, len(envelope), limit_bytes)


# msgpack extension types for what plain msgpack has no word for: code -> (type, to plain data, from plain data).
# The codes are on the wire: never reuse one. Sets are sorted by their bytes, so that equal sets make equal envelopes.
_EXTENSIONS: dict[int, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    1: (tuple, list, tuple),
    2: (set, lambda value: sorted(value, key=pack), set),
    3: (frozenset, lambda value: sorted(value, key=pack), frozenset),
    4: (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
    5: (dt.date, dt.date.isoformat, dt.date.fromisoformat),
    6: (
        dt.timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda plain: dt.timedelta(*plain),
    ),
    7: (Decimal, str, Decimal),
}
_BY_TYPE = {kind: (code, to_plain) for code, (kind, to_plain, _) in _EXTENSIONS.items()}


_packer = partial(msgpack.Packer, use_bin_type=True, strict_types=True)
# Making a packer takes longer than packing does. Whoever packs takes one out, so neither threads nor a pack within a
# pack share it; one that raised, or that has grown, is not put back.
_idle: list[msgpack.Packer] = []


def _pack(value: Any) -> bytes:
    try:
        packer = _idle.pop()
    except IndexError:
        packer = _packer(default=_extend_outermost)
    packed: bytes = packer.pack(value)
    if len(packed) <= MAX_ENVELOPE_BYTES:
        _idle.append(packer)
    return packed


@lru_cache(maxsize=256)
def _packed_text(value: str) -> bytes:
    return pack(value)


def _unpack(data: bytes, depth: int) -> Any:
    restore = partial(_restore, depth) if depth else _restore_outermost
    return msgpack.unpackb(data, raw=False, strict_map_key=False, use_list=True, ext_hook=restore)


def _extend(depth: int, value: Any) -> msgpack.ExtType:
    # Exact types only: a subclass (an Enum, a pendulum DateTime, a str with behaviour) would come back as another type.
    kind = type(value)
    if kind not in _BY_TYPE:
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} cannot be put on the wire")
    if depth >= _MAX_DEPTH:
        raise ValueError(f"tuples and sets nested deeper than {_MAX_DEPTH} levels")
    code, to_plain = _BY_TYPE[kind]
    data: bytes = _packer(default=partial(_extend, depth + 1)).pack(to_plain(value))
    if kind in _SETS and len(data) > _MAX_SET_BYTES:
        raise ValueError(f"a set of {len(data):,} bytes, the limit is {_MAX_SET_BYTES:,}: pass a list")
    return msgpack.ExtType(code, data)


def _restore(depth: int, code: int, data: bytes) -> Any:
    if code not in _EXTENSIONS:
        raise EnvelopeDecodeError(f"extension type {code} is unknown to this triggerd")
    if depth >= _MAX_DEPTH:  # each level takes the C stack, and bytes from the queue must not end the process
        raise EnvelopeDecodeError(f"nested deeper than {_MAX_DEPTH} levels")
    kind, _, from_plain = _EXTENSIONS[code]
    if kind in _SETS and len(data) > _MAX_SET_BYTES:
        raise EnvelopeDecodeError(f"a set of {len(data):,} bytes, the limit is {_MAX_SET_BYTES:,}")
    return from_plain(_unpack(data, depth + 1))


_restore_outermost = partial(_restore, 0)
_extend_outermost = partial(_extend, 0)


def _explain(value: Any, path: str, depth: int) -> None:
    """Find what cannot be packed and raise with its path; only ever called after packing has failed."""
    if depth > _MAX_DEPTH:
        raise EnvelopePackError(path, f"nested deeper than {_MAX_DEPTH} levels, or it contains itself")
    for member, member_path in _members(value, path):
        _explain(member, member_path, depth + 1)
    if type(value) is int and value not in _INT_RANGE:
        raise EnvelopePackError(path, f"{value} does not fit into 64 bits: pass it as a str")
    if type(value) not in (type(None), bool, int, float, str, bytes, list, dict, *_BY_TYPE):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise EnvelopePackError(
            path, f"{kind} cannot be put on the wire: pass plain data, such as str(value) or a dict"
        )


def _members(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    match value:
        case dict():
            for key, member in value.items():
                yield key, f"{path} (the key {key!r})"
                yield member, f"{path}[{key!r}]"
        case list() | tuple():
            yield from ((member, f"{path}[{index}]") for index, member in enumerate(value))
        case set() | frozenset():
            yield from ((member, f"{path}{{{member!r}}}") for member in value)
