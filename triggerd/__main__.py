"""Entry of the console script `triggerd` and of ``python -m triggerd``."""

import sys

from triggerd.errors import MissingExtraError

USAGE_ERROR = 2


def main() -> None:
    """Run the command line; without the extra `daemon`, say in one line what to install."""
    try:
        from triggerd.cli.main import main as command_line  # noqa: PLC0415 - belongs to the extra `daemon`
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "triggerd":
            raise
        sys.stderr.write(f"triggerd: {MissingExtraError(f'the command line ({missing.name})', 'daemon')}\n")
        sys.exit(USAGE_ERROR)
    command_line(prog_name="triggerd")


if __name__ == "__main__":
    main()
