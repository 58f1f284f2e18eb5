"""What `import triggerd` promises: every name is there, and nothing is loaded before it is used."""

import ast
import subprocess
import sys

import pytest

import triggerd
from triggerd.data import data_path


@pytest.mark.parametrize("name", triggerd.__all__)
def test_every_name_of_the_sdk_can_be_imported(name: str) -> None:
    assert getattr(triggerd, name) is not None
    assert name in dir(triggerd)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Kafka'"):
        _ = triggerd.Kafka  # type: ignore[attr-defined]


def test_type_checkers_see_the_names_that_are_found_at_run_time() -> None:
    tree = ast.parse((data_path("triggerd") / "__init__.py").read_text())
    seen = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("triggerd.")
        for alias in node.names
    }
    assert seen == {(f"triggerd.{module}", name) for name, module in triggerd._HOMES.items()}


def test_redis_is_loaded_when_a_client_is_built_and_not_before() -> None:
    program = (
        "import sys; from triggerd import AwsWaiterTrigger, BaseTrigger, Client, Deferrable, Handle\n"
        "AwsWaiterTrigger('redshift', 'cluster_paused', {'ClusterIdentifier': 'dwh'}).serialize()\n"
        "assert 'redis' not in sys.modules; Client(); assert 'redis' in sys.modules\n"
        "assert not {'aiobotocore', 'botocore', 'uvloop', 'prometheus_client', 'msgspec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
