"""`triggerd show`: everything that is known of one trigger."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from triggerd.cli.options import moment, open_client, redis_options
from triggerd.envelope import decode_trigger
from triggerd.errors import EnvelopeError, UnknownTriggerError
from triggerd.event import Event, decode_event
from triggerd.redact import redacted
from triggerd.streams.trigger_queue import TriggerFinished, TriggerInFlight

_TIMES = {"deferred_ms": "deferred", "deadline_ms": "deadline", "finished_ms": "finished", "fired_ms": "fired"}


@click.command()
@click.argument("trigger_id", metavar="ID")
@redis_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show(trigger_id: str, *, config: Path | None, redis: str | None, queue: str, as_json: bool) -> None:
    """Say what is known of the trigger ID: its state, its owner, its deadline, its event.

    Exit 0 where it is known, 1 where it is not. Values of kwargs that look like secrets are left out.
    """
    with open_client(config, redis) as client:
        info = client.handle(trigger_id, queue).info()
    if info is None:
        raise UnknownTriggerError(trigger_id, queue)
    facts = _finished(info, queue) if isinstance(info, TriggerFinished) else _in_flight(info, queue)
    if as_json:
        click.echo(to_json(facts))
    else:
        print_facts(facts)


def finished_facts(event: Event) -> dict[str, Any]:
    """What an event says, for `print_facts` and `to_json`."""
    error = (
        {"code": event.error.code, "message": event.error.message, "type": event.error.type} if event.error else None
    )
    return {
        "event_id": event.event_id,
        "fired_ms": event.fired_ms,
        "payload": redacted(event.payload),
        "details": redacted(dict(event.details)),
        "error": error,
    }


def to_json(facts: Mapping[str, Any]) -> str:
    """JSON for scripts; what JSON has no word for becomes text."""
    return json.dumps(facts, default=_plain, ensure_ascii=False)


def print_facts(facts: Mapping[str, Any]) -> None:
    """A line per fact that there is, aligned."""
    shown = {_TIMES.get(name, name): _shown(name, value) for name, value in facts.items()}
    for name, value in shown.items():
        if value:
            click.echo(f"{click.style(f'{name:<12}', dim=True)} {value}")


def _finished(info: TriggerFinished, queue: str) -> dict[str, Any]:
    event = decode_event(info.id, info.seq, info.outcome, info.event)
    facts = {"id": info.id, "queue": queue, "state": info.outcome, "by": info.by, "finished_ms": info.finished_ms}
    return facts | finished_facts(event)


def _in_flight(info: TriggerInFlight, queue: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": info.id, "queue": queue, "state": "running" if info.owner else "queued"}
    try:
        envelope = decode_trigger(info.env)
        facts |= {"classpath": envelope.classpath, "kwargs": redacted(envelope.kwargs())}
    except EnvelopeError as error:
        facts |= {"classpath": None, "undecodable": str(error)}
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


def _shown(name: str, value: Any) -> str:
    if name in _TIMES:
        return moment(value) if value else ""
    if isinstance(value, (dict, list)):
        return to_json_value(value) if value else ""
    return "" if value is None else str(value)


def to_json_value(value: Any) -> str:
    """One value on one line."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return repr(value) if isinstance(value, bytes) else str(value)
