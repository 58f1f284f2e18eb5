"""Names that become keys in Redis."""

import re

import pytest

from triggerd import keys
from triggerd.data import data_path
from triggerd.errors import NameNotValidError
from triggerd.keys import LUA_NAMES, QueueKeys, check_id, check_name


def test_all_keys_of_a_queue_share_its_hash_tag() -> None:
    of = QueueKeys("etl")
    found = [
        of.triggers,
        of.deadlines,
        of.dead,
        of.control,
        of.record("a"),
        of.done("a"),
        of.consumer("c"),
        of.events("r"),
    ]
    assert all(key.startswith("triggerd:{etl}:") for key in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", ["", "a{b}", "with space", "x" * 65, "a/b", "ü", "a\n", None, 5])
def test_a_name_that_would_break_the_keys_is_refused(name: object) -> None:
    with pytest.raises(NameNotValidError):
        check_name("queue", name)  # type: ignore[arg-type]
    with pytest.raises(NameNotValidError):
        QueueKeys(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("trigger_id", ["", "x" * 513, "a\nb", "ä" * 257, 5, None])
def test_a_trigger_id_that_cannot_be_one_is_refused(trigger_id: object) -> None:
    with pytest.raises(NameNotValidError):
        check_id(trigger_id)  # type: ignore[arg-type]


def test_the_scripts_name_no_key_and_no_field_themselves() -> None:
    """keys.py is the only place: a script that spelt a name would go wrong silently after a rename."""
    names = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)} - {LUA_NAMES}
    # "pending", "name" and the like are words of Redis's own answers.
    for path in sorted((data_path("triggerd") / "streams" / "lua").glob("*.lua")):
        code = re.sub(r"--.*", "", path.read_text())
        spelt = {literal for literal in re.findall(r"'([a-z_]+)'", code) if literal in names}
        assert not spelt, f"{path.name} spells {spelt}"
