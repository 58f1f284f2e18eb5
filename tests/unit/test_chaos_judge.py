"""What the chaos run calls a violation, and what it allows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.judge import UNCONFIRMED, Evidence, Promise, Resumed, judge
from tests.support.tally import Published

FIRED = frozenset({"fired"})
PROMISES = {
    "kept": Promise("kept", kept=True, may_end=FIRED),
    "read": Promise("read", kept=False, may_end=FIRED),
    "job": Promise("job", kept=True, may_end=frozenset({"timed_out"}), job="j"),
}

EITHER = {**PROMISES, "job": replace(PROMISES["job"], may_end=frozenset({"fired", "timed_out"}))}

# Two events; the last is as it must be.
STEPS: dict[str, Any] = {
    "promises": {"steps": Promise("steps", kept=True, may_end=FIRED)},
    "done": {"steps": ("fired", 2)},
    "resumed": [],
}
STEPS_END = [Published("steps", 2, "fired", True, "")]


def evidence(**changes: Any) -> Evidence:
    """Everything went well: `kept` has fired, `read` has fired twice, the second being its last, `job` timed out."""
    whole = Evidence(
        promises=PROMISES,
        done={"kept": ("fired", 1), "read": ("fired", 2), "job": ("timed_out", 1)},
        kept=[Published("kept", 1, "fired", True, ""), Published("job", 1, "timed_out", True, "timed_out")],
        resumed=[Resumed("read", 1, "fired", False), Resumed("read", 2, "fired", True)],
        deliveries=2,
    )
    return replace(whole, **changes)


def cancelled(answers: tuple[str, ...], *, code: str = "cancelled", **changes: Any) -> Evidence:
    """The same, but `job` was cancelled."""
    whole = evidence()
    return evidence(
        done={**whole.done, "job": ("cancelled", 1)},
        kept=[whole.kept[0], Published("job", 1, "cancelled", True, code)],
        cancels={"job": answers},
        **changes,
    )


def with_done(trigger_id: str, value: tuple[str, int] | None) -> Mapping[str, tuple[str, int]]:
    done = {**evidence().done, trigger_id: value}
    return {name: kept for name, kept in done.items() if kept is not None}


def test_a_run_that_kept_its_promises_has_no_violation() -> None:
    verdict = judge(evidence())
    assert verdict.violations == []
    assert verdict.counts["deferred"] == 3
    assert verdict.counts["final events"] == {"fired": 2, "timed_out": 1}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (evidence(done=with_done("read", None)), "read: lost"),
        (evidence(kept=[*evidence().kept, evidence().kept[0]]), "kept: 2 final events"),
        (evidence(resumed=[*evidence().resumed, Resumed("read", 3, "cancelled", True)]), "read: 2 final events"),
        (evidence(resumed=[*evidence().resumed, Resumed("other", 1, "fired", True)]), "nobody has deferred it"),
        (
            evidence(done=with_done("job", ("fired", 1)), promises=EITHER),
            "its final event is ('timed_out', 1), and Redis keeps",
        ),
        (evidence(resumed=evidence().resumed[:1]), "read:2 was never delivered"),
        (
            evidence(kept=[Published("steps", 1, "fired", False, "")] * 2 + STEPS_END, **STEPS),
            "steps:1 was published 2",
        ),
        (evidence(kept=evidence().kept[:1]), "job:1 was never delivered"),
        (evidence(stops={"j": 1}), "j: stopped, and nobody has asked for it"),
        (evidence(stops={"another's": 1}), "another's: stopped, and nobody has asked for it"),
        (cancelled(("requested",), stops={"j": 3}), "j: stopped 3 times"),
        (cancelled(("requested",)), "j: cancelled, and never stopped"),
        (evidence(leftovers={"pending": 2}), "2 pending left"),
        (evidence(dead_letters=["x: poison"]), "a dead letter that nobody expects: x: poison"),
        (evidence(crashes=[1]), "a daemon ended with status 1"),
    ],
)
def test_each_broken_promise_is_one_violation(changed: Evidence, says: str) -> None:
    violations = judge(changed).violations
    assert [says in violation for violation in violations] == [True], violations


def test_an_outcome_that_cannot_be_is_a_violation() -> None:
    failed = [Published("kept", 1, "failed", True, "x"), evidence().kept[1]]
    (violation,) = judge(evidence(done=with_done("kept", ("failed", 1)), kept=failed)).violations
    assert violation == "kept: failed, and only ['fired'] can be"


@pytest.mark.parametrize(
    "allowed",
    [
        pytest.param(evidence(resumed=[*evidence().resumed] * 2), id="a Resumer got an event twice"),
        pytest.param(cancelled(("requested",), stops={"j": 1}), id="one call for a cancel"),
        pytest.param(cancelled(("requested", ""), stops={"j": 2}), id="its owner died after the call"),
        pytest.param(cancelled(("cancelled",)), id="nobody had claimed it"),
        pytest.param(cancelled(("requested",), code=UNCONFIRMED), id="its owner was deaf"),
        pytest.param(evidence(cancels={"job": ("requested",)}, stops={"j": 1}), id="the deadline came in between"),
        pytest.param(
            evidence(promises={**PROMISES, "job": replace(PROMISES["job"], stop_on_timeout=True)}, stops={"j": 1}),
            id="the time-out was to stop it",
        ),
    ],
)
def test_what_is_allowed_is_no_violation(allowed: Evidence) -> None:
    assert judge(allowed).violations == []


def test_duplicates_and_second_calls_are_counted() -> None:
    again = evidence(resumed=[*evidence().resumed] * 2, deliveries=5)
    assert judge(again).counts["begun again by a Resumer (allowed)"] == 3
    assert judge(cancelled(("requested",), stops={"j": 2})).counts["stopped twice (allowed)"] == 1
