"""`triggerd wait`: one wait in the foreground, without Redis and daemon. A better ``aws <service> wait``."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from triggerd.aws import Progress
from triggerd.aws.local import open_aws
from triggerd.aws.waiters import ServiceModels, Waiters, new_loader
from triggerd.cli.options import Duration, config_option, for_people, read_settings
from triggerd.cli.show import to_json
from triggerd.cli.wait_arguments import parse_arguments
from triggerd.clock import monotonic_s
from triggerd.errors import AwsCallError, WaiterExhaustedError, WaiterFailedError, WaitError
from triggerd.settings import AwsSettings, ConnectionSettings

EXIT_SUCCESS, EXIT_FAILURE_STATE, EXIT_USAGE, EXIT_TIMED_OUT, EXIT_AWS_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    service: str
    waiter: str
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
@click.option("--delay", type=Duration(), help="Between polls; else the waiter's own.")
@click.option("--max-attempts", type=click.IntRange(1), help="With the delay, the budget of time; else the waiter's.")
@click.option("--timeout", type=Duration(), help="Give up after this, whatever happens, as 10m.")
@click.option("--region", help="Else the connection's.")
@click.option("--profile", help="Profile of ~/.aws/config.")
@click.option("--endpoint-url", metavar="URL", help="Instead of AWS's own: moto, LocalStack, a VPC endpoint.")
@click.option("--connection", default="default", show_default=True, metavar="NAME", help="A connection of the config.")
@click.option("--status-query", multiple=True, metavar="JMESPATH", help="Where in the answer the shown status is.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout at the end.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def wait(ctx: click.Context, service: str, waiter: str, arguments: tuple[str, ...], *, delay: float | None,
         max_attempts: int | None, timeout: float | None, region: str | None, profile: str | None,
         endpoint_url: str | None, connection: str, status_query: tuple[str, ...], config: Path | None, as_json: bool,
         quiet: bool) -> None:  # fmt: skip
    """Wait in the foreground until WAITER of SERVICE says success or failure.

    \b
    triggerd wait redshift cluster_paused ClusterIdentifier=dwh
    triggerd wait ecs tasks_stopped cluster=etl tasks=arn:... tasks=arn:... --timeout 30m

    A parameter with a structure takes JSON. `triggerd waiters show SERVICE WAITER` lists the parameters.

    Exit status: 0 success, 1 failure state, 2 usage, 3 time-out or budget used up, 4 AWS error, 130 interrupted.
    Throttles and network trouble are waited through, for as long as --timeout allows.
    """
    settings = _with_connection(read_settings(config).aws, connection, profile=profile, endpoint_url=endpoint_url)
    models = ServiceModels(new_loader())
    definition = Waiters(settings.waiter_folders, models).get(service, waiter)
    operation = models.operation(service, definition.operation)
    options = {
        "delay": delay, "max_attempts": max_attempts, "connection": connection, "region": region,
        "status_queries": status_query,
    }  # fmt: skip
    # What the poller would log is on the live line already.
    logging.getLogger("triggerd").addHandler(logging.NullHandler())
    request = Request(service, waiter, parse_arguments(operation, arguments), options, timeout)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(_wait(settings, request, LiveLine(quiet=quiet)))
    except KeyboardInterrupt:
        ctx.exit(EXIT_INTERRUPTED)
    _print(result, as_json=as_json, quiet=quiet)
    ctx.exit(result.exit_code)


class LiveLine:
    """On a terminal one line that is rewritten every second; elsewhere a plain line where the status changes."""

    def __init__(self, *, quiet: bool) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._began_s = self._polled_s = monotonic_s()
        self._progress: Progress | None = None
        self._said: tuple[str | None, bool] | None = None

    @property
    def polls(self) -> int:
        return self._progress.polls if self._progress else 0

    @property
    def last_status(self) -> str | None:
        return self._progress.last_status if self._progress else None

    @property
    def waited_s(self) -> float:
        return monotonic_s() - self._began_s

    def polled(self, progress: Progress) -> None:
        """Called after each poll."""
        self._progress, self._polled_s = progress, monotonic_s()
        state = progress.last_status, progress.trouble is not None
        if not self._live and not self._quiet and state != self._said:
            self._said = state
            click.echo(self.text(), err=True)

    async def keep_drawing(self) -> None:
        """Redraw every second until cancelled; then leave an empty line behind."""
        if not self._live:
            return
        try:
            while True:
                click.echo(f"\r\x1b[K{self.text()}", nl=False, err=True)
                await asyncio.sleep(1)
        finally:
            click.echo("\r\x1b[K", nl=False, err=True)

    def text(self) -> str:
        """``12 s, 3 polls, pausing, next poll in 4 s``."""
        parts = [for_people(self.waited_s), f"{self.polls} poll{'' if self.polls == 1 else 's'}"]
        if self._progress is not None:
            parts.append(self.last_status or "no status yet")
            left_s = self._progress.next_poll_s - (monotonic_s() - self._polled_s)
            parts.append(f"next poll in {for_people(left_s)}" if left_s > 0 else "polling")
            if self._progress.trouble:
                parts.append(f"({self._progress.trouble})")
        return ", ".join(parts)


async def _wait(settings: AwsSettings, request: Request, line: LiveLine) -> Result:
    drawing = asyncio.create_task(line.keep_drawing(), name="live line")
    try:
        async with open_aws(settings) as aws, asyncio.timeout(request.timeout_s):
            arguments = (request.service, request.waiter, request.arguments)
            response = await aws.wait(*arguments, **request.options, on_poll=line.polled)
    except TimeoutError:
        message = f"--timeout of {for_people(request.timeout_s or 0)} passed"
        return Result("timed_out", EXIT_TIMED_OUT, message, line.last_status, line.polls, line.waited_s)
    except WaitError as error:
        return _failed(error)
    else:
        facts = (response.last_status, response.polls, response.waited_s)
        return Result("success", EXIT_SUCCESS, "", *facts, response=dict(response))
    finally:
        drawing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drawing


def _failed(error: WaitError) -> Result:
    outcome, exit_code = "aws_error", EXIT_AWS_ERROR
    if isinstance(error, WaiterFailedError):
        outcome, exit_code = "failure", EXIT_FAILURE_STATE
    elif isinstance(error, WaiterExhaustedError):
        outcome, exit_code = "timed_out", EXIT_TIMED_OUT
    elif not isinstance(error, AwsCallError):
        raise error
    facts = (error.last_status, error.polls, error.waited_s)
    return Result(outcome, exit_code, str(error), *facts, aws_code=error.aws_code, response=error.response)


def _print(result: Result, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        fields = {name: getattr(result, name) for name in Result.__dataclass_fields__}
        click.echo(to_json(fields))
    elif result.exit_code != EXIT_SUCCESS:
        click.echo(f"{result.outcome.replace('_', ' ')}: {result.message}", err=True)
    elif not quiet:
        polls = f"{result.polls} poll{'' if result.polls == 1 else 's'}"
        status = f", status {result.status}" if result.status else ""
        click.echo(f"{click.style('success', fg='green')} after {for_people(result.waited_s)}, {polls}{status}")


def _with_connection(settings: AwsSettings, name: str, **changes: str | None) -> AwsSettings:
    wanted: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    if not wanted:
        return settings
    connection = msgspec.structs.replace(settings.connections.get(name, ConnectionSettings()), **wanted)
    return msgspec.structs.replace(settings, connections={**settings.connections, name: connection})
