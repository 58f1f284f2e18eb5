"""`triggerd show`: everything that is known of one trigger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from triggerd.cli.options import open_client, redis_options
from triggerd.cli.output import moment, print_facts, to_json
from triggerd.envelope import decode_trigger
from triggerd.errors import EnvelopeError, UnknownTriggerError
from triggerd.event import Event, decode_event
from triggerd.redact import redacted
from triggerd.streams.trigger_queue import TriggerFinished, TriggerInFlight

# What people read where it is not the name in JSON.
_LABELS = {
    "reply_to": "reply to", "cancel_by": "cancel asked by", "event_id": "event id", "deferred_ms": "deferred",
    "deadline_ms": "deadline", "finished_ms": "finished", "fired_ms": "finished",
}  # fmt: skip


@click.command()
@click.argument("trigger_id", metavar="ID")
@redis_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show(trigger_id: str, *, config: Path | None, redis: str | None, queue: str, as_json: bool) -> None:
    """Say all that is known of the trigger ID.

    While it is in flight: its state (queued or running), classpath and kwargs, owner, deadline, how often it was
    adopted, who asked to cancel it. Once it has finished, for as long as results are kept: its outcome (fired, failed,
    timed_out, cancelled), its event, and why it did not fire. Values that look like secrets are shown as ***.

    \b
        triggerd show 0a1b2c --queue etl
        triggerd show 0a1b2c --json | jq -r .state

    Exit status: 0 it is known, 1 no such trigger on this queue, 2 usage, 4 Redis refused or cannot be reached.
    """
    with open_client(config, redis) as client:
        info = client.handle(trigger_id, queue).info()
    if info is None:
        raise UnknownTriggerError(trigger_id, queue)
    facts = _finished(info, queue) if isinstance(info, TriggerFinished) else _in_flight(info, queue)
    print_trigger(facts, as_json=as_json)


def print_trigger(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Facts of one trigger, for a script or for people."""
    if as_json:
        click.echo(to_json(facts))
        return
    # By Redis's clock where that is known, else by the clock of who published the event.
    once = {name: value for name, value in facts.items() if name != "fired_ms" or "finished_ms" not in facts}
    print_facts({_LABELS.get(name, name): _for_people(name, value) for name, value in once.items()})


def event_facts(event: Event) -> dict[str, Any]:
    """What an event says."""
    error = event.error
    return {
        "event_id": event.event_id,
        "fired_ms": event.fired_ms or None,
        "payload": redacted(event.payload),
        "details": redacted(dict(event.details)),
        "error": {"code": error.code, "message": redacted(error.message), "type": error.type} if error else None,
    }


def _finished(info: TriggerFinished, queue: str) -> dict[str, Any]:
    facts = {"id": info.id, "queue": queue, "state": info.outcome, "finished_ms": info.finished_ms, "by": info.by}
    try:
        return facts | event_facts(decode_event(info.id, info.seq, info.outcome, info.event))
    except EnvelopeError as error:
        return facts | {"undecodable": redacted(str(error))}


def _in_flight(info: TriggerInFlight, queue: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": info.id, "queue": queue, "state": "running" if info.owner else "queued"}
    try:
        envelope = decode_trigger(info.env)
        facts |= {"classpath": envelope.classpath, "kwargs": redacted(envelope.kwargs())}
    except EnvelopeError as error:
        facts |= {"classpath": None, "kwargs": None, "undecodable": redacted(str(error))}
    return facts | {
        "owner": info.owner or None,
        "deferred_ms": info.deferred_ms,
        "deadline_ms": info.deadline_ms,
        "reply_to": info.reply_to or None,
        "events": info.seq or None,
        "adoptions": info.adoptions or None,
        "cancel_by": info.cancel or None,
        "entry": info.entry,
    }


def _for_people(name: str, value: Any) -> Any:
    if name.endswith("_ms"):
        return moment(value) if value else None
    if name == "error" and value:
        return f"{value['code']}: {value['message']}" + (f" ({value['type']})" if value["type"] else "")
    return value
