"""This daemon's part of the account's budgets: one of as many as there are live daemons."""

from collections.abc import Callable

from triggerd.logs import get_logger

log = get_logger("triggerd.daemon")


class BudgetPart:
    """Told by each queue how many daemons serve it, quiet ones too: their waits go on. The largest number counts."""

    def __init__(self, divide: Callable[[int], None]) -> None:
        self._divide = divide
        self._daemons: dict[str, int] = {}
        self.parts = 1

    def count(self, queue: str, daemons: int) -> None:
        """So many daemons hold a lease of this queue now; 0 where even our own has lapsed."""
        self._daemons[queue] = daemons
        parts = max(1, *self._daemons.values())
        if parts != self.parts:
            log.info("the budgets of AWS are divided anew", daemons=parts, before=self.parts)
            self.parts = parts
            self._divide(parts)
