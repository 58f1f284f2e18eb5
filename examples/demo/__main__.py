"""Conducts the demo: `python -m examples.demo [--jobs N] [--json] [--keep]`. Exit status 0: all went well."""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from examples.demo.cast import Cast
from examples.demo.jobs import plan
from examples.demo.processes import DemoError
from examples.demo.progress import Progress
from examples.demo.records import Records
from examples.demo.report import Report, rows
from examples.demo.resumer import SABOTAGES
from examples.demo.verify import problems
from triggerd.clock import monotonic_s


def main() -> int:
    """Run the demo; the exit status."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="triggerd-demo-"))
    try:
        report = _run(options, folder)
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    else:
        print(json.dumps(report.json(), indent=2) if options.json else f"\n{report.text()}")
        return 1 if report.problems else 0
    finally:
        if options.keep:
            print(f"Logs and records are kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _run(options: argparse.Namespace, folder: Path) -> Report:
    """Start everything, wait for the end of the last task, stop everything, check and count."""
    out = sys.stderr if options.json else sys.stdout
    began_s = monotonic_s()
    planned, records = plan(options.jobs), Records(folder)
    print(f"{len(planned)} jobs on a moto AWS", file=out)
    with Cast(planned, folder, out) as cast, contextlib.ExitStack() as on_failure:
        on_failure.callback(cast.show_logs)
        cast.set_up(options.sabotage)
        ready_s = monotonic_s()
        cast.begin()
        progress = Progress(len(planned), out)
        left = cast.wait_for_the_end(lambda: progress.show(records), options.within)
        progress.show(records, last=True)
        ran_s, calls = monotonic_s() - ready_s, cast.aws_calls()
        cast.end()
        records.refresh()
        reached_ms = cast.world.reached_ms(records.started)
        wrong = left + problems(records, len(planned), reached_ms)
        if not wrong:
            on_failure.pop_all()
    return Report(rows(records, calls, reached_ms), wrong, ready_s - began_s, ran_s)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--jobs", type=_jobs, default=320, metavar="N", help="how many jobs (320; at least 12)")
    parser.add_argument("--within", type=float, default=90.0, metavar="S", help="give up after so many seconds (90)")
    parser.add_argument("--json", action="store_true", help="the report as JSON; the progress goes to stderr")
    parser.add_argument("--keep", action="store_true", help="keep logs and records, and say where")
    parser.add_argument(
        "--sabotage", choices=SABOTAGES, default="",
        help="falsify one record of the resumer: proves that the check at the end is one",
    )  # fmt: skip
    return parser.parse_args()


def _jobs(text: str) -> int:
    count = int(text)
    if count < 12:
        raise argparse.ArgumentTypeError("at least 12, so that each service has its share")
    return count


def _interrupt(*_: object) -> NoReturn:
    """The first one ends the demo; the next ones must not disturb it while it cleans up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
