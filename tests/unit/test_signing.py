"""Signatures of envelopes: what they cover, which keys count, and that no key is shown anywhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerd import AsyncClient, Client
from triggerd.cli.config import load
from triggerd.deferral import plan_deferral
from triggerd.envelope import MAX_ENVELOPE_BYTES, TriggerReader, decode_trigger, encode_trigger, resume_of, sign_trigger
from triggerd.errors import (
    ConfigError,
    EnvelopeDecodeError,
    EnvelopeError,
    EnvelopeSignatureError,
    EnvelopeTooLargeError,
    EnvelopeUnsignedError,
    EnvelopeVersionError,
)
from triggerd.event import Continuation
from triggerd.settings import Settings, check
from triggerd.signing import SigningKeys
from triggerd.triggers.testing import SuccessTrigger

OLD, NEW, OTHER = "the old key of 24 bytes.", "the new key of 24 bytes.", "another key of 25 bytes.."
KEYS = SigningKeys([NEW])


def signed(keys: SigningKeys = KEYS, queue: str = "default") -> bytes:
    plan = plan_deferral(SuccessTrigger(1), kwargs={"rows": 3}, id="t1", queue=queue, keys=keys)
    return plan.env


def reader(*keys: str) -> TriggerReader:
    return TriggerReader("default", keys=SigningKeys(keys) if keys else None)


def test_a_signed_envelope_is_read_by_who_has_its_key_and_by_who_has_none() -> None:
    for keys in ([NEW], []):
        envelope = reader(*keys).read(signed())
        assert envelope.classpath == "triggerd.triggers.testing.SuccessTrigger"
        assert envelope.kwargs()["payload"] == 1
        assert envelope.resume == resume_of(signed())
        keyring = SigningKeys(keys) if keys else None
        assert Continuation.decode(envelope.resume, "default", keyring).kwargs == {"rows": 3}


def test_a_key_can_be_changed_without_a_moment_in_which_a_good_envelope_is_refused() -> None:
    old, both, both_turned, new = [OLD], [OLD, NEW], [NEW, OLD], [NEW]
    for signer, verifier in [(old, both), (both, old), (both_turned, both), (both, both_turned), (new, both_turned)]:
        reader(*verifier).read(signed(SigningKeys(signer)))
    with pytest.raises(EnvelopeSignatureError, match="none of ours"):
        reader(*new).read(signed(SigningKeys(both)))


def test_every_byte_of_envelope_and_signature_is_covered() -> None:
    envelope = signed()
    for index in range(len(envelope)):
        for flip in (0x01, 0x80):
            changed = bytearray(envelope)
            changed[index] ^= flip
            with pytest.raises((EnvelopeSignatureError, EnvelopeUnsignedError)):
                reader(NEW).read(bytes(changed))


def test_every_byte_of_a_continuation_is_covered() -> None:
    resume = decode_trigger(signed()).resume
    for index in range(len(resume)):
        changed = bytearray(resume)
        changed[index] ^= 1
        with pytest.raises((EnvelopeSignatureError, EnvelopeUnsignedError)):
            Continuation.decode(bytes(changed), "default", KEYS)


def test_a_truncated_or_longer_envelope_is_refused() -> None:
    envelope = signed()
    for length in range(len(envelope)):
        with pytest.raises((EnvelopeSignatureError, EnvelopeUnsignedError)):
            reader(NEW).read(envelope[:length])
    with pytest.raises(EnvelopeSignatureError):
        reader(NEW).read(envelope + b"\0")


def test_a_signature_holds_for_one_queue_and_one_purpose() -> None:
    with pytest.raises(EnvelopeSignatureError, match="another queue"):
        TriggerReader("payments", keys=KEYS).read(signed())
    resume = decode_trigger(signed()).resume
    with pytest.raises(EnvelopeSignatureError):
        Continuation.decode(resume, "payments", KEYS)
    with pytest.raises(EnvelopeSignatureError):
        KEYS.verify("trigger", "default", resume)


@pytest.mark.parametrize("resume", [b"", Continuation("go_on").encode()])
def test_what_is_not_signed_is_refused_only_where_there_are_keys(resume: bytes) -> None:
    envelope = encode_trigger("jobs.Wait", {}, resume)
    assert reader().read(envelope).classpath == "jobs.Wait"
    Continuation.decode(resume)
    with pytest.raises(EnvelopeUnsignedError):
        reader(NEW).read(envelope)
    with pytest.raises(EnvelopeUnsignedError):
        Continuation.decode(resume, "default", KEYS)


def test_nothing_is_decoded_before_the_signature_holds() -> None:
    garbage = b"\x96\xc1 no msgpack at all"
    with pytest.raises(EnvelopeSignatureError):
        reader(NEW).read(garbage)
    with pytest.raises(EnvelopeDecodeError):  # signed garbage: only now is it looked at
        reader(NEW).read(KEYS.sign("trigger", "default", garbage))
    with pytest.raises(EnvelopeVersionError):
        reader(NEW).read(KEYS.sign("trigger", "default", b"\x96\x02\xc4\x00\xa1a\xc4\x01\x80"))


@given(st.binary(max_size=100), st.integers(0, 400), st.integers(0, 400))
def test_whatever_is_written_into_an_envelope_is_refused_with_a_typed_error(piece: bytes, start: int, end: int) -> None:
    changed = signed()[:start] + piece + signed()[end:]
    if changed != signed():
        with pytest.raises(EnvelopeError):
            reader(NEW).read(changed)


def test_what_is_over_the_readers_limit_is_not_even_hashed() -> None:
    with pytest.raises(EnvelopeTooLargeError):
        TriggerReader("default", 100, KEYS).read(signed())
    largest = encode_trigger("jobs.Wait", {"a": bytes(MAX_ENVELOPE_BYTES - 50)})
    with pytest.raises(EnvelopeTooLargeError, match="signed"):
        sign_trigger(largest, "default", KEYS)


def test_the_continuation_of_a_refused_envelope_can_still_be_taken_out() -> None:
    resume = Continuation("go_on").encode()
    plain = encode_trigger("jobs.Wait", {"a": 1}, resume)
    assert resume_of(plain) == resume
    assert resume_of(plain[:1] + b"\x07" + plain[2:]) == resume, "of another version"
    assert resume_of(b"\x94\x01\xc4\x02ab") == resume_of(b"\x94\x01\xc5\x00\x02ab") == b"ab"
    for garbage in (b"", b"\x94", b"\x94\x01", b"\x94\x01\xc4", b"\x94\x01\xc4\x05ab", b"\x94\x01\xc6\xff\xff", b"abc"):
        assert resume_of(garbage) == b""


def test_a_key_is_long_enough_and_is_never_shown(tmp_path: Path) -> None:
    shown = [repr(SigningKeys([NEW, OTHER])), repr(Settings(signing_keys=(NEW, OTHER)))]
    shown.append(repr(Client("redis://127.0.0.1:1", signing_keys=[NEW, OTHER]).caller))
    for keys in (["short"], [NEW, "also short"], [b"bytes of a key"], "a text is no list of keys", [], [NEW, 17]):
        with pytest.raises(ConfigError) as refused:
            SigningKeys(keys)  # type: ignore[arg-type]
        shown.append(str(refused.value))
    (tmp_path / "bad.toml").write_text('signing_keys = "the key as text, no list"\n')
    for file, environ in [(None, {"TRIGGERD_SIGNING_KEYS": "short"}), (tmp_path / "bad.toml", {})]:
        with pytest.raises(ConfigError) as refused:
            load(file, environ, {})
        shown.append(str(refused.value))
    with pytest.raises(ConfigError) as refused:
        check(Settings(signing_keys=(NEW, "short")))
    assert "key 2" in str(refused.value)
    for text in shown:
        assert not [word for word in (NEW, OTHER, "short", "bytes of", "a text", "as text") if word in text], text


@pytest.mark.parametrize("text", [f"{NEW}, {OLD}", f'["{NEW}", "{OLD}"]'])
async def test_client_and_daemon_take_the_same_keys_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TRIGGERD_SIGNING_KEYS", text)
    assert load(None, {"TRIGGERD_SIGNING_KEYS": text}, {}).signing_keys == (NEW, OLD)
    for client in (Client("redis://127.0.0.1:1"), AsyncClient("redis://127.0.0.1:1")):
        assert repr(client.caller.keys) == repr(SigningKeys([NEW, OLD]))
    assert Client("redis://127.0.0.1:1", signing_keys=()).caller.keys is None
    monkeypatch.setenv("TRIGGERD_SIGNING_KEYS", "[not json")
    with pytest.raises(ConfigError, match="JSON"):
        Client("redis://127.0.0.1:1")
