"""`triggerd submit`: defer one trigger from a shell."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from triggerd.cli.options import Duration, open_client, redis_options
from triggerd.cli.show import finished_facts, print_facts, to_json
from triggerd.errors import ResultTimeoutError

EXIT_NOT_FIRED = 1
EXIT_TIMED_OUT = 3


@click.command()
@click.argument("classpath")
@click.argument("kwargs", metavar="[JSON]", default="{}")
@redis_options
@click.option("--id", "trigger_id", metavar="ID", help="Trigger id; submitting one id twice is one deferral.")
@click.option("--timeout", type=Duration(), help="Until the trigger ends with timed_out, as 90s or 2h; else 10 days.")
@click.option("--reply-to", default="none", show_default=True, metavar="NAME", help="Result stream; none: no stream.")
@click.option("--method-name", default="execute_complete", show_default=True, help="Continuation, for a Resumer.")
@click.option("--method-kwargs", default="{}", metavar="JSON", help="Keyword arguments of the continuation.")
@click.option("--wait", is_flag=True, help="Wait for the event and print it; exit 1 unless it fired without error.")
@click.option("--wait-timeout", type=Duration(), help="Give up waiting after this; exit 3, the trigger goes on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def submit(ctx: click.Context, classpath: str, kwargs: str, *, config: Path | None, redis: str | None, queue: str,
           trigger_id: str | None, timeout: float | None, reply_to: str, method_name: str, method_kwargs: str,
           wait: bool, wait_timeout: float | None, as_json: bool) -> None:  # fmt: skip
    """Put the trigger CLASSPATH with the kwargs JSON (an object, or - for stdin) onto a queue.

    \b
    triggerd submit triggerd.triggers.time.TimeDeltaTrigger '{"seconds": 5}' --wait
    triggerd submit triggerd.triggers.aws.AwsWaiterTrigger \\
        '{"service": "redshift", "waiter_name": "cluster_paused", "waiter_args": {"ClusterIdentifier": "dwh"}}'
    """
    with open_client(config, redis) as client:
        handle = client.defer(
            (classpath, _object("JSON", sys.stdin.read() if kwargs == "-" else kwargs)),
            method_name,
            timeout,
            _object("--method-kwargs", method_kwargs),
            id=trigger_id,
            queue=queue,
            reply_to=None if reply_to == "none" else reply_to,
        )
        if not wait:
            click.echo(
                json.dumps({"id": handle.id, "queue": queue, "enqueued": handle.enqueued}) if as_json else handle.id
            )
            return
        try:
            event = handle.result(wait_timeout)
        except ResultTimeoutError as error:
            click.echo(f"triggerd: {error}", err=True)
            ctx.exit(EXIT_TIMED_OUT)
    facts = {"id": handle.id, "queue": queue, "state": event.outcome} | finished_facts(event)
    if as_json:
        click.echo(to_json(facts))
    else:
        print_facts(facts)
    ctx.exit(0 if event.outcome == "fired" and event.get("status") != "error" else EXIT_NOT_FIRED)


def _object(what: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{what} is no JSON (line {error.lineno}, column {error.colno}): {error.msg}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{what} must be a JSON object with the constructor's arguments, not {text[:60]!r}")
    return value
