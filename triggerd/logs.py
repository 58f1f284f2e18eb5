"""Logs: structlog set up once, every line of a run with its trigger id, nothing secret on any line.

A line is an event and fields: ``log.info("lease lapsed", queue="default")``. It goes to stderr, as JSON or for people.
"""

import logging
import os
import sys
from contextvars import ContextVar
from typing import Any, Protocol, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from triggerd.redact import redacted
from triggerd.settings import LogSettings


class NamedRun(Protocol):
    """What a line says of the run that it belongs to."""

    id: str
    classpath: str


# The run that is being driven. The one context variable that is set for every single trigger.
_run: ContextVar[NamedRun | None] = ContextVar("triggerd_run", default=None)

# syslog's severities, which journald reads from the start of a line.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of one part of the program."""
    return structlog.stdlib.get_logger(name)


def bind_run(run: NamedRun) -> None:
    """Every further line of the current task and of the tasks that it starts belongs to this run."""
    _run.set(run)


def bound_run() -> NamedRun | None:
    """The run that was bound where the current task, or who started it, comes from."""
    return _run.get()


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging; called once, by the program's start.

    Args:
        settings: Format and level.
        stream: Where lines go; stderr where None.
    """
    out = sys.stderr if stream is None else stream
    console = settings.format == "console" or (settings.format == "auto" and out.isatty())
    level = getattr(logging, settings.level.upper())
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_run,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(out, console=console)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their debug lines hold request headers and credentials' sources, their info lines every single call.
    for noisy in ("botocore", "aiobotocore", "aiohttp", "asyncio", "urllib3"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def _rendering(out: TextIO, *, console: bool) -> list[Processor]:
    """The last steps of a line: from a dict to text."""
    if console:
        plain = structlog.dev.plain_traceback
        console_lines = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
        return [structlog.processors.format_exc_info, _redact, console_lines]
    steps: list[Processor] = [
        structlog.processors.format_exc_info,
        _redact,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]
    return [*steps[:-1], _with_priority(steps[-1])] if _is_journal(out) else steps


def _add_run(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    run = _run.get()
    if run is not None:
        line.setdefault("trigger_id", run.id)
        line.setdefault("classpath", run.classpath)
    return line


def _redact(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    plain: EventDict = redacted(dict(line))
    return plain


def _to_json(line: dict[str, Any], **_options: Any) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=repr).decode()
    except (UnicodeEncodeError, TypeError, ValueError):
        # A foreign id with bytes that are no text, a key that is no text: the line is kept, spelt out.
        safe = {str(key): ascii(value) if not isinstance(value, (int, float)) else value for key, value in line.items()}
        return msgspec.json.encode(safe).decode()


def _is_journal(out: TextIO) -> bool:
    """Whether `out` is the journal's socket, which systemd names by device and inode."""
    try:
        at = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{at.st_dev}:{at.st_ino}"


def _with_priority(render: Processor) -> Processor:
    def prefixed(logger: WrappedLogger, method: str, line: EventDict) -> str:
        priority = _PRIORITIES.get(line.get("level", "info"), 6)
        return f"<{priority}>{render(logger, method, line)!s}"

    return prefixed
