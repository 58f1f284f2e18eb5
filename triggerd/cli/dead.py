"""`triggerd dead`: the dead letters of a queue, looked at, tried again, thrown away."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from triggerd.cli import exits
from triggerd.cli.dead_facts import SIGNATURE_CODES, full_facts, signed_anew, summary
from triggerd.cli.options import duration, open_client, redis_options
from triggerd.cli.output import counted, moment, print_facts, print_table, printable, to_json
from triggerd.client import Client
from triggerd.deferral import timeout_ms
from triggerd.errors import EnvelopeError, TriggerdError
from triggerd.keys import BATCH
from triggerd.redact import redacted
from triggerd.streams.dead_letter import (
    ID_TOO_LONG,
    NO_SUCH_LETTER,
    NOTHING_TO_RUN,
    REPLAYED,
    REPLAYED_BEFORE,
    DeadLetter,
    DeadLetters,
    replay_id,
)
from triggerd.streams.trigger_queue import TriggerQueue

Command = TypeVar("Command", bound=Callable[..., Any])

_LETTER = re.compile(r"\d{1,19}-\d{1,19}")
_LONGEST_WHY = 80
_RESULTS = {
    REPLAYED: "replayed", REPLAYED_BEFORE: "replayed_before", NO_SUCH_LETTER: "no_such_letter",
    NOTHING_TO_RUN: "nothing_to_run", ID_TOO_LONG: "id_too_long",
}  # fmt: skip
_WORDS = {
    "replayed": "replayed as {replayed_as}", "replayed_before": "replayed before, as {replayed_as}",
    "event_replayed": "its event is back on result stream {reply_to!r}",
    "no_such_letter": "no such letter (any more)", "dropped": "dropped",
    "nothing_to_run": "holds nothing that could be run", "id_too_long": "its new id would be too long",
    "not_signed": "not replayed: {why}; if you vouch for it, --sign",
    "unreadable": "not replayed: {why}",
}  # fmt: skip
_WELL = {"replayed", "replayed_before", "event_replayed", "dropped"}


@click.group()
def dead() -> None:
    """See, replay and drop dead letters.

    A dead letter is a trigger that could not be run at all (undecodable, not allowed, arguments refused, a crash in
    quarantine) or an event that no continuation could take. It is kept until somebody replays or drops it.

    \b
        triggerd dead ls --code classpath_not_allowed
        triggerd dead show 1764000000000-0
        triggerd dead replay --all --code classpath_not_allowed
    """


def _filters(command: Command) -> Command:
    code = click.option("--code", "codes", multiple=True, metavar="CODE", help="Only these; repeatable.")
    trigger_id = click.option("--id", "ids", multiple=True, metavar="ID", help="Only of these trigger ids; repeatable.")
    return code(trigger_id(command))


def _choice(command: Command) -> Command:
    everything = click.option("--all", "everything", is_flag=True, help="Each of the queue that --code and --id leave.")
    yes = click.option("--yes", is_flag=True, help="With --all: do not ask.")
    as_json = click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout.")
    letters = click.argument("letters", nargs=-1, metavar="[LETTER]...")
    return letters(everything(_filters(yes(redis_options(as_json(command))))))


@dead.command("ls")
@redis_options
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout.")
def ls(*, config: Path | None, redis: str | None, queue: str, codes: tuple[str, ...], ids: tuple[str, ...],
       limit: int, as_json: bool) -> None:  # fmt: skip
    """List dead letters, the newest first.

    \b
        triggerd dead ls --limit 10
        triggerd dead ls --json | jq -r '.[].code' | sort | uniq -c
    """
    with open_client(config, redis) as client:
        found = list(islice(_walk(client, queue, codes, ids), limit + 1))
        total = client.caller.redis.run(TriggerQueue(queue).depth()).dead
    rows = [summary(letter, queue) for letter in found[:limit]]
    if as_json:
        click.echo(to_json(rows))
    elif not rows:
        click.echo(f"none of the {total:,} dead letters" if total else f"no dead letters on queue {queue!r}")
    else:
        print_table(["LETTER", "BURIED (UTC)", "TRIGGER ID", "CODE", "WHY"], [_row(facts) for facts in rows])
        if len(found) > limit:
            click.echo(f"and older ones, {total:,} dead letters in all; --limit shows more")


@dead.command("show")
@click.argument("letter", metavar="LETTER")
@redis_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show(letter: str, *, config: Path | None, redis: str | None, queue: str, as_json: bool) -> None:
    """Say all that is known of one dead letter.

    Values that look like secrets are shown as ***, bytes that cannot be decoded as the first few in hex.

    \b
        triggerd dead show 1764000000000-0 --queue etl

    Exit status: 0 it is there, 1 no such letter, 2 usage, 4 Redis refused or cannot be reached.
    """
    _check_letters([letter])
    with open_client(config, redis) as client:
        found = client.caller.redis.run(DeadLetters(queue).get(letter))
    if found is None:
        raise TriggerdError(f"no dead letter {letter!r} on queue {queue!r}; `triggerd dead ls` lists them")
    facts = full_facts(found, queue)
    if as_json:
        click.echo(to_json(facts))
    else:
        print_facts({_label(name): _for_people(name, facts[name]) for name in facts})


@dead.command("replay")
@_choice
@click.option("--timeout", type=duration, help="Of the new triggers; a dead letter does not keep it. Else 10d.")
@click.option("--on-timeout", type=click.Choice(["leave", "cancel"]), default="leave", show_default=True,
              help="cancel: when the time is over, a daemon also stops the work on AWS.")  # fmt: skip
@click.option("--sign", "vouched", is_flag=True, help="Sign also what no key of ours has signed: you vouch for it.")
@click.pass_context
def replay(ctx: click.Context, letters: tuple[str, ...], *, everything: bool, codes: tuple[str, ...],
           ids: tuple[str, ...], yes: bool, config: Path | None, redis: str | None, queue: str, as_json: bool,
           timeout: float | None, on_timeout: str, vouched: bool) -> None:  # fmt: skip
    """Try dead letters again.

    A trigger runs under a new id, <id>~<letter>, because its caller has had the final event of the old one; an event
    goes back to its result stream. Replaying twice is once. With signing keys, what they have signed is signed anew.

    \b
        triggerd dead replay 1764000000000-0 --timeout 2h
        triggerd dead replay --all --code classpath_not_allowed

    Exit status: 0 all replayed, 1 one was not or is not there any more, 2 usage, 4 Redis refused or cannot be reached.
    """
    with open_client(config, redis) as client:
        keys, run = client.caller.keys, client.caller.redis.run
        if vouched and keys is None:
            raise click.UsageError("--sign needs the setting signing_keys")
        chosen = _chosen(client, queue, letters, everything=everything, codes=codes, ids=ids)
        if not _sure(f"Replay {counted(len(chosen), 'dead letter')}?", everything=everything, yes=yes):
            ctx.exit(exits.FAILURE)

        def one(letter_id: str) -> dict[str, Any]:
            letter = run(DeadLetters(queue).get(letter_id))
            if letter is None:
                return {"letter": letter_id, "result": "no_such_letter"}
            known = {"letter": letter_id, "id": letter.id}
            try:
                env = signed_anew(letter, queue, keys, vouched=vouched) if keys else b""
            except EnvelopeError as error:
                result = "not_signed" if error.code in SIGNATURE_CODES else "unreadable"
                return known | {"result": result, "why": redacted(str(error))}
            stop_by = "cancel" if on_timeout == "cancel" else ""
            answer = run(DeadLetters(queue).replay(letter, timeout_ms(timeout), stop_by, env))
            if answer == REPLAYED and letter.is_event:
                return known | {"result": "event_replayed", "reply_to": letter.reply_to}
            replayed = {"replayed_as": replay_id(letter)} if answer in (REPLAYED, REPLAYED_BEFORE) else {}
            return known | {"result": _RESULTS[answer]} | replayed

        ctx.exit(_each(chosen, one, everything=everything, as_json=as_json))


@dead.command("drop")
@_choice
@click.pass_context
def drop(ctx: click.Context, letters: tuple[str, ...], *, everything: bool, codes: tuple[str, ...],
         ids: tuple[str, ...], yes: bool, config: Path | None, redis: str | None, queue: str,
         as_json: bool) -> None:  # fmt: skip
    """Delete dead letters, for good.

    \b
        triggerd dead drop 1764000000000-0
        triggerd dead drop --all --id nightly-load --yes

    Exit status: 0 all dropped, 1 one was not there, 2 usage, 4 Redis refused or cannot be reached.
    """
    if everything and not yes and not sys.stdin.isatty():
        raise click.UsageError("--all deletes for good: off a terminal it needs --yes")
    with open_client(config, redis) as client:
        chosen = _chosen(client, queue, letters, everything=everything, codes=codes, ids=ids)
        if not _sure(f"Drop {counted(len(chosen), 'dead letter')} for good?", everything=everything, yes=yes):
            ctx.exit(exits.FAILURE)

        def one(letter: str) -> dict[str, Any]:
            there = client.caller.redis.run(DeadLetters(queue).drop(letter))
            return {"letter": letter, "result": "dropped" if there else "no_such_letter"}

        ctx.exit(_each(chosen, one, everything=everything, as_json=as_json))


def _walk(client: Client, queue: str, codes: Sequence[str], ids: Sequence[str]) -> Iterator[DeadLetter]:
    """The dead letters that the filters leave, page by page, newest first."""
    before = "+"
    while page := client.caller.redis.run(DeadLetters(queue).ls(BATCH, before)):
        for letter in page:
            if (not codes or letter.code in codes) and (not ids or letter.id in ids):
                yield letter
        before = page[-1].letter


def _chosen(client: Client, queue: str, letters: Sequence[str], *, everything: bool, codes: Sequence[str],
            ids: Sequence[str]) -> list[str]:  # fmt: skip
    """What the command line names. With --all those that are there now; what dies from now on is not among them."""
    if everything == bool(letters):
        raise click.UsageError("name dead letters, or say --all")
    if letters and (codes or ids):
        raise click.UsageError("--code and --id go with --all")
    if everything:
        return [letter.letter for letter in _walk(client, queue, codes, ids)]
    _check_letters(letters)
    return list(dict.fromkeys(letters))


def _check_letters(letters: Sequence[str]) -> None:
    for letter in letters:
        if not _LETTER.fullmatch(letter):
            raise click.UsageError(
                f"{letter!r} is no id of a dead letter, such as 1764000000000-0; of a trigger id, "
                "`triggerd dead ls --id ID` lists them"
            )


def _sure(question: str, *, everything: bool, yes: bool) -> bool:
    return not everything or yes or not sys.stdin.isatty() or click.confirm(question, err=True)


def _each(chosen: Sequence[str], one: Callable[[str], dict[str, Any]], *, everything: bool, as_json: bool) -> int:
    """Do it to each, and say how it went: each one that was named, of --all those only that failed."""
    done: list[dict[str, Any]] = []
    try:
        with click.progressbar(chosen, file=sys.stderr, hidden=not sys.stderr.isatty() or len(chosen) <= BATCH) as bar:
            for letter in bar:
                done.append(one(letter))  # noqa: PERF401 - kept as far as it came when Redis goes away
    finally:
        if as_json:
            click.echo(to_json(done))
        else:
            for answer in done:
                if not everything or answer["result"] not in _WELL:
                    click.echo(printable(f"{answer['letter']}  {_WORDS[answer['result']].format(**answer)}"))
            if everything:
                well = sum(answer["result"] in _WELL for answer in done)
                click.echo(f"{well:,} of {counted(len(chosen), 'dead letter')} done")
    return exits.SUCCESS if all(answer["result"] in _WELL for answer in done) else exits.FAILURE


def _row(facts: dict[str, Any]) -> list[str]:
    why = " ".join(facts["why"].split())
    shown = why if len(why) <= _LONGEST_WHY else why[: _LONGEST_WHY - 3] + "..."
    buried = moment(facts["buried_ms"]).partition(" UTC")[0] if facts["buried_ms"] else "-"
    return [facts["letter"], buried, facts["id"] or "-", facts["code"], shown]


def _for_people(name: str, value: Any) -> Any:
    if name.endswith("_ms"):
        return moment(value) if value else None
    if name == "error" and value:
        return f"{value['code']}: {value['message']}"
    return f"{value:,} bytes" if name == "size_bytes" else value


def _label(name: str) -> str:
    return name.removesuffix("_ms").removesuffix("_bytes").replace("_", " ")
