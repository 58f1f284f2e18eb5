"""`triggerd quiet`: daemons take nothing new, and go on with what they run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from triggerd.cli import exits
from triggerd.cli.options import config_option, open_client, redis_option
from triggerd.cli.output import print_table, printable, to_json
from triggerd.client import Client
from triggerd.errors import StreamMissingError
from triggerd.keys import QueueKeys
from triggerd.streams.leases import ConsumerInfo, Leases
from triggerd.streams.server import key_type


@dataclass(frozen=True, slots=True)
class _Member:
    """A consumer of one of the queues."""

    queue: str
    info: ConsumerInfo

    @property
    def alive(self) -> bool:
        return not self.info.adoptable

    @property
    def facts(self) -> dict[str, Any]:
        info = self.info
        return {"consumer": info.name, "queue": self.queue, "state": info.state, "pending": info.pending}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everybody", is_flag=True, help="Every daemon that lives.")
@config_option
@redis_option
@click.option("--queue", "queues", multiple=True, default=["default"], show_default=True, metavar="NAME",
              help="The trigger queue; repeat it for several.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="A JSON list of the daemons on stdout.")
@click.pass_context
def quiet(ctx: click.Context, names: tuple[str, ...], *, everybody: bool, config: Path | None, redis: str | None,
          queues: tuple[str, ...], as_json: bool) -> None:  # fmt: skip
    """Ask daemons to take nothing new from a queue.

    What they run they go on running, and deadlines and cancels are kept. New triggers wait for other daemons, or in
    Redis. The signal SIGTSTP to the process does the same for all its queues. Only a restart ends it.

    Without NAME: list the daemons of the queue.

    \b
        triggerd quiet
        triggerd quiet web-1-4711-0a1b2c3d
        triggerd quiet --all --queue default --queue etl

    Exit status: 0 they were asked (or listed), 1 one of them does not live, 2 usage, 4 Redis refused or cannot be
    reached.
    """
    if names and everybody:
        raise click.UsageError("name daemons, or say --all")
    with open_client(config, redis) as client:
        members = [member for queue in dict.fromkeys(queues) for member in _members(client, queue)]
        chosen = [member for member in members if member.alive] if everybody else _called(names, queues, members)
        asked = [member for member in chosen if _ask(client, member)]
    shown = asked if names or everybody else members
    if as_json:
        click.echo(to_json([member.facts | ({"state": "quiet"} if member in asked else {}) for member in shown]))
    elif not names and not everybody:
        _list(members, queues)
    else:
        for member in asked:
            click.echo(printable(f"{member.info.name} was asked to take nothing new from queue {member.queue!r}"))
    missing = [name for name in dict.fromkeys(names) if name not in {member.info.name for member in asked}]
    if missing or (everybody and not asked):
        click.echo(f"triggerd: {_complaint(missing, members)} on {_named(queues)}", err=True)
        ctx.exit(exits.FAILURE)


def _called(names: Sequence[str], queues: Sequence[str], members: Sequence[_Member]) -> list[_Member]:
    """Those of these names, also where the group does not list them: Redis before 7.2 does only after a first claim."""
    known = {(member.queue, member.info.name): member for member in members}
    return [
        known.get((queue, name)) or _Member(queue, ConsumerInfo(name, 0, "alive"))
        for queue in dict.fromkeys(queues)
        for name in dict.fromkeys(names)
    ]


def _complaint(missing: Sequence[str], members: Sequence[_Member]) -> str:
    living = dict.fromkeys(member.info.name for member in members if member.alive)
    if not missing:
        return "no daemon lives"
    beside = f" (living are {', '.join(living)})" if living else ""
    return printable(f"no daemon {', '.join(missing)} lives{beside}")


def _members(client: Client, queue: str) -> Iterator[_Member]:
    run = client.caller.redis.run
    if run(key_type(QueueKeys(queue).triggers)) == "none":
        return
    try:
        found = run(Leases(queue).consumers())
    except StreamMissingError:  # producers have been here, a daemon never
        return
    yield from (_Member(queue, info) for info in sorted(found, key=lambda info: info.name))


def _ask(client: Client, member: _Member) -> bool:
    """False: it has died meanwhile."""
    answer: bool = client.caller.redis.run(Leases(member.queue).quiet(member.info.name))
    return answer


def _list(members: Sequence[_Member], queues: Sequence[str]) -> None:
    if not members:
        click.echo(f"no daemon on {_named(queues)}")
        return
    print_table(["CONSUMER", "QUEUE", "STATE", "PENDING"], [list(member.facts.values()) for member in members])
    if any(member.info.state == "alive" for member in members):
        click.echo("\n`triggerd quiet CONSUMER` or `--all` asks them to take nothing new, until their restart.")


def _named(queues: Sequence[str]) -> str:
    return f"queue {queues[0]!r}" if len(queues) == 1 else f"the queues {', '.join(map(repr, queues))}"
