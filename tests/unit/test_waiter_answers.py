"""Every shipped waiter against every value that its status may have; botocore's own rules are the second opinion."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.waiter import SingleWaiterConfig

from tests.support.waiter_answers import OK, answer, fits, statuses
from triggerd.aws.checks import Problem, check_file, uncovered
from triggerd.aws.templates import render
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters
from triggerd.data import data_path

FILES = sorted(path for path in data_path("waiters").glob("*.json") if path.name != "states.json")
MODELS = ServiceModels(Loader())
SHIPPED = [waiter for path in FILES for waiter in Waiters((), MODELS).all(path.stem) if waiter.source == "shipped"]


def label(waiter: WaiterDefinition) -> str:
    return waiter.label.replace(" ", ".")


def ours(waiter: WaiterDefinition, response: dict[str, Any]) -> str | None:
    found = waiter.acceptors.decide(response)
    return found.state if found is not None else None


def botocores(waiter: WaiterDefinition, response: dict[str, Any]) -> str | None:
    config = SingleWaiterConfig(dict(waiter.raw))
    return next((rule.state for rule in config.acceptors if rule.matcher_func(response)), None)


def table(waiter: WaiterDefinition, key: str, value: str) -> str | None:
    """The state that the file has beside a value of an argument, or beside an error."""
    return next(
        (
            rule["state"]
            for rule in waiter.raw["acceptors"]
            if rule["expected"] == value and (rule["matcher"] if key == "error" else rule.get("argument")) == key
        ),
        None,
    )


@pytest.mark.parametrize("waiter", SHIPPED, ids=label)
def test_each_value_puts_a_wait_into_the_state_that_stands_beside_it(waiter: WaiterDefinition) -> None:
    output = MODELS.get(waiter.service).operation_model(waiter.operation).output_shape
    for argument, values in statuses(MODELS, waiter):
        for value in values:
            response = answer(argument, value)
            assert fits(output, response), response
            decided = ours(waiter, response | OK)
            assert decided is not None, f"{value} leaves the wait undecided"
            assert decided == table(waiter, argument, value), value
            assert decided == botocores(waiter, response | OK), value
        assert ours(waiter, answer(argument, "a value of tomorrow") | OK) is None


@pytest.mark.parametrize("waiter", SHIPPED, ids=label)
def test_a_list_of_several_is_decided_as_botocore_decides_it(waiter: WaiterDefinition) -> None:
    for argument, values in statuses(MODELS, waiter):
        if "[]" not in argument:
            continue
        of_each_state = {table(waiter, argument, value): value for value in values}.values()
        for value in values:
            for other in of_each_state:
                for pair in ((value, other), (other, value)):
                    response = answer(argument, *pair) | OK
                    assert ours(waiter, response) == botocores(waiter, response), pair


@pytest.mark.parametrize("waiter", SHIPPED, ids=label)
def test_each_error_decides_as_it_stands_there_and_another_does_not(waiter: WaiterDefinition) -> None:
    codes = [rule.expected for rule in waiter.acceptors.rules if rule.matcher == "error"]
    for code in codes:
        response = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        assert ours(waiter, response) == table(waiter, "error", code) == botocores(waiter, response)
    denied = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert ours(waiter, denied) is None or "AccessDeniedException" in codes


class NewerLoader(Loader):  # type: ignore[misc]  # botocore has no type information
    """The service models of a botocore in which every enumeration has one value more."""

    def load_service_model(self, *arguments: Any, **options: Any) -> Any:
        model = super().load_service_model(*arguments, **options)
        for shape in model.get("shapes", {}).values():
            if "enum" in shape and TOMORROW not in shape["enum"]:
                shape["enum"].append(TOMORROW)
        return model


TOMORROW = "VALUE_OF_TOMORROW"


def test_a_value_that_a_new_botocore_adds_is_found_in_every_waiter_that_may_meet_it() -> None:
    newer, found, wanted = ServiceModels(NewerLoader()), set(), set()
    for path in FILES:
        found |= {f"{path.stem} {problem}" for problem in check_file(path, newer)}
    for waiter in SHIPPED:
        for argument, values in statuses(newer, waiter):
            if TOMORROW in values:
                what = f"no acceptor expects '{TOMORROW}' of {argument}: say whether it is success, failure or retry"
                wanted.add(f"{waiter.label}: acceptors: {what}")
    assert found == wanted
    assert len(wanted) > len(SHIPPED) / 2, "all but the plain strings are enumerations"


# --- Airflow's own, where `make bench-airflow` has installed them -----------------------------------------------

AIRFLOWS = sorted(
    Path(__file__).parents[2].glob(".cache/bench-airflow/lib/python3*/site-packages/airflow/**/aws/waiters/*.json")
)


def test_airflows_definitions_load_unchanged() -> None:
    """But for the file that is named after no service and has a state that there is not."""
    folders = tuple({str(path.parent) for path in AIRFLOWS})
    waiters = Waiters(folders, MODELS)
    for path in AIRFLOWS:
        names = json.loads(path.read_text())["waiters"]
        if path.stem == "neptune_analytics":
            first, second = check_file(path, MODELS)
            assert str(first).endswith("did you mean 'neptune-graph', which has its operations?")
            assert str(second).startswith("import_task_cancelled: acceptors[2].state = 'error': must be one of")
            continue
        for name in names:
            found = waiters.find(path.stem, name)
            assert (found.source, len(found.acceptors.rules)) == ("user", len(found.raw.get("acceptors", ())))
            for argument, values in statuses(MODELS, found) if name != "db_cluster_stopped" else ():
                for value in values:
                    response = answer(argument, value) | OK
                    assert ours(found, response) == botocores(found, response), found.label


def test_what_the_check_says_of_airflows_definitions_is_true() -> None:
    """A value that it says nobody expects leaves the wait undecided; a path that it says is not there finds nothing."""
    waiters = Waiters(tuple({str(path.parent) for path in AIRFLOWS}), MODELS)
    for path in AIRFLOWS:
        for problem in check_file(path, MODELS):
            if problem.severity == "unusable":
                assert path.stem == "neptune_analytics"
            elif problem.key.endswith(".argument"):
                assert (path.stem, problem.value) == ("rds", "DBInstances[].DBInstanceStatus")
                assert "DBInstances" not in MODELS.get("rds").operation_model("DescribeDBClusters").output_shape.members
            elif problem.why.startswith("there are none"):
                assert (path.stem, problem.waiter) == ("mwaa", "mwaa_task_complete")
            else:
                _holds(waiters, path.stem, problem)


def _holds(waiters: Waiters, service: str, problem: Problem) -> None:
    definition = waiters.find(service, problem.waiter)
    [(argument, values)] = [
        (argument, values) for argument, values in uncovered(MODELS, definition).items()
        if f" of {argument}: say" in problem.why
    ]  # fmt: skip
    if definition.parameters:
        filling = dict.fromkeys(definition.parameters, "x")
        definition = waiters.get(service, problem.waiter, parameters=filling)
        argument = render(argument, filling)
    for value in values:
        assert f"{value!r}" in problem.why
        assert definition.acceptors.decide(answer(argument, value) | OK) is None, problem
