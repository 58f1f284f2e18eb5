"""Breaks a live system at random and judges it: `python -m tests.chaos --minutes N [--seed S] [--triggers K] [--json]`.

Exit status 0: no promise was broken. The same seed draws the same acts; what they meet is up to the processes.
"""

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn, TextIO

import redis

from tests.chaos.acts import Acts
from tests.chaos.judge import Evidence, Resumed, Verdict, judge
from tests.chaos.live_system import KEPT, LiveSystem, free_of_the_users_settings
from tests.chaos.producers import LONG_LIVES, Ledger, Producer, planned
from tests.chaos.progress import Progress
from tests.support.fake_aws_process import stopped_job
from tests.support.resumer_process import read_lines
from tests.support.tally import done, leftovers, published, unacked
from triggerd.streams.dead_letter import DeadLetters

_PAUSE_S = (0.5, 3.0)
_CALM_WITHIN_S = 60.0
_SHOWN = 20
_STEP_S = 0.1


def main() -> int:
    """Run it; the exit status."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    list(free_of_the_users_settings())
    folder = Path(tempfile.mkdtemp(prefix="triggerd-chaos-"))
    out = sys.stderr if options.json else sys.stdout
    try:
        verdict, acts = _run(options, folder, out)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        return 130
    if options.json:
        print(json.dumps({"ok": not verdict.violations, "seed": options.seed, "minutes": options.minutes,
                          **verdict.counts, "acts": acts, "violations": verdict.violations}, indent=2))  # fmt: skip
    else:
        print(_text(verdict, acts))
    if verdict.violations:
        print(f"Seed {options.seed}; logs and data are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _run(options: argparse.Namespace, folder: Path, out: TextIO) -> tuple[Verdict, dict[str, int]]:
    rng, ledger, counted = random.Random(options.seed), Ledger(), Counter[str]()
    progress = Progress(out)
    print(f"{options.minutes:g} minutes, seed {options.seed}, {options.triggers:,} triggers in flight", file=out)
    with LiveSystem(folder) as system:
        acts = Acts(system, ledger, rng)
        long_lives = LONG_LIVES if options.minutes >= 1 else 0.0  # or the end would take longer than the run
        producers = [
            Producer(
                system,
                ledger,
                f"p{number}",
                options.triggers // 2,
                planned(random.Random(options.seed * 2 + number), f"p{number}", long_lives),
            )
            for number in range(2)
        ]
        try:
            for producer in producers:
                producer.start()
            _break(system, acts, ledger, rng, counted, progress, options.minutes * 60)
        finally:
            acts.calm()
            for producer in producers:
                producer.stop()
            acts.close()
        for producer in producers:
            if producer.failure is not None:
                raise producer.failure
        _settle(system, ledger, progress)
        progress.end()
        verdict = judge(_evidence(system, ledger))
        if verdict.violations:
            system.keep_logs(folder / "logs")
            (folder / "violations").write_text("\n".join(verdict.violations))
    return verdict, dict(sorted(counted.items()))


def _break(
    system: LiveSystem, acts: Acts, ledger: Ledger, rng: random.Random, counted: Counter[str], progress: Progress,
    seconds: float,
) -> None:  # fmt: skip
    """One act after the other, until the time is over."""
    end_s, next_s, act = time.monotonic() + seconds, time.monotonic() + 2.0, "starting"
    while time.monotonic() < end_s:
        system.mend_resumers()
        if time.monotonic() >= next_s:
            act = acts.act()
            counted[act] += 1
            next_s = time.monotonic() + rng.uniform(*_PAUSE_S)
        if progress.is_due():
            progress.show(act, _numbers(system, ledger))
        time.sleep(_STEP_S)


def _settle(system: LiveSystem, ledger: Ledger, progress: Progress) -> None:
    """Calm: wait until everything has ended and every event is acked, as long as there is less and less left."""
    least, end_s = float("inf"), time.monotonic() + _CALM_WITHIN_S
    while (left := sum(leftovers(system.raw).values()) + unacked(system.raw)) and time.monotonic() < end_s:
        if left < least:
            least, end_s = left, time.monotonic() + _CALM_WITHIN_S
        system.mend_resumers()
        if progress.is_due():
            progress.show("calm", _numbers(system, ledger))
        time.sleep(_STEP_S)
    progress.show("the end", _numbers(system, ledger))


def _numbers(system: LiveSystem, ledger: Ledger) -> dict[str, int | None]:
    in_flight = None
    with contextlib.suppress(redis.RedisError):  # Valkey is away, on purpose
        in_flight = system.in_flight()
    resumed = system.resumed_path.read_bytes().count(b'"end"') if system.resumed_path.exists() else 0
    return {
        "deferred": len(ledger), "resumed": resumed, "in flight": in_flight, "adoptions": system.adoptions(),
    }  # fmt: skip


def _evidence(system: LiveSystem, ledger: Ledger) -> Evidence:
    promises, raw = ledger.promises, system.raw
    left: dict[str, int] = leftovers(raw)
    if events := unacked(raw):
        left["unacked events"] = events
    with system.client() as td:
        letters: Any = td.caller.redis.run(DeadLetters("default").ls())
    return Evidence(
        promises=promises,
        done=done(raw, promises),
        kept=published(raw, KEPT),
        resumed=[
            Resumed(line["id"], line["seq"], line["outcome"], line["final"], line["code"])
            for line in read_lines(system.resumed_path, "end")
        ],
        deliveries=len(read_lines(system.resumed_path, "begin")),
        cancels=ledger.cancels,
        stops=Counter(stopped_job(mutation) for mutation in system.aws.mutations()),
        leftovers=left,
        dead_letters=[f"{letter.id}: {letter.code}, {letter.why}" for letter in letters],
        crashes=system.fleet.crashes,
    )


def _text(verdict: Verdict, acts: dict[str, int]) -> str:
    lines = ["", *(f"{count:>5}  {name}" for name, count in acts.items()), ""]
    for name, count in verdict.counts.items():
        shown = ", ".join(f"{n:,} {what}" for what, n in count.items()) if isinstance(count, dict) else f"{count:,}"
        lines.append(f"{name}: {shown}")
    lines += ["", *verdict.violations[:_SHOWN]]
    if len(verdict.violations) > _SHOWN:
        lines.append(f"... and {len(verdict.violations) - _SHOWN:,} more")
    lines.append(f"BROKEN: {len(verdict.violations):,} violations." if verdict.violations else
                 "OK: none lost, none ended twice, nothing left.")  # fmt: skip
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="how long to break things (20)")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="for the same acts again (random)")
    parser.add_argument("--triggers", type=int, default=1000, metavar="K", help="triggers kept in flight (1000)")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON; the progress goes to stderr")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    return options


def _interrupt(*_: object) -> NoReturn:
    """The first one ends the run; the next ones must not disturb it while it cleans up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
