"""For tests of triggers and tasks: run them without Redis and daemon.

event = await run_trigger(MyTrigger(cluster="dwh"), aws=my_fake)
assert event.payload == {"status": "success", "value": "dwh"}
"""

from typing import Any

from triggerd.envelope import decode_trigger, encode_trigger
from triggerd.event import Event
from triggerd.local import LocalContext, run_here, run_task_here

__all__ = ["LocalContext", "round_trip", "run_here", "run_task_here", "run_trigger"]


async def run_trigger(trigger: Any, **options: Any) -> Event:
    """Run a trigger as the daemon would and return its final event; options as of `triggerd.local.run_here`.

    The trigger is rebuilt from its own `serialize()` first, as the daemon would, so what it forgets to serialize is
    missing here too.
    """
    return (await run_here(round_trip(trigger), **options))[-1]


def round_trip(trigger: Any) -> Any:
    """The trigger as the daemon would see it: its kwargs over the wire and into the constructor of its class.

    Raises:
        EnvelopePackError: A kwarg cannot be put on the wire. TypeError: the constructor does not take them.
    """
    classpath, kwargs = trigger.serialize()
    return type(trigger)(**decode_trigger(encode_trigger(classpath, kwargs)).kwargs())
