"""`triggerd`: the group of commands. Each family of commands is a file of its own, loaded when it is called."""

import contextlib
import difflib
import os
from collections.abc import Iterator
from importlib import import_module

import click

from triggerd import __version__
from triggerd.cli import exits
from triggerd.errors import (
    ConfigError,
    EnvelopePackError,
    EnvelopeTooLargeError,
    LoadError,
    MissingExtraError,
    NameNotValidError,
    RedisRefusedError,
    RedisUnavailableError,
    TriggerdError,
    WaiterDefinitionError,
)

# What the command line itself got wrong.
_USAGE = (
    ConfigError, EnvelopePackError, EnvelopeTooLargeError, LoadError, MissingExtraError, NameNotValidError,
    WaiterDefinitionError,
)  # fmt: skip
_REDIS = {RedisUnavailableError: "Redis cannot be reached", RedisRefusedError: "Redis refused"}

# In the order of `triggerd --help`, which loads none of them: AWS's libraries and uvloop take their time.
COMMANDS = {
    "run": "Run the daemon: it waits on AWS for everybody.",
    "submit": "Put a trigger onto a queue, for a daemon to run.",
    "show": "Say all that is known of one trigger.",
    "dead": "See, replay and drop dead letters: what could not be run.",
    "quiet": "Ask daemons to take nothing new, before they are stopped say.",
    "doctor": "Find what is wrong with Redis and the queues.",
    "wait": "Wait on AWS here and now, without daemon and Redis.",
    "waiters": "List, explain and check waiters.",
}


class Commands(click.Group):
    """Finds commands by file, and says what is wrong in one line: a traceback is for bugs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            close = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {cmd_name!r}, {hint}", ctx)
        try:
            command: click.Command = getattr(import_module(f"triggerd.cli.{cmd_name}"), cmd_name)
        except ModuleNotFoundError as missing:  # click alone may be there without us: Celery brings it
            if (missing.name or "").partition(".")[0] == "triggerd":
                raise
            raise MissingExtraError(f"triggerd {cmd_name} ({missing.name})", "daemon") from missing
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _errors_in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with _errors_in_one_line(ctx):
            return super().invoke(ctx)


@contextlib.contextmanager
def _errors_in_one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # click shows the help
    except click.ClickException as error:
        at = getattr(error, "ctx", None) or ctx
        why = error.format_message()
        why = why if why.endswith("...") else why.removesuffix(".")
        click.echo(f"triggerd: {why} (try '{at.command_path} --help')", err=True)
        ctx.exit(error.exit_code)
    except TriggerdError as error:
        which = next((words for kind, words in _REDIS.items() if isinstance(error, kind)), "")
        click.echo(f"triggerd: {which}{which and ': '}{' '.join(str(error).split())}", err=True)
        ctx.exit(exits.UNAVAILABLE if which else exits.USAGE if isinstance(error, _USAGE) else exits.FAILURE)
    except KeyboardInterrupt:
        ctx.exit(exits.INTERRUPTED)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    \b
    To begin with, wait for something on AWS, right here:
        triggerd waiters ls redshift
        triggerd wait redshift cluster_available ClusterIdentifier=dwh

    \b
    Then a daemon, and a trigger for it from another shell:
        triggerd run --redis redis://localhost
        triggerd submit triggerd.triggers.time.TimeDeltaTrigger '{"seconds": 5}' --wait

    Exit status: 0 success, 1 failure or not found, 2 usage or configuration, 3 time-out, 4 AWS or Redis refused or
    cannot be reached, 130 interrupted. NO_COLOR switches colours off; off a terminal there are none.
    """,
)
@click.version_option(__version__, prog_name="triggerd")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Deferrable waits on AWS without Airflow: one daemon waits, an event resumes the task."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
