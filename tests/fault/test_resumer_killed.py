"""A Resumer killed in its handler: the event is another's, on a clock, and is acked once."""

from pathlib import Path

import redis

from tests.support.owner import Owner
from tests.support.resumer_process import ResumerProcess
from tests.support.tally import pending_events, unacked
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.triggers.testing import SuccessTrigger


def test_the_event_of_a_resumer_killed_in_its_handler_is_delivered_again_with_no_new_traffic(
    redis_url: str, td: Client, owner: Owner, tmp_path: Path
) -> None:
    said, never = tmp_path / "said", tmp_path / "never"
    td.defer_many({"trigger": SuccessTrigger(), "id": f"t{number}"} for number in range(30))
    for trigger in owner.claim():
        owner.fire(trigger, trigger.id)
    with redis.Redis.from_url(redis_url) as raw, ResumerProcess(redis_url, said, "--hold", str(never)) as killed:
        eventually_sync(lambda: killed.lines("begin"))
        [interrupted] = killed.lines("begin")
        with ResumerProcess(redis_url, said) as peer:
            eventually_sync(lambda: unacked(raw) == pending_events(raw), what="all but the killed one's are handled")
            assert pending_events(raw) > 0
            killed.kill()
            eventually_sync(lambda: unacked(raw) == 0, 15)
            assert pending_events(raw) == 0
            ends = [line["id"] for line in peer.lines("end")]
            assert sorted(ends) == sorted(f"t{number}" for number in range(30)), "each came to its end once"
            begun = [line["id"] for line in peer.lines("begin")]
            assert begun.count(interrupted["id"]) == 2
            assert len(begun) == 31
