"""When the daemon walks over all that lives."""

import pytest

from triggerd.daemon.garbage import is_due


@pytest.mark.parametrize(
    ("runs", "grown_old", "since_s", "due"),
    [
        (10, 0, 600, True),
        (100_000, 0, 600, False),
        (100_000, 1_200_000, 600, False),  # they have just begun, and are old by now
        (3_000, 90_000, 600, True),  # their triggers leave cycles behind
        (100_000, 0, 6 * 3600, True),
    ],
)
def test_garbage_never_outgrows_the_runs_and_many_runs_are_hardly_ever_walked_over(
    runs: int, grown_old: int, since_s: float, *, due: bool
) -> None:
    assert is_due(runs, grown_old, since_s) is due
