"""The doctor's look at the user's waiter folders: a mistake in a file is said at the start, not by the first wait."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from triggerd.aws.checks import check_file, waiter_files
from triggerd.aws.waiters import ServiceModels, new_loader
from triggerd.daemon.finding import Finding

_ABOUT = "waiters"


def check_waiters(folders: Sequence[str]) -> Iterator[Finding]:
    """What is wrong in the folders of `aws.waiter_folders`. Reads files and service models: call it in a thread.

    A folder or file that cannot be read is refused. A waiter that can never be used is a warning of its own, since all
    others serve; what is doubtful in a file is one warning.
    """
    models = ServiceModels(new_loader())
    for folder in folders:
        path = Path(folder).expanduser()
        if not path.is_dir():
            yield Finding(
                "refuse", _ABOUT, f"{folder} is not a folder", "make it, or take it out of aws.waiter_folders"
            )
            continue
        for file in waiter_files([path]):
            yield from _check(file, models)


def _check(file: Path, models: ServiceModels) -> Iterator[Finding]:
    advice = f"`triggerd waiters check {file}`"
    found = sorted(check_file(file, models), key=lambda problem: problem.severity, reverse=True)
    for severity, group in groupby(found, key=lambda problem: problem.severity):
        problems = list(group)
        if severity == "doubtful":
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            yield Finding("warn", _ABOUT, f"{file}: {problems[0]}{more}", advice)
        else:
            for problem in problems:
                yield Finding("refuse" if severity == "unreadable" else "warn", _ABOUT, f"{file}: {problem}", advice)
