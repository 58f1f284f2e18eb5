"""What several commands share: where Redis is, which config counts, durations."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from triggerd.cli.config import DEFAULT_FILE, ENV_FILE, load
from triggerd.client import Client
from triggerd.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_LONGEST_S = 366 * 86400.0

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=ENV_FILE,
    help=f"TOML file; else {ENV_FILE}, else {DEFAULT_FILE} where it exists.",
)
redis_option = click.option(
    "--redis", metavar="URL", help="redis://, rediss:// or unix://; else TRIGGERD_REDIS__URL, else the config's."
)


def redis_options(command: Command) -> Command:
    """--config, --redis and --queue, as the daemon has them."""
    queue = click.option("--queue", default="default", show_default=True, metavar="NAME", help="The trigger queue.")
    return config_option(redis_option(queue(command)))


def config_file(config: Path | None) -> Path | None:
    """The file that counts."""
    return config if config is not None else DEFAULT_FILE if DEFAULT_FILE.exists() else None


def read_settings(config: Path | None, redis: str | None = None) -> Settings:
    """The settings that the daemon would have with these options."""
    return load(config_file(config), os.environ, {"redis": {"url": redis}} if redis else {})


def open_client(config: Path | None, redis: str | None) -> Client:
    """A client of the Redis that these options name."""
    settings = read_settings(config, redis)
    return Client(settings.redis.url, result_ttl=settings.result_ttl_s, signing_keys=settings.signing_keys)


def duration(text: str | float) -> float:
    """Type of an option: ``90``, ``90s``, ``1.5h`` as seconds."""
    found = _DURATION.fullmatch(str(text).strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise click.BadParameter(f"{text!r} is no duration over zero and up to 366d: 90, 90s, 10m, 1.5h, 2d")
    return seconds
