"""`triggerd doctor`: what is wrong with a server and its queues, before it costs a trigger."""

import asyncio
import logging
import os
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from triggerd.aws.quotas import Quotas
from triggerd.aws.waiters import ServiceModels, new_loader
from triggerd.cli import exits
from triggerd.cli.doubts import doubts
from triggerd.cli.options import config_file, config_option, read_settings, redis_option
from triggerd.cli.output import counted, print_table, printable, to_json
from triggerd.daemon.doctor import examine
from triggerd.daemon.doctor_connections import check_connections
from triggerd.daemon.doctor_waiters import check_waiters
from triggerd.daemon.finding import Finding
from triggerd.settings import Settings
from triggerd.streams.connection import AsyncRedis

_WORDS = {"refuse": "REFUSED", "wait": "WAITS", "warn": "warning", "unchecked": "not checked", "ok": "ok"}
_COLOURS = {"refuse": "red", "wait": "red", "warn": "yellow", "ok": "green"}


@click.command()
@config_option
@redis_option
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="A queue to look at; else those of the config.")
@click.option(
    "--connection",
    "connections",
    multiple=True,
    metavar="NAME",
    help="A connection to AWS to look at; else all that are configured.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list of findings on stdout.")
@click.pass_context
def doctor(ctx: click.Context, *, config: Path | None, redis: str | None, queues: tuple[str, ...],
           connections: tuple[str, ...], as_json: bool) -> None:  # fmt: skip
    """Find what is wrong with Redis, the queues, your waiters and your connections to AWS.

    The daemon does the same at its start: it refuses what is REFUSED here, waits while it is said to, and logs the
    warnings. Every verb is tried on keys of its own, beside those of the queue; nothing that is in flight is touched,
    and it costs the server some 20 ms in all. Only the doctor asks AWS who each connection is, which needs no
    permission.

    \b
        triggerd doctor --redis redis://redis-1
        triggerd doctor --json | jq '.[] | select(.level == "warn")'

    Exit status: 0 a daemon can serve (warnings or not), 1 it would refuse or wait, 2 usage, 4 Redis cannot be reached.
    """
    settings = read_settings(config, redis)
    if queues:
        settings = msgspec.structs.replace(settings, queues=queues)
    Quotas(settings.aws, ServiceModels(new_loader()))  # a daemon would refuse a quota that there is not
    logging.getLogger("triggerd").addHandler(logging.NullHandler())  # what is logged is found here, too
    findings = [*check_waiters(settings.aws.waiter_folders), *doubts(config_file(config), os.environ)]
    findings += asyncio.run(_examine(settings, connections or tuple(settings.aws.connections)))
    if as_json:
        click.echo(to_json([asdict(finding) for finding in findings]))
    else:
        _print(findings)
    unfit = any(finding.level in ("refuse", "wait") for finding in findings)
    ctx.exit(exits.FAILURE if unfit else exits.SUCCESS)


async def _examine(settings: Settings, connections: tuple[str, ...]) -> list[Finding]:
    timeout_ms = settings.redis.command_timeout_ms
    redis = AsyncRedis(
        settings.redis.url, name="triggerd-doctor", command_timeout_ms=timeout_ms, retries=0, max_connections=3
    )
    try:
        found = await examine(redis, settings)
    finally:
        await redis.close()
    return [*found, *await check_connections(settings.aws, connections)]


def _print(findings: list[Finding]) -> None:
    """A table, and below it what to do."""
    print_table(["", "ABOUT", "FOUND"], [[_WORDS[finding.level], finding.about, finding.found] for finding in findings])
    for advice in dict.fromkeys(finding.advice for finding in findings if finding.advice):
        click.echo()
        for finding in findings:
            if finding.advice == advice:
                words = printable(f"{finding.about}: {finding.found}")
                click.echo(click.style(words, fg=_COLOURS.get(finding.level)))
        click.echo(click.wrap_text(printable(advice), 100, "  ", "  "))
    refused = sum(finding.level in ("refuse", "wait") for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    said = f"{counted(refused, 'refusal')}, " if refused else ""
    click.echo(f"\n{said}{counted(warned, 'warning')}")
