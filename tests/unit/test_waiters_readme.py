"""waiters/README.md is true: its example passes the check that it describes, and its commands name it."""

import json
import re
from pathlib import Path

from tests.support import markdown
from triggerd.aws.checks import check_file
from triggerd.aws.rules import ACCEPTORS, LENGTH, MAKES, PATHS
from triggerd.aws.waiters import ServiceModels, Waiters, new_loader
from triggerd.data import data_path

PAGE = data_path("waiters") / "README.md"


def test_the_example_is_clean_and_can_be_loaded(tmp_path: Path) -> None:
    [text] = markdown.blocks(PAGE, "json")
    (tmp_path / "glue.json").write_text(text)
    models = ServiceModels(new_loader())
    assert check_file(tmp_path / "glue.json", models) == []
    waiter = Waiters((str(tmp_path),), models).get("glue", "trigger_activated")
    assert (waiter.source, waiter.operation) == ("user", "GetTrigger")
    assert waiter.acceptors.status_in({"Trigger": {"State": "CREATED"}}) == "CREATED"


def test_a_value_left_out_of_the_example_is_named_by_the_check(tmp_path: Path) -> None:
    [text] = markdown.blocks(PAGE, "json")
    document = json.loads(text)
    document["waiters"]["trigger_activated"]["acceptors"].pop()
    (tmp_path / "glue.json").write_text(json.dumps(document))
    [problem] = check_file(tmp_path / "glue.json", ServiceModels(new_loader()))
    assert "no acceptor expects 'UPDATING'" in str(problem)


def test_what_it_says_of_parameters_and_of_acceptors_is_so() -> None:
    waiters = Waiters((), ServiceModels(new_loader()))
    text = PAGE.read_text()
    bounds = " ".join(text[text.index("## Acceptors of one wait") :].split())
    [argument] = re.findall(r'"argument": "(flowExecutions.*)"', text)
    rules = waiters.find("appflow", "run_complete").acceptors.rules
    assert {rule.argument for rule in rules} == {argument.replace("{{ EXECUTION_ID }}", "{{EXECUTION_ID}}")}
    assert waiters.get("appflow", "run_complete", parameters={"EXECUTION_ID": "0a1b"}).parameters == frozenset()
    [acceptors] = re.findall(r"acceptors = (.*)", text)
    found = waiters.get("mwaa", "mwaa_task_complete", json.loads(acceptors))
    assert found.acceptors.decide({"RestApiResponse": {"state": "success"}}) is found.acceptors.rules[0]
    for most in (ACCEPTORS, PATHS, LENGTH, MAKES):
        assert f" {most} " in bounds
