"""`triggerd submit`: defer one trigger from a shell."""

import asyncio
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from triggerd.airflow.aliases import PREFIX as AIRFLOWS
from triggerd.cli import exits
from triggerd.cli.options import duration, open_client, redis_options
from triggerd.cli.output import to_json
from triggerd.cli.show import event_facts, print_trigger
from triggerd.daemon.registry import BUNDLED, Registry, build
from triggerd.deferrable import OnTimeout
from triggerd.errors import ClasspathNotAllowedError, ResultTimeoutError
from triggerd.handle import Handle

_CANCELS = "cancel: when the time is over, a daemon also stops the work on AWS."


@click.command()
@click.argument("classpath")
@click.argument("kwargs", metavar="[JSON]", default="{}")
@redis_options
@click.option("--id", "trigger_id", metavar="ID", help="Trigger id; submitting one id twice is one deferral.")
@click.option("--timeout", type=duration, help="After this it ends with timed_out: 3600, 90s, 2h; else 10d.")
@click.option("--on-timeout", type=click.Choice(["leave", "cancel"]), default="leave", show_default=True, help=_CANCELS)
@click.option("--reply-to", default="none", show_default=True, metavar="NAME", help="Result stream; none: no stream.")
@click.option("--method-name", default="execute_complete", show_default=True, help="Continuation, for a Resumer.")
@click.option("--method-kwargs", default="{}", metavar="JSON", help="Keyword arguments of the continuation.")
@click.option("--wait", is_flag=True, help="Wait for the event and print it.")
@click.option("--wait-timeout", type=duration, help="With --wait: give up waiting after this; the trigger goes on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def submit(ctx: click.Context, classpath: str, kwargs: str, *, config: Path | None, redis: str | None, queue: str,
           trigger_id: str | None, timeout: float | None, on_timeout: OnTimeout, reply_to: str, method_name: str,
           method_kwargs: str, wait: bool, wait_timeout: float | None, as_json: bool) -> None:  # fmt: skip
    """Put the trigger CLASSPATH onto a queue and print its id.

    JSON is an object with the arguments of the trigger's constructor, or - to read it from stdin. The daemon runs
    the bundled triggers, those that stand for Airflow's (with Airflow's classpath and arguments), and your own where
    its setting `allow` names them.

    \b
        triggerd submit triggerd.triggers.time.TimeDeltaTrigger '{"seconds": 5}' --wait
        triggerd submit triggerd.triggers.aws.AwsWaiterTrigger --timeout 2h --id pause-dwh \\
            '{"service": "redshift", "waiter_name": "cluster_paused",
              "waiter_args": {"ClusterIdentifier": "dwh"}}'

    Exit status: 0 enqueued (with --wait: it fired), 1 with --wait: it did not fire, or its event says error, 2 usage,
    3 --wait-timeout passed, 4 Redis refused or cannot be reached, 130 interrupted (the trigger goes on).
    """
    trigger = _trigger(classpath, _object("the trigger's JSON", sys.stdin.read() if kwargs == "-" else kwargs))
    resume_kwargs = _object("--method-kwargs", method_kwargs)
    reply = None if reply_to == "none" else reply_to
    with open_client(config, redis) as client:
        handle = client.defer(
            trigger, method_name, timeout, resume_kwargs, id=trigger_id, queue=queue, reply_to=reply,
            on_timeout=on_timeout,
        )  # fmt: skip
        if wait or wait_timeout is not None:
            ctx.exit(_wait(handle, wait_timeout, as_json=as_json))
    enqueued = {"id": handle.id, "queue": queue, "enqueued": handle.enqueued}
    click.echo(to_json(enqueued) if as_json else handle.id)


def _wait(handle: Handle, timeout_s: float | None, *, as_json: bool) -> int:
    """Wait for the event and print it. Returns the exit status."""
    known = {"id": handle.id, "queue": handle.queue}
    if sys.stderr.isatty():  # whoever gives up has to know the id
        click.echo(f"waiting for trigger {handle.id}; it goes on without this command", err=True)
    try:
        event = handle.result(timeout_s)
    except ResultTimeoutError as error:
        click.echo(f"triggerd: {error}", err=True)
        if as_json:
            click.echo(to_json(known | {"state": handle.status()}))
        return exits.TIMED_OUT
    print_trigger(known | {"state": event.outcome} | event_facts(event), as_json=as_json)
    return exits.SUCCESS if event.outcome == "fired" and event.get("status") != "error" else exits.FAILURE


def _trigger(classpath: str, kwargs: Mapping[str, Any]) -> Any:
    """What to defer. A bundled trigger is built here: its mistakes come to light now, and not on the daemon.

    So is what stands for one of Airflow's; the daemon gets the pair as it is.
    """
    if classpath in BUNDLED:
        return build(asyncio.run(Registry((), {}).load(classpath)), kwargs)
    if classpath.startswith(AIRFLOWS):
        try:
            build(asyncio.run(Registry((), {}).load(classpath)), kwargs)
        except ClasspathNotAllowedError as error:
            click.echo(f"triggerd: {error}; submitted for a daemon that has Airflow and allows it", err=True)
        return classpath, kwargs
    parts = classpath.split(".")
    if parts[0] == "triggerd" or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        by_name = {path.rpartition(".")[2].lower(): path for path in BUNDLED}
        close = difflib.get_close_matches(parts[-1].lower(), by_name, n=1)
        hint = f"did you mean {by_name[close[0]]}?" if close else f"bundled are {', '.join(sorted(BUNDLED))}"
        raise click.UsageError(f"{classpath!r} is no trigger, {hint}")
    return classpath, kwargs


def _object(what: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{what} is no JSON (line {error.lineno}, column {error.colno}): {error.msg}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{what} must be a JSON object, such as '{{\"seconds\": 5}}', not {text.strip()[:60]!r}")
    return value
