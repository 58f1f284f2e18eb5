"""How long the loop has been blocked, by a clock that the test moves."""

import pytest

from triggerd.daemon.watch_thread import BlockClock


def clock_at_100() -> BlockClock:
    clock = BlockClock(100.0, cpu_s=7.0)
    blocked_s, beaten = clock.look(100.1, 7.01, 100.05)
    assert blocked_s == pytest.approx(-0.05)
    assert beaten
    return clock


def test_a_loop_that_does_not_beat_is_blocked_whether_it_computes_or_sleeps() -> None:
    clock = clock_at_100()
    for step in range(1, 11):
        blocked_s, beaten = clock.look(100.1 + step / 10, 7.01 + step / 20, 100.05)
        assert blocked_s == pytest.approx(step / 10 - 0.05)
        assert not beaten
        assert not clock.computed
    _, beaten = clock.look(101.2, 7.6, 101.15)
    assert beaten
    assert clock.last_block_s == pytest.approx(1.0)


@pytest.mark.parametrize("beat_s", [100.05, 100.12])
def test_time_in_which_neither_thread_ran_is_no_block(beat_s: float) -> None:
    """The last beat may have come before the last look, or between it and the standstill."""
    clock = clock_at_100()
    blocked_s, _ = clock.look(130.1, 7.02, beat_s)
    assert blocked_s < 0.1
    assert not clock.computed
    clock.look(130.2, 7.03, 130.15)
    assert clock.last_block_s < 0.2


def test_a_standstill_before_the_beat_excuses_no_block_after_it() -> None:
    clock = clock_at_100()
    clock.look(130.1, 7.02, 130.09)
    blocked_s, _ = clock.look(130.2, 7.1, 130.09)
    for step in range(1, 11):
        blocked_s, _ = clock.look(130.2 + step / 10, 7.1 + step / 10, 130.09)
    assert blocked_s == pytest.approx(1.0, abs=0.05)


def test_a_late_look_while_the_loops_thread_computed_means_that_it_held_the_interpreter() -> None:
    clock = clock_at_100()
    assert clock.look(103.1, 9.9, 100.05)[0] > 2.7
    assert clock.computed
