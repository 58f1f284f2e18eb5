"""`triggerd wait`: one wait in the foreground, without Redis and daemon. A better ``aws <service> wait``."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from triggerd.aws.local import open_aws
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters, new_loader
from triggerd.cli import exits
from triggerd.cli.live_line import LiveLine
from triggerd.cli.options import config_option, duration, read_settings
from triggerd.cli.output import counted, for_people, printable, to_json
from triggerd.cli.wait_arguments import parse_arguments
from triggerd.errors import AwsCallError, WaiterExhaustedError, WaiterFailedError, WaitError
from triggerd.settings import AwsSettings, ConnectionSettings


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    definition: WaiterDefinition
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]
    timeout_s: float | None


@dataclass(frozen=True)
class Result:
    """How it ended, for people and for scripts."""

    outcome: str
    exit_code: int
    message: str
    status: str | None
    polls: int
    waited_s: float
    aws_code: str | None = None
    response: Mapping[str, Any] | None = None


@click.command()
@click.argument("service")
@click.argument("waiter")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--delay", type=duration, help="Between polls, as 10 or 1m; else the waiter's own.")
@click.option("--max-attempts", type=click.IntRange(1), metavar="N",
              help="The wait may last N-1 delays; else the waiter's own.")  # fmt: skip
@click.option("--timeout", type=duration, help="Give up after this, whatever happens: 90, 10m, 2h.")
@click.option("--region", metavar="NAME", help="Else the connection's: AWS_REGION, or the profile's.")
@click.option("--profile", metavar="NAME", help="A profile of ~/.aws/config.")
@click.option("--endpoint-url", metavar="URL", help="Instead of AWS's own: moto, LocalStack, a VPC endpoint.")
@click.option("--connection", default="default", show_default=True, metavar="NAME", help="A connection of the config.")
@click.option("--status-query", multiple=True, metavar="JMESPATH",
              help="Where in the answer the shown status is; repeat it for a second place.")  # fmt: skip
@click.option("--parameter", "fillings", multiple=True, metavar="NAME=VALUE",
              help="For a waiter with {{NAME}} in its acceptors, as `triggerd waiters show` says.")  # fmt: skip
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout at the end.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def wait(ctx: click.Context, service: str, waiter: str, arguments: tuple[str, ...], *, delay: float | None,
         max_attempts: int | None, timeout: float | None, region: str | None, profile: str | None,
         endpoint_url: str | None, connection: str, status_query: tuple[str, ...], fillings: tuple[str, ...],
         config: Path | None, as_json: bool, quiet: bool) -> None:  # fmt: skip
    """Wait until WAITER of SERVICE says success or failure, here in the foreground.

    Each KEY=VALUE is a parameter of the AWS call that the waiter makes, as the AWS API spells it. A list is the same
    KEY several times, or JSON; a structure is JSON. `triggerd waiters ls SERVICE` lists the waiters,
    `triggerd waiters show SERVICE WAITER` the parameters.

    \b
        triggerd wait redshift cluster_paused ClusterIdentifier=dwh --timeout 30m
        triggerd wait ecs tasks_stopped cluster=etl tasks=0a1b tasks=2c3d --json
        triggerd wait ec2 instance_running 'Filters=[{"Name": "tag:team", "Values": ["etl"]}]'

    Throttles and network trouble are no failures: they are waited through, for ever unless there is a --timeout.

    Exit status: 0 success, 1 failure state, 2 usage, 3 --timeout passed or attempts used up, 4 AWS refused (access
    denied, no credentials, wrong parameters), 130 interrupted.
    """
    settings = _with_connection(read_settings(config).aws, connection, profile=profile, endpoint_url=endpoint_url)
    models = ServiceModels(new_loader())
    parameters = dict(filling.partition("=")[::2] for filling in fillings)
    definition = Waiters(settings.waiter_folders, models).get(service, waiter, parameters=parameters)
    call = parse_arguments(models.operation(service, definition.operation), arguments)
    options = {
        "delay": delay, "max_attempts": max_attempts, "connection": connection, "region": region,
        "status_queries": status_query, "parameters": parameters,
    }  # fmt: skip
    # What the poller would log is on the live line already.
    logging.getLogger("triggerd").addHandler(logging.NullHandler())
    line = LiveLine(quiet=quiet)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().add_signal_handler(signal.SIGINT, _interrupted, line)
        result = runner.run(_wait(settings, Request(definition, call, options, timeout), line))
    _print(result, as_json=as_json, quiet=quiet)
    ctx.exit(result.exit_code)


def _interrupted(line: LiveLine) -> None:
    """Ctrl-C. A wait owns nothing that would need an orderly end, so nothing can keep the process."""
    line.erase()
    click.echo(f"interrupted: {line.text(with_next_poll=False)}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exits.INTERRUPTED)


async def _wait(settings: AwsSettings, request: Request, line: LiveLine) -> Result:
    definition = request.definition
    drawing = asyncio.create_task(line.keep_drawing(), name="live line")
    try:
        async with open_aws(settings) as aws, asyncio.timeout(request.timeout_s):
            arguments = (definition.service, definition.name, request.arguments)
            response = await aws.wait(*arguments, **request.options, on_poll=line.polled)
    except TimeoutError:
        message = _given_up(definition.label, request.timeout_s or 0.0, line)
        return Result("timed_out", exits.TIMED_OUT, message, line.last_status, line.polls, line.waited_s)
    except WaitError as error:
        return _failed(error)
    else:
        facts = (response.last_status, response.polls, response.waited_s)
        return Result("success", exits.SUCCESS, "", *facts, response=_lean(response))
    finally:
        drawing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drawing


def _given_up(label: str, timeout_s: float, line: LiveLine) -> str:
    limit = f"{timeout_s:g} s" if timeout_s < 60 else for_people(timeout_s)
    trouble = f" ({line.trouble})" if line.trouble else ""
    status = line.last_status or "unfinished"
    return f"{label}: still {status} after {counted(line.polls, 'poll')}, --timeout of {limit} passed{trouble}"


def _failed(error: WaitError) -> Result:
    outcome, exit_code = "aws_error", exits.UNAVAILABLE
    if isinstance(error, WaiterFailedError):
        outcome, exit_code = "failure", exits.FAILURE
    elif isinstance(error, WaiterExhaustedError):
        outcome, exit_code = "timed_out", exits.TIMED_OUT
    elif not isinstance(error, AwsCallError):
        raise error
    facts = (error.last_status, error.polls, error.waited_s)
    return Result(outcome, exit_code, str(error), *facts, aws_code=error.aws_code, response=_lean(error.response))


def _lean(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer without what the HTTP client adds to it, as ``aws ... --output json`` prints it."""
    return {key: value for key, value in response.items() if key != "ResponseMetadata"}


def _print(result: Result, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(to_json(asdict(result) | {"waited_s": round(result.waited_s, 3)}))
    elif result.exit_code != exits.SUCCESS:
        ended = click.style(result.outcome.replace("_", " "), fg="red")
        click.echo(f"{ended}: {printable(result.message)}", err=True)
    elif not quiet:
        status = f", status {printable(result.status)}" if result.status else ""
        ended = f"after {for_people(result.waited_s)}, {counted(result.polls, 'poll')}{status}"
        click.echo(f"{click.style('success', fg='green')} {ended}")


def _with_connection(settings: AwsSettings, name: str, **changes: str | None) -> AwsSettings:
    wanted: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    if name == "aws_default" and name not in settings.connections:
        name = "default"  # as where connections are opened
    if not wanted or (name != "default" and name not in settings.connections):
        return settings  # an unknown connection is refused where connections are opened
    if "profile" in wanted:  # whoever names one does not mean the connection's keys
        wanted |= dict.fromkeys(("access_key_id", "secret_access_key", "session_token"))
    connection = msgspec.structs.replace(settings.connections.get(name, ConnectionSettings()), **wanted)
    return msgspec.structs.replace(settings, connections={**settings.connections, name: connection})
