"""What the fault tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.trouble import Scene, durable_server, scene_of


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A server, a proxy and a daemon with triggers of three groups, one of which has fired.

    A parameter is the server's flavour and further options: ``("valkey9", "--appendfsync", "everysec")``.
    """
    flavour, *options = getattr(request, "param", ("valkey9",))
    with durable_server(tmp_path / "redis", flavour, *options) as server, scene_of(server, tmp_path / "go") as scene:
        scene.defer_all()
        yield scene
