"""`triggerd`: the group of commands. Each family of commands is a file of its own, loaded when it is called."""

from importlib import import_module

import click

from triggerd import __version__
from triggerd.errors import (
    ConfigError,
    EnvelopePackError,
    EnvelopeTooLargeError,
    MissingExtraError,
    NameNotValidError,
    TriggerdError,
    WaiterDefinitionError,
)

EXIT_FAILED = 1
EXIT_USAGE = 2

# What the command line itself got wrong; anything else has failed for another reason.
_USAGE = (
    ConfigError,
    EnvelopePackError,
    EnvelopeTooLargeError,
    MissingExtraError,
    NameNotValidError,
    WaiterDefinitionError,
)

# In the order of `triggerd --help`. Loaded one by one: `run` alone needs uvloop, and AWS's libraries take a second.
COMMANDS = ("run", "submit", "show", "wait", "waiters")


class Commands(click.Group):
    """Finds commands by file, and says our own errors in one line: a traceback is for bugs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"triggerd.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TriggerdError as error:
            click.echo(f"triggerd: {error}", err=True)
            ctx.exit(EXIT_USAGE if isinstance(error, _USAGE) else EXIT_FAILED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="triggerd")
def main() -> None:
    """Deferrable waits on AWS without Airflow: one daemon waits, an event resumes the task."""
