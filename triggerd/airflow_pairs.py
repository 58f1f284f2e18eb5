"""What an Airflow trigger serializes to, made ready for the queue."""

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any

AIRFLOW = "airflow."
_CREATES_JOB_FLOW = "airflow.providers.amazon.aws.triggers.emr.EmrCreateJobFlowTrigger"


def ready_kwargs(trigger: object, classpath: str, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """`kwargs` of the pair that `trigger` gave, or is: enum members as their values, pendulum's instants as datetimes,
    a time without a zone as this machine's.

    A queue carries exact types only. For our own triggers that is their author's to see to, and is said to him; an
    operator of Airflow's was written for another wire.
    """
    if classpath == _CREATES_JOB_FLOW and hasattr(trigger, "waiter_name"):
        kwargs = {"waiter_name": trigger.waiter_name, **kwargs}  # its serialize() forgets it, up to 9.39 at least
    return {name: _plain(value) for name, value in kwargs.items()}


def _plain(value: Any) -> Any:
    match value:
        case enum.Enum():
            return _plain(value.value)
        case dt.datetime() if value.tzinfo is None:  # of datetime.now(): this machine's time, as Airflow takes it, too
            return dt.datetime.fromisoformat(value.isoformat()).astimezone()
        case dt.datetime() if type(value) is not dt.datetime:
            return dt.datetime.fromisoformat(value.isoformat())
        case dict():
            return {_plain(key): _plain(member) for key, member in value.items()}
        case list() | tuple() | set() | frozenset() if type(value) in (list, tuple, set, frozenset):
            return type(value)(_plain(member) for member in value)
    return value
