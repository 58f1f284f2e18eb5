"""Promises of KinesisTrigger's arguments, of its cursor and of the order in which shards are read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerd.envelope import pack, unpack
from triggerd.testing import round_trip
from triggerd.triggers.kinesis import KinesisTrigger
from triggerd.triggers.kinesis_shards import Shard, Shards

SEQUENCE = "49590338271490256608559692538361571095921575989136588898"  # 56 digits, as AWS's
MAX_CHECKPOINT_BYTES = 4096


def _id(number: int) -> str:
    return f"shardId-{number:012}"


def _listed(number: int, *parents: int, closed: bool = False) -> dict[str, Any]:
    names = zip(("ParentShardId", "AdjacentParentShardId"), parents, strict=False)
    numbers = {"StartingSequenceNumber": "1"} | ({"EndingSequenceNumber": "2"} if closed else {})
    return {"ShardId": _id(number), "SequenceNumberRange": numbers, **{name: _id(parent) for name, parent in names}}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"stream_name": ""}, ValueError, "stream_name must not be empty"),
        ({"shard_iterator_type": "AT_TIMESTAMP"}, ValueError, "LATEST or TRIM_HORIZON is expected"),
        ({"batch_size": 0}, ValueError, "batch_size = 0: must be 1 to 10,000"),
        ({"batch_size": "5"}, TypeError, "whole number"),
        ({"delay": 300}, ValueError, "the life of a shard iterator"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        KinesisTrigger(**{"stream_name": "clicks", **change})


def test_every_argument_survives_the_wire() -> None:
    trigger = KinesisTrigger("clicks", shard_iterator_type="TRIM_HORIZON", batch_size=7, delay=2, connection="prod")
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert KinesisTrigger("clicks").serialize()[1] == {"stream_name": "clicks"}


_sequences = st.none() | st.integers(1, 10**56).map(str) | st.sampled_from(["0", "007", "abc"])
_shards = st.lists(st.tuples(_sequences, st.integers(0, 2**41)), max_size=300)


@given(_shards, st.lists(st.integers(1000, 10**12 - 1).map(_id) | st.text("xyz-", max_size=128), max_size=300))
def test_a_cursor_fits_and_leaves_nothing_out(shards: list[tuple[str | None, int]], finished: list[str]) -> None:
    live = {_id(number): Shard(_id(number), *each) for number, each in enumerate(shards)}
    before = Shards(live, dict.fromkeys(finished))
    packed = pack(before.cursor())
    assert len(packed) <= MAX_CHECKPOINT_BYTES
    listed = [_listed(number) for number in range(len(shards))]
    after = Shards.restore(listed, unpack(packed))
    assert after.live.keys() == before.live.keys()
    for was, now in ((before.live[each], after.live[each]) for each in live):
        assert now.sequence == was.sequence or (now.sequence is None and now.until_ms <= was.until_ms)
        if now.sequence is None and was.sequence is None:
            assert now.until_ms <= was.until_ms


def test_a_hundred_shards_have_their_own_entries() -> None:
    live = {_id(number): Shard(_id(number), SEQUENCE, 1_000 + number) for number in range(200)}
    after = Shards.restore([_listed(number) for number in range(200)], unpack(pack(Shards(live).cursor())))
    exact = [shard for shard in after.live.values() if shard.sequence == SEQUENCE]
    assert len(exact) >= 100
    assert {shard.until_ms for shard in after.live.values() if shard.sequence is None} == {1_000 + len(exact)}


@pytest.mark.parametrize("cursor", [5, [], [1, [2], []], [1, [2, "x"]], ["1", [], []], [1, [None, "x"], []], {"a": 1}])
def test_what_is_no_cursor_is_refused(cursor: Any) -> None:
    with pytest.raises(ValueError, match="not "):
        Shards.restore([_listed(0)], cursor)


def test_children_wait_for_their_parents() -> None:
    listed = [_listed(0, closed=True), _listed(1, 0), _listed(2, 0), _listed(3)]
    shards = Shards.begin(listed, latest=False)
    assert list(shards.live) == [_id(0), _id(3)]
    parent = shards.live[_id(0)]
    parent.published("7", 500)
    shards.end(parent, [{"ShardId": _id(1), "ParentShards": [_id(0)]}, {"ShardId": _id(2), "ParentShards": [_id(0)]}])
    assert list(shards.live) == [_id(3), _id(1), _id(2)]
    assert shards.live[_id(1)].position() == {"ShardIteratorType": "TRIM_HORIZON"}
    assert list(Shards.restore(listed, unpack(pack(shards.cursor()))).live) == [_id(1), _id(2), _id(3)]


def test_a_merged_shard_waits_for_both_its_parents() -> None:
    shards = Shards.begin([_listed(0, closed=True), _listed(1, closed=True), _listed(2, 0, 1)], latest=False)
    assert list(shards.live) == [_id(0), _id(1)]
    child = [{"ShardId": _id(2), "ParentShards": [_id(0), _id(1)]}]
    shards.end(shards.live[_id(0)], child)
    assert list(shards.live) == [_id(1)]
    shards.end(shards.live[_id(1)], child)
    assert list(shards.live) == [_id(2)]


def test_latest_means_open_shards_only_and_what_they_get_from_now_on() -> None:
    shards = Shards.begin([_listed(0, closed=True), _listed(1, 0), _listed(2)], latest=True)
    assert list(shards.live) == [_id(1), _id(2)]
    shard = shards.live[_id(1)]
    assert shard.position() == {"ShardIteratorType": "LATEST"}
    shard.latest = False  # it was opened, and the run moves before a record came
    after = Shards.restore([_listed(0, closed=True), _listed(1, 0), _listed(2)], unpack(pack(shards.cursor())))
    assert after.live[_id(1)].position()["ShardIteratorType"] == "AT_TIMESTAMP"
    assert list(after.live) == [_id(1), _id(2)]


def test_a_child_of_a_shard_without_records_is_read_from_where_that_was_read_up_to() -> None:
    shards = Shards({_id(0): Shard(_id(0), until_ms=5_000)})
    shards.end(shards.live[_id(0)], [{"ShardId": _id(1), "ParentShards": [_id(0)]}])
    assert shards.live[_id(1)].position() == {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 5.0}
