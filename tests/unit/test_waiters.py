"""Promises of the waiter loader and of the acceptors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.waiter import SingleWaiterConfig, WaiterModel
from jmespath.exceptions import JMESPathError

from triggerd.aws.acceptors import Acceptor, Acceptors
from triggerd.aws.checks import check_file
from triggerd.aws.waiters import ServiceModels, Waiters, check_arguments
from triggerd.errors import WaiterDefinitionError

MODELS = ServiceModels(Loader())


def _write(folder: Path, service: str, **waiters: Any) -> Path:
    path = folder / f"{service}.json"
    path.write_text(json.dumps({"version": 2, "waiters": waiters}))
    return path


def _waiter(**changes: Any) -> dict[str, Any]:
    acceptors = [{"state": "success", "matcher": "path", "argument": "JobRun.JobRunState", "expected": "SUCCEEDED"}]
    return {"operation": "GetJobRun", "delay": 5, "maxAttempts": 3, "acceptors": acceptors, **changes}


# --- the loader -------------------------------------------------------------------------------------------------


def test_both_spellings_find_the_same_builtin() -> None:
    waiters = Waiters((), MODELS)
    assert waiters.get("redshift", "cluster_available") is waiters.get("redshift", "ClusterAvailable")


def test_a_user_folder_goes_before_the_shipped_files_and_botocore(tmp_path: Path) -> None:
    _write(tmp_path, "glue", job_complete=_waiter(delay=7))
    _write(tmp_path, "redshift", ClusterAvailable=_waiter(operation="DescribeClusters", delay=8))
    waiters = Waiters((str(tmp_path),), MODELS)
    assert waiters.get("glue", "job_complete").delay == 7
    assert waiters.get("redshift", "cluster_available").source == "user"
    assert waiters.get("glue", "crawler_ready").source == "shipped"


def test_all_lists_every_builtin_once() -> None:
    found = [(waiter.service, waiter.name) for waiter in Waiters((), MODELS).all()]
    assert len(found) == len(set(found))
    builtin = {(service, name) for service in MODELS.services_with_waiters() for name in MODELS.waiters(service)}
    assert len(builtin - set(found)) <= 1  # emr StepComplete is shadowed by ours


@pytest.mark.parametrize(("service", "name", "said"), [
    ("redshift", "cluster_availabl", "did you mean 'cluster_available'"),
    ("redshif", "cluster_available", "did you mean 'redshift'"),
])  # fmt: skip
def test_an_unknown_name_is_answered_with_close_ones(service: str, name: str, said: str) -> None:
    with pytest.raises(WaiterDefinitionError, match=said):
        Waiters((), MODELS).get(service, name)


@pytest.mark.parametrize(("change", "said"), [
    ({"operation": "GetJobRunn"}, r"operation = 'GetJobRunn'.*did you mean 'GetJobRuns?'"),
    ({"delay": 0}, "delay = 0"),
    ({"maxAttempts": 1.5}, "maxAttempts = 1.5"),
    ({"acceptors": []}, "at least one acceptor"),
    ({"acceptors": [{"state": "succes", "matcher": "path", "expected": 1}]}, "did you mean 'success'"),
    ({"acceptors": [{"state": "success", "matcher": "pathall", "expected": 1}]}, "did you mean 'pathAll'"),
    ({"acceptors": [{"state": "success", "matcher": "path", "expected": 1}]}, "argument = None"),
    ({"acceptors": [{"state": "success", "matcher": "path", "argument": "a[", "expected": 1}]}, "a\\["),
    ({"acceptors": [{"state": "success", "matcher": "status", "expected": "404"}]}, "HTTP status code"),
    ({"acceptors": [{"state": "success", "matcher": "error"}]}, "is missing"),
])  # fmt: skip
def test_a_wrong_definition_names_file_waiter_key_value_and_the_way_out(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    _write(tmp_path, "glue", mine=_waiter(**change))
    with pytest.raises(WaiterDefinitionError, match=said) as error:
        Waiters((str(tmp_path),), MODELS).get("glue", "mine")
    assert "glue.json" in str(error.value)
    assert "mine" in str(error.value)


def test_arguments_that_do_not_fit_the_operation_are_refused() -> None:
    waiter = Waiters((), MODELS).get("glue", "job_complete")
    check_arguments(MODELS, waiter, {"JobName": "j", "RunId": "r"})
    with pytest.raises(WaiterDefinitionError, match='Missing required parameter in input: "RunId"'):
        check_arguments(MODELS, waiter, {"JobName": "j"})
    with pytest.raises(WaiterDefinitionError, match='Unknown parameter in input: "Job"'):
        check_arguments(MODELS, waiter, {"JobName": "j", "RunId": "r", "Job": 1})


# --- the check --------------------------------------------------------------------------------------------------


def _problems(tmp_path: Path, argument: str, *expected: Any, matcher: str = "path") -> list[str]:
    rules = [{"state": "retry", "matcher": matcher, "argument": argument, "expected": value} for value in expected]
    path = _write(tmp_path, "glue", mine=_waiter(acceptors=rules))
    return [str(problem) for problem in check_file(path, MODELS)]


def test_check_reports_a_path_that_the_answer_does_not_have(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "JobRun.JobRunStat", "x")
    assert "has no member 'JobRunStat', did you mean 'JobRunState'" in problem


def test_check_reports_values_that_are_missing_or_never_there(tmp_path: Path) -> None:
    problems = _problems(tmp_path, "JobRun.JobRunState", "SUCCEDED")
    assert "never has this value, did you mean 'SUCCEEDED'" in problems[0]
    assert any("no acceptor expects 'EXPIRED'" in problem for problem in problems)


def test_check_reports_a_comparison_that_is_never_true(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "JobRun.JobRunState == 'DONE'", True)
    assert "it never is 'DONE'" in problem


def test_check_reports_unknown_keys_and_a_matcher_for_lists_on_one_value(tmp_path: Path) -> None:
    rule = {"state": "retry", "matcher": "pathAll", "argument": "JobRun.Id", "expected": "x", "expectd": 1}
    path = _write(tmp_path, "glue", mine=_waiter(acceptors=[rule], max_attempts=3))
    said = " ".join(str(problem) for problem in check_file(path, MODELS))
    assert "did you mean 'maxAttempts'" in said
    assert "did you mean 'expected'" in said
    assert "finds one value: use path" in said


@pytest.mark.parametrize("text", ["{", '{"version": 1, "waiters": {}}', '{"version": 2}', "[]"])
def test_check_reports_a_file_that_is_no_waiter_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "glue.json"
    path.write_text(text)
    assert len(check_file(path, MODELS)) == 1


# --- the acceptors decide as botocore's -------------------------------------------------------------------------


def _synthetic(shape: Shape | None, leaf: Any, items: int, depth: int = 6) -> Any:
    """An answer of this shape with `leaf` in every string, `items` items in every list."""
    if depth == 0 or shape is None:
        return None
    if isinstance(shape, StructureShape):
        return {name: _synthetic(member, leaf, items, depth - 1) for name, member in shape.members.items()}
    if isinstance(shape, ListShape):
        return [_synthetic(shape.member, leaf, 1, depth - 1) for _ in range(items)]
    if isinstance(shape, MapShape):
        return {"key": _synthetic(shape.value, leaf, items, depth - 1)}
    return leaf


def _answers(output: Shape | None, config: SingleWaiterConfig) -> Iterator[dict[str, Any]]:
    ok = {"ResponseMetadata": {"HTTPStatusCode": 200}}
    yield ok
    expected = list({json.dumps(rule.expected): rule.expected for rule in config.acceptors}.values())
    for value in [*expected, "never"]:
        for items in (0, 1, 2):
            answer = _synthetic(output, value, items) or {}
            yield answer | ok
        status = value if isinstance(value, int) else 404
        yield {"Error": {"Code": value, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    lists = _synthetic(output, expected[0], 1) or {}
    other = _synthetic(output, "never", 1) or {}
    yield {
        name: value + other[name] if isinstance(value, list) and isinstance(other[name], list) else value
        for name, value in lists.items()
    } | ok


def _botocore(config: SingleWaiterConfig, answer: dict[str, Any]) -> Any:
    for rule in config.acceptors:
        if rule.matcher_func(answer):
            return rule.state, rule.expected
    return None


@pytest.mark.deadline(120)
def test_acceptors_decide_as_botocores_for_every_builtin_waiter() -> None:
    waiters, compared = Waiters((), MODELS), 0
    for service in MODELS.services_with_waiters():
        model = WaiterModel({"version": 2, "waiters": dict(MODELS.waiters(service))})
        for name in model.waiter_names:
            ours, theirs = waiters.get(service, name), model.get_waiter(name)
            if ours.source != "botocore":
                continue
            output = MODELS.get(service).operation_model(ours.operation).output_shape
            for answer in _answers(output, theirs):
                try:
                    wanted = _botocore(theirs, answer)
                except JMESPathError:
                    with pytest.raises(WaiterDefinitionError):
                        ours.acceptors.decide(answer)
                    continue
                found = ours.acceptors.decide(answer)
                assert (found and (found.state, found.expected)) == wanted, f"{ours.label}: {answer}"
                compared += 1
    assert compared > 5000


def test_a_lost_answer_ends_a_wait_only_where_an_acceptor_names_it() -> None:
    throttle = {"Error": {"Code": "Throttling"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    any_error = Acceptors("w", [Acceptor("success", "error", True)])
    exact = Acceptors("w", [Acceptor("failure", "error", "Throttling")])
    retry = Acceptors("w", [Acceptor("retry", "error", "Throttling")])
    assert any_error.decide_lost(throttle) is None
    assert exact.decide_lost(throttle) is exact.rules[0]
    assert retry.decide_lost(throttle) is None


def test_a_status_is_found_where_the_acceptors_look() -> None:
    waiter = Waiters((), MODELS).get("glue", "crawler_ready")
    assert waiter.acceptors.status_in({"Crawler": {"State": "RUNNING"}}) == "RUNNING"
    waiter = Waiters((), MODELS).get("batch", "job_complete")
    assert waiter.acceptors.status_in({"jobs": [{"status": "A"}, {"status": "B"}]}) == "A, B"
