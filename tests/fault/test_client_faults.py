"""The SDK when Redis is away: typed errors in bounded time, and nothing given up that goes on."""

from concurrent.futures import ThreadPoolExecutor, wait

from tests.support.owner import Owner
from triggerd import Client
from triggerd.embedded import EmbeddedServer
from triggerd.triggers.testing import SuccessTrigger


def test_a_result_is_waited_for_through_a_restart_of_redis(own_redis: EmbeddedServer) -> None:
    with Client(own_redis.url, command_timeout=1) as td, Owner(own_redis.url) as owner:
        handle = td.defer(SuccessTrigger(), id="t1")
        [trigger] = owner.claim()
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(handle.result, 40)
            assert not wait([result], timeout=0.3).done
            own_redis.stop()
            assert not wait([result], timeout=1.5).done
            own_redis.start()
            owner.fire(trigger, "after all")
            assert result.result(20).payload == "after all"
