"""`triggerd`: the group of commands. Each family of commands is a file of its own, registered here by one line."""

import click

from triggerd import __version__
from triggerd.cli.run import run
from triggerd.errors import ConfigError, MissingExtraError, TriggerdError

EXIT_FAILED = 1
EXIT_USAGE = 2


class Commands(click.Group):
    """Says our own errors in one line: a traceback is for bugs."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TriggerdError as error:
            click.echo(f"triggerd: {error}", err=True)
            ctx.exit(EXIT_USAGE if isinstance(error, ConfigError | MissingExtraError) else EXIT_FAILED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="triggerd")
def main() -> None:
    """Deferrable waits on AWS without Airflow."""


main.add_command(run)
