"""Which regions waits may name: each has a client of its own for good, half a megabyte, and the queue may name any."""

from functools import cached_property

from botocore.loaders import Loader

from triggerd.errors import ConfigError

OTHERS = 16
"""So many that botocore does not know, for those that are newer than it."""


class Regions:
    """The regions that were named. Used in one thread."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._others: set[str] = set()

    def check(self, region: str) -> None:
        """Raises ConfigError for a region that botocore does not know, after `OTHERS` of the kind."""
        if region in self._known or region in self._others:
            return
        if len(self._others) >= OTHERS:
            way_out = "set it as a connection's region, or update botocore"
            why = f"botocore does not know it, and {OTHERS} such were named before; {way_out}"
            raise ConfigError("region", region[:100], why)
        self._others.add(region)

    @cached_property
    def _known(self) -> frozenset[str]:
        partitions = self._loader.load_data("partitions")["partitions"]
        return frozenset(region for partition in partitions for region in partition["regions"])
