"""Envelopes: what goes onto the wire comes back, and what cannot go is refused at the caller."""

import datetime as dt
import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerd.envelope import (
    MAX_ENVELOPE_BYTES,
    decode_trigger,
    encode_trigger,
    pack,
    pack_binary,
    unpack,
)
from triggerd.errors import (
    EnvelopeDecodeError,
    EnvelopeError,
    EnvelopePackError,
    EnvelopeTooLargeError,
    EnvelopeVersionError,
)

_scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.dates() | st.timedeltas() | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.just(dt.timezone(dt.timedelta(hours=5, minutes=30))))
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(0, 9), inner)
    | st.frozensets(_scalars) | st.sets(_scalars),
    max_leaves=20,
)  # fmt: skip


@given(_values)
def test_every_value_of_the_wire_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    back = unpack(pack(value))
    assert back == value
    assert type(back) is type(value)


@given(st.dictionaries(st.text(min_size=1), _values, max_size=5), st.binary(max_size=300))
def test_a_trigger_envelope_comes_back(kwargs: dict[str, Any], resume: bytes) -> None:
    envelope = decode_trigger(encode_trigger("jobs.Wait", kwargs, resume))
    assert (envelope.classpath, envelope.kwargs(), envelope.resume) == ("jobs.Wait", kwargs, resume)


@given(st.binary(max_size=200))
def test_random_bytes_give_a_typed_error_and_nothing_else(data: bytes) -> None:
    try:
        decode_trigger(data).kwargs()
    except EnvelopeError:
        return
    pytest.fail("random bytes were taken for an envelope")


def test_equal_sets_make_equal_bytes() -> None:
    assert pack({"c", "a", "b"}) == pack({"b", "c", "a"})


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"job": {"run": [1, object()]}}, ["kwargs['job']['run'][1]", "builtins.object", "plain data"]),
        ({"colour": Colour.RED}, ["kwargs['colour']", "Colour"]),
        ({"n": 2**64}, ["kwargs['n']", "64 bits"]),
        ({"f": {1: {len}}}, ["kwargs['f'][1]", "builtin_function"]),
        ({"k": {object: 1}}, ["kwargs['k'] (the key", "builtins.type"]),
        ({1: 2}, ["constructor's argument names", "1"]),
    ],
)
def test_what_cannot_be_packed_is_named_with_its_path(kwargs: Any, words: list[str]) -> None:
    with pytest.raises(EnvelopePackError) as refused:
        encode_trigger("jobs.Wait", kwargs)
    for word in words:
        assert word in str(refused.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EnvelopePackError, match="contains itself"):
        pack(loop)


def test_an_envelope_over_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(EnvelopeTooLargeError) as refused:
        encode_trigger("jobs.Wait", {"text": "x" * MAX_ENVELOPE_BYTES})
    assert refused.value.limit_bytes == MAX_ENVELOPE_BYTES < refused.value.size_bytes
    with pytest.raises(EnvelopeTooLargeError):
        decode_trigger(b"\x94" + bytes(MAX_ENVELOPE_BYTES))


def test_an_envelope_of_a_newer_version_is_named_as_such() -> None:
    with pytest.raises(EnvelopeVersionError, match="envelope version 2"):
        decode_trigger(b"\x94\x02" + pack_binary(b"") + pack("a.B") + pack_binary(pack({})))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x80", b"\x91\x01", pack(["1", b"", "a", b""]), pack([True, b"", "a", b""]),
     pack([1, "", "a", b""]), pack([1, b"", "", b""]), b"\x94\x01\xc7\x01\x63x", pack([1, b"", "a", b"", 5])],
)  # fmt: skip
def test_other_shapes_are_no_envelope(data: bytes) -> None:
    with pytest.raises(EnvelopeDecodeError):
        decode_trigger(data)


@pytest.mark.parametrize("kwargs", [pack([1]), pack({1: 2}), b"\xc1", b"\x81\xa1a\xc7\x01\x63x"])
def test_kwargs_that_are_no_map_of_names_are_refused_when_they_are_unpacked(kwargs: bytes) -> None:
    envelope = decode_trigger(b"\x94\x01" + pack_binary(b"") + pack("a.B") + pack_binary(kwargs))
    with pytest.raises(EnvelopeDecodeError):
        envelope.kwargs()


def test_a_set_that_could_cost_the_square_of_its_size_is_refused_on_both_sides() -> None:
    with pytest.raises(EnvelopePackError, match="pass a list"):
        pack({"ids": set(range(100_000))})
    members = pack([pack(number) for number in range(100_000)])
    forged = b"\xc9" + len(members).to_bytes(4, "big") + b"\x02" + members
    with pytest.raises(EnvelopeDecodeError, match="the limit is"):
        unpack(forged)


def test_a_classpath_longer_than_any_is_no_classpath() -> None:
    with pytest.raises(EnvelopeDecodeError):
        decode_trigger(b"\x94\x01" + pack_binary(b"") + pack("a." + "b" * 600) + pack_binary(pack({})))


def test_nested_extensions_from_the_queue_do_not_overflow_the_stack() -> None:
    """Each level takes C stack: 300 of them, 1.4 KB, ended the process with SIGSEGV."""
    data = pack(1)
    for _ in range(300):
        data = (
            b"\xc7" + bytes([len(data)]) + b"\x01" + data
            if len(data) < 256
            else (b"\xc8" + len(data).to_bytes(2, "big") + b"\x01" + data)
        )
    with pytest.raises(EnvelopeDecodeError, match="nested deeper"):
        unpack(data)


def test_what_cannot_be_unpacked_for_its_depth_is_not_packed_either() -> None:
    value: Any = 1
    for _ in range(33):
        value = (value,)
    with pytest.raises(EnvelopePackError, match="nested deeper"):
        pack(value)
