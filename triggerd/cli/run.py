"""`triggerd run`: one daemon process."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import prometheus_client
import uvloop

from triggerd import logs
from triggerd.cli.config import DEFAULT_FILE, ENV_FILE, load
from triggerd.cli.doubts import doubts
from triggerd.daemon import containment
from triggerd.daemon.daemon import Daemon
from triggerd.daemon.finding import Finding
from triggerd.embedded import EmbeddedServer
from triggerd.settings import Settings


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=ENV_FILE,
    help=f"TOML file; {DEFAULT_FILE} where it exists.",
)
@click.option("--redis", metavar="URL", help="Redis or Valkey: redis://, rediss:// or unix://.")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="A queue to serve; repeat it for several.")
@click.option("--embedded", is_flag=True, help="Start a private Valkey that ends with this daemon; prints its URL.")
@click.option("--http-port", type=int, metavar="N", help="Port of /metrics, /livez, /readyz; 0 takes any free one.")
@click.option("--log-format", type=click.Choice(["json", "console", "auto"]), help="Format of the lines on stderr.")
def run(
    config: Path | None,
    *,
    redis: str | None,
    queues: tuple[str, ...],
    embedded: bool,
    http_port: int | None,
    log_format: str | None,
) -> None:
    """Run the daemon: claim triggers, run them, publish their events. SIGTERM hands everything over and exits 0."""
    if embedded and redis:
        raise click.UsageError("--embedded and --redis exclude each other")
    overrides: dict[str, Any] = {}
    if queues:
        overrides["queues"] = queues
    if http_port is not None:
        overrides["http"] = {"port": http_port}
    if log_format is not None:
        overrides["logs"] = {"format": log_format}
    file = config if config is not None else DEFAULT_FILE if DEFAULT_FILE.exists() else None
    with contextlib.ExitStack() as stack:
        if embedded:
            redis = stack.enter_context(EmbeddedServer()).url
            click.echo(redis)
        if redis is not None:
            overrides["redis"] = {"url": redis}
        serve(load(file, os.environ, overrides), doubts(file, os.environ))
    _leave()


def serve(settings: Settings, doubtful: Iterable[Finding] = ()) -> None:
    """Run one daemon with these settings, until it is told to stop; it warns of what is doubtful in them."""
    logs.configure(settings.logs)
    for doubt in doubtful:
        told = {"about": doubt.about, "found": doubt.found, "advice": doubt.advice}
        logs.get_logger("triggerd.startup").warning("doctor", **told)
    # A second series for each counter, of use to nobody here.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has none

    # No asyncio.Runner: its end waits for every task and thread, so for a trigger that heeds no cancellation.
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    containment.drive(loop, Daemon(settings, os.environ).run())


def _leave() -> None:
    """Exit 0 at once: everything was handed over, and a thread that a trigger started must not keep the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
