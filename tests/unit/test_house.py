"""The ground plan of DESIGN: imports go down only, the producer's side stays light, files and functions stay short."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from triggerd.data import data_path

PACKAGE = data_path("triggerd")

# Lower floors first; a module may import its own floor's neighbours and everything below, never above.
FLOORS: list[set[str]] = [
    {"errors", "clock", "data", "redact"},
    {"keys", "trigger", "signing", "client_token", "airflow_pairs"},
    {"envelope"},
    {"event"},
    {"triggers", "streams"},
    {"deferrable"},
    {"deferral", "local"},
    {"handle", "testing"},
    {"client"},
    {"delivery"},
    {"resume"},
    # The daemon's side.
    {"connection_settings"},
    {"settings", "embedded", "airflow_connections"},
    {"metrics", "logs"},
    {"aws"},
    {"airflow"},
    {"daemon"},
    {"cli"},
    {"__main__"},
]
PRODUCER = set().union(*FLOORS[:11])
PRODUCER_PACKAGES = {"redis", "msgpack"}
DAEMON_ONLY = {
    "aiobotocore", "aiohttp", "botocore", "boto3", "click", "jmespath", "msgspec", "prometheus_client", "structlog",
    "uvloop", "redis", "msgpack",
}  # fmt: skip

FILE_LINES, FUNCTION_LINES, ARGUMENTS = 330, 60, 6
# Data, not construction: each argument is one field of a record, or mirrors the field's own signature.
RECORDS = {
    "AwsWaiterTrigger",
    *("DynamoDBValueSensorTrigger", "KinesisTrigger", "S3KeyTrigger", "S3KeysUnchangedTrigger", "SqsSensorTrigger"),
    *("GlueCatalogPartitionTrigger", "GlueJobCompleteTrigger", "TaskDoneTrigger"),
    *("DmsTableReloadCompleteTrigger", "EmrServerlessJobSensorTrigger", "EmrServerlessStartJobTrigger"),
    *("MwaaDagRunCompletedTrigger", "MwaaTaskCompletedTrigger", "RedshiftDataTrigger"),
    "SageMakerUnifiedStudioNotebookTrigger",
}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file: lazily and under TYPE_CHECKING, too."""
    known = {name_of(other) for other in files()}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in known else str(node.module)


def floor_of(module: str) -> int:
    """The floor of a module of ours, by the first part of its name below the package."""
    part = module.split(".")[1]
    found = [number for number, floor in enumerate(FLOORS) if part in floor]
    assert found, f"triggerd.{part} stands on no floor: give it one here"
    return found[0]


def ours(path: Path) -> list[str]:
    return [module for module in imports(path) if module.startswith("triggerd.")]


@pytest.mark.parametrize("path", [path for path in files() if path != PACKAGE / "__init__.py"], ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    floor = floor_of(name_of(path))
    for module in ours(path):
        assert floor_of(module) <= floor, f"{name_of(path)} imports {module}, which stands above it"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name_of(path): set(ours(path)) for path in files() if path != PACKAGE / "__init__.py"}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"circle: {' -> '.join([*way[way.index(module) :], module])}"
        if module not in done:
            for below in sorted(graph.get(module, ())):
                visit(below, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", [path for path in files() if name_of(path).split(".")[1:2] != []], ids=name_of)
def test_the_producers_side_imports_redis_and_msgpack_alone(path: Path) -> None:
    if name_of(path).split(".")[1] not in PRODUCER:
        return
    outside = {module.partition(".")[0] for module in imports(path)} - sys.stdlib_module_names - {"triggerd"}
    assert outside <= PRODUCER_PACKAGES


@pytest.mark.parametrize("path", sorted((PACKAGE / "triggers").glob("*.py")), ids=name_of)
def test_a_bundled_trigger_imports_the_contract_alone(path: Path) -> None:
    contract = {"triggerd.trigger", "triggerd.errors", "triggerd.clock"}
    assert {module for module in ours(path) if not module.startswith("triggerd.triggers.")} <= contract
    assert {module.partition(".")[0] for module in imports(path)} <= sys.stdlib_module_names | {"triggerd"}


def test_import_triggerd_loads_nothing_heavy() -> None:
    program = f"import sys, triggerd; print(sorted({DAEMON_ONLY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_files_functions_and_constructors_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"
        if isinstance(node, ast.ClassDef) and node.name not in RECORDS:
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                    arguments = len(member.args.args) + len(member.args.kwonlyargs) - 1
                    assert arguments <= ARGUMENTS, f"{node.name}() takes {arguments} arguments"
