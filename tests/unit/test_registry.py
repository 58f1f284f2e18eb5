"""The registry: what may be imported, what is refused and why, and that each import happens once and in a thread."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from triggerd.daemon.registry import BUNDLED, Registry, TriggerClass, build
from triggerd.errors import (
    ClasspathNotAllowedError,
    ClasspathNotFoundError,
    NotATriggerError,
    TriggerArgumentsError,
)
from triggerd.metrics import OTHER

MODULE = """
import threading
imported_in = threading.current_thread().name
marker = object()

class Wait:
    def __init__(self, cluster, *, region="x"): self.cluster = cluster
    def serialize(self): return "", {}
    async def run(self): yield 1

class Stubborn(Wait):
    def __init__(self, **kwargs): raise SystemExit(3)

class Half:
    def serialize(self): return "", {}

def run(): ...
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "acme_waits"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "good.py").write_text(MODULE)
    (package / "__main__.py").write_text(MODULE)
    (package / "broken.py").write_text("raise SystemExit(1)")
    (package / "needy.py").write_text("import acme_missing_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("acme_waits")]:
        del sys.modules[name]


@pytest.fixture
def registry() -> Registry:
    return Registry(["acme_waits.*"], {})


async def test_an_allowed_class_is_imported_in_a_thread_and_then_known(registry: Registry) -> None:
    assert registry.known("acme_waits.good.Wait") is None
    found = await registry.load("acme_waits.good.Wait")
    assert found.cls is sys.modules["acme_waits.good"].Wait
    assert sys.modules["acme_waits.good"].imported_in != threading.current_thread().name
    assert registry.known("acme_waits.good.Wait") is found


async def test_nothing_outside_the_allow_list_is_imported() -> None:
    registry = Registry(["acme_waits.good.Wait"], {})
    with pytest.raises(ClasspathNotAllowedError, match=r"acme_waits\.broken\.Wait.*allow"):
        await registry.load("acme_waits.broken.Wait")
    assert "acme_waits.broken" not in sys.modules
    assert (await registry.load("acme_waits.good.Wait")).label == "Wait"


@pytest.mark.parametrize("classpath", ["acme_waits.__main__.Wait", "acme_waits.good._Wait"])
async def test_a_pattern_does_not_reach_private_names(registry: Registry, classpath: str) -> None:
    with pytest.raises(ClasspathNotAllowedError, match="private"):
        await registry.load(classpath)
    assert "acme_waits.__main__" not in sys.modules


@pytest.mark.parametrize("classpath", ["acme_waits.x/y.Wait", "acme_waits. .Wait", "acme_waits..Wait"])
async def test_what_is_no_dotted_path_is_not_found(registry: Registry, classpath: str) -> None:
    with pytest.raises(ClasspathNotFoundError, match="not a dotted path"):
        await registry.load(classpath)


@pytest.mark.parametrize(
    ("classpath", "error", "says"),
    [
        ("acme_waits.nothing.Wait", ClasspathNotFoundError, "no module 'acme_waits.nothing'"),
        ("acme_waits.good.Wiat", ClasspathNotFoundError, "has no 'Wiat'; did you mean 'Wait'"),
        ("acme_waits.needy.Wait", ClasspathNotFoundError, "failed: ModuleNotFoundError.*acme_missing_dependency"),
        ("acme_waits.broken.Wait", ClasspathNotFoundError, "failed: SystemExit"),
        ("acme_waits.good.Half", NotATriggerError, r"no run\(\)"),
        ("acme_waits.good.run", NotATriggerError, "of type 'function'"),
        ("acme_waits.good.marker", NotATriggerError, "of type 'object'"),
    ],
)
async def test_each_way_of_failing_is_told_apart(
    registry: Registry, classpath: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await registry.load(classpath)
    with pytest.raises(error, match=says):
        await registry.load(classpath)


async def test_many_that_ask_at_once_share_one_import_and_one_giving_up_does_not_stop_it(registry: Registry) -> None:
    asking = [asyncio.create_task(registry.load("acme_waits.good.Wait")) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    answers = await asyncio.gather(*asking[1:])
    assert len({id(answer) for answer in answers}) == 1
    with pytest.raises(asyncio.CancelledError):
        await asking[0]


async def test_remembered_refusals_are_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerd.daemon.registry._REFUSED_KEPT", 3)
    for number in range(10):
        with pytest.raises(ClasspathNotFoundError):
            await registry.load(f"acme_waits.none{number}.Wait")
    assert len(registry._refused) == 3


def test_labels_are_the_bundled_the_announced_and_other() -> None:
    registry = Registry([], {"acme_waits.good.Wait": "acme-wait"})
    assert {"AwsWaiterTrigger", "SuccessTrigger", "acme-wait", OTHER} <= set(registry.labels)


async def test_an_announced_trigger_is_allowed_and_carries_its_announced_name() -> None:
    registry = Registry([], {"acme_waits.good.Wait": "acme-wait"})
    assert (await registry.load("acme_waits.good.Wait")).label == "acme-wait"


@pytest.mark.parametrize("classpath", sorted(BUNDLED))
async def test_every_bundled_trigger_is_allowed_and_there(classpath: str) -> None:
    assert (await Registry([], {}).load(classpath)).label == classpath.rpartition(".")[2]


async def test_build_gives_the_trigger(registry: Registry) -> None:
    found = await registry.load("acme_waits.good.Wait")
    assert build(found, {"cluster": "dwh"}).cluster == "dwh"


async def test_refused_arguments_come_with_the_reason_and_a_close_match(registry: Registry) -> None:
    found = await registry.load("acme_waits.good.Wait")
    with pytest.raises(TriggerArgumentsError, match=r"unexpected keyword.*did you mean 'cluster'"):
        build(found, {"clutser": "dwh"})
    with pytest.raises(TriggerArgumentsError, match="it takes: cluster, region"):
        build(found, {"zzz": 1})
    with pytest.raises(TriggerArgumentsError, match="missing 1 required"):
        build(found, {})


async def test_a_constructor_that_exits_does_not_end_the_daemon(registry: Registry) -> None:
    found = await registry.load("acme_waits.good.Stubborn")
    with pytest.raises(TriggerArgumentsError, match="SystemExit: 3"):
        build(found, {})


def test_a_trigger_class_is_a_value() -> None:
    assert TriggerClass("a.B", int, "B") == TriggerClass("a.B", int, "B")
