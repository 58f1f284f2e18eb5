"""Promises of the budget of triggers that poll by hand: a time, that a move neither resets nor loses."""

import asyncio
from typing import Any

import pytest

from triggerd.clock import wall_ms
from triggerd.triggers.looks import looks


class Stored:
    """Where a run leaves when its budget ends."""

    def __init__(self) -> None:
        self.values: list[int] = []

    async def __call__(self, ends_ms: int) -> None:
        self.values.append(ends_ms)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as short as can be."""

    async def sleep(_seconds: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", sleep)


async def _count(most: int, delay: float, max_attempts: int | None, restored: Any, stored: Stored) -> int:
    count = 0
    async for _ in looks(delay, max_attempts, restored, stored):
        count += 1
        if count == most:
            break
    return count


async def test_without_max_attempts_it_goes_on_and_stores_nothing() -> None:
    stored = Stored()
    assert await _count(100, 60, None, None, stored) == 100
    assert stored.values == []


async def test_one_attempt_is_one_look_and_needs_no_checkpoint() -> None:
    stored = Stored()
    assert await _count(100, 60, 1, None, stored) == 1
    assert stored.values == []


async def test_the_end_is_stored_once() -> None:
    stored = Stored()
    assert await _count(100, 60, 11, None, stored) == 100
    (ends_ms,) = stored.values
    assert abs(ends_ms - wall_ms() - 600_000) < 5_000


async def test_a_restored_end_stands() -> None:
    stored = Stored()
    assert await _count(100, 60, 11, wall_ms() + 90_000, stored) == 100
    assert await _count(100, 60, 11, wall_ms() - 90_000, stored) == 1
    assert stored.values == []


@pytest.mark.parametrize("restored", ["x", True, -1, [1], 2**60])
async def test_what_is_no_end_begins_anew(restored: Any) -> None:
    stored = Stored()
    assert await _count(5, 60, 11, restored, stored) == 5
    assert len(stored.values) == 1


async def test_a_budget_may_be_as_good_as_endless() -> None:
    stored = Stored()
    assert await _count(5, 1e9, 2**63, None, stored) == 5
    assert stored.values[0] <= 2**53
