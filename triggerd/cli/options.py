"""What several commands share: where Redis is, durations, and how times are shown."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from triggerd.cli.config import DEFAULT_FILE, ENV_FILE, load
from triggerd.client import Client
from triggerd.clock import wall_ms
from triggerd.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=ENV_FILE,
    help=f"TOML file; {DEFAULT_FILE} where it exists.",
)


def redis_options(command: Command) -> Command:
    """--config, --redis and --queue, as the daemon has them."""
    queue = click.option("--queue", default="default", show_default=True, metavar="NAME", help="The trigger queue.")
    redis = click.option("--redis", metavar="URL", help="Redis or Valkey; else the config's, or TRIGGERD_REDIS__URL.")
    return config_option(redis(queue(command)))


def read_settings(config: Path | None, redis: str | None = None) -> Settings:
    """The settings that the daemon would have with these options."""
    file = config if config is not None else DEFAULT_FILE if DEFAULT_FILE.exists() else None
    return load(file, os.environ, {"redis": {"url": redis}} if redis else {})


def open_client(config: Path | None, redis: str | None) -> Client:
    """A client of the Redis that these options name."""
    settings = read_settings(config, redis)
    return Client(settings.redis.url, result_ttl=settings.result_ttl_s)


class Duration(click.ParamType[float]):
    """``90``, ``90s``, ``1.5h``: seconds as a float."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        found = _DURATION.fullmatch(str(value).strip())
        if not found or float(found[1]) <= 0:
            self.fail(f"{value!r} is no duration over zero: 90, 90s, 10m, 1.5h, 2d", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


def for_people(seconds: float) -> str:
    """``7 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = round(abs(seconds))
    for unit, size, below, below_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def moment(ms: int) -> str:
    """``2026-11-23 10:41:03 UTC (3 min ago)``, or ``(in 2 h)``."""
    away_s = (ms - wall_ms()) / 1000
    relative = f"in {for_people(away_s)}" if away_s > 0 else f"{for_people(away_s)} ago"
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC ({relative})"
