"""Promises of the waiter loader and of the acceptors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.waiter import SingleWaiterConfig, WaiterModel
from hypothesis import example, given
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from triggerd.aws import templates
from triggerd.aws.acceptors import Acceptor, Acceptors, compiled
from triggerd.aws.templates import TemplateError
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


def test_all_lists_every_builtin_once_or_ours_in_its_place() -> None:
    waiters = Waiters((), MODELS)
    found = [(waiter.service, waiter.name) for waiter in waiters.all()]
    assert len(found) == len(set(found))
    builtin = {(service, name) for service in MODELS.services_with_waiters() for name in MODELS.waiters(service)}
    assert {waiters.find(*shadowed).source for shadowed in builtin - set(found)} == {"shipped"}


@pytest.mark.parametrize(("service", "name", "said"), [
    ("redshift", "cluster_availabl", "did you mean 'cluster_available'"),
    ("redshif", "cluster_available", "did you mean 'redshift'"),
])  # fmt: skip
def test_an_unknown_name_is_answered_with_close_ones(service: str, name: str, said: str) -> None:
    with pytest.raises(WaiterDefinitionError, match=said):
        Waiters((), MODELS).get(service, name)


def test_arguments_that_do_not_fit_the_operation_are_refused() -> None:
    waiter = Waiters((), MODELS).get("glue", "job_complete")
    check_arguments(MODELS, waiter, {"JobName": "j", "RunId": "r"})
    with pytest.raises(WaiterDefinitionError, match='Missing required parameter in input: "RunId"'):
        check_arguments(MODELS, waiter, {"JobName": "j"})
    with pytest.raises(WaiterDefinitionError, match='Unknown parameter in input: "Job"'):
        check_arguments(MODELS, waiter, {"JobName": "j", "RunId": "r", "Job": 1})


# --- acceptors and parameters of the wait -----------------------------------------------------------------------

STATE = {"state": "success", "matcher": "path", "argument": "JobRun.JobRunState", "expected": "RUNNING"}


def test_acceptors_of_the_wait_stand_instead_of_the_waiters_own() -> None:
    waiters = Waiters((), MODELS)
    own, found = waiters.get("glue", "job_complete"), waiters.get("glue", "job_complete", [STATE])
    assert [str(rule) for rule in found.acceptors.rules] == ["success where path of JobRun.JobRunState is 'RUNNING'"]
    assert (found.operation, found.delay, found.max_attempts) == (own.operation, own.delay, own.max_attempts)
    assert waiters.get("glue", "job_complete") is own


def test_the_same_acceptors_are_compiled_once_and_those_that_python_calls_equal_are_not_the_same() -> None:
    waiters = Waiters((), MODELS)
    variants = [waiters.get("glue", "job_complete", [{**STATE, "expected": value}]) for value in (1, True, 1.0, "1")]
    assert len({id(variant) for variant in variants}) == 4
    assert variants[1] is waiters.get("glue", "job_complete", [{**STATE, "expected": True}])
    assert variants[1].acceptors.rules[0].expected is True


def test_no_more_variants_are_kept_than_a_thousand() -> None:
    waiters = Waiters((), MODELS)
    first = waiters.get("glue", "job_complete", [STATE])
    for number in range(1000):
        waiters.get("glue", "job_complete", [{**STATE, "expected": f"s{number}"}])
    assert waiters.get("glue", "job_complete", [STATE]) is not first


ROW = "rows[?id=='{{ ID }}'].\"{{STATE}}\" | [0]"


def test_parameters_are_filled_in_where_something_is_quoted() -> None:
    found = Waiters((), MODELS).get("glue", "job_complete", [{**STATE, "argument": ROW}], {"ID": 17, "STATE": "state"})
    [rule] = found.acceptors.rules
    assert rule.argument == "rows[?id=='17'].\"state\" | [0]"
    assert found.acceptors.decide({"rows": [{"id": "16"}, {"id": "17", "state": "RUNNING"}]}) is rule


@given(st.text(max_size=20))
@example("'] || [?'a'=='a")
@example("x\\")
@example('"')
def test_a_value_is_refused_or_stays_one_literal_whatever_it_is(value: str) -> None:
    """The syntax of what is filled in is that of the template, but for the values themselves."""
    try:
        text = templates.checked("ID", value)
    except TemplateError:
        hostile = any(char in "'\"`\\" or not char.isprintable() for char in value)
        assert not value or hostile
        return
    wanted = json.dumps(compiled(ROW).parsed)
    for name in ("{{ ID }}", "{{STATE}}"):
        wanted = wanted.replace(json.dumps(name), json.dumps(value))
    assert compiled(templates.render(ROW, {"ID": text, "STATE": text})).parsed == json.loads(wanted)


@given(st.text(alphabet="ab{}%# '\"\\|[]?=.", max_size=25))
def test_no_text_is_a_template_by_halves(expression: str) -> None:
    """What passes as a template is filled in without a trace of braces, and is still JMESPath."""
    rule = {**STATE, "argument": expression}
    waiters = Waiters((), MODELS)
    try:
        found = waiters.get("glue", "job_complete", [rule], dict.fromkeys(templates.names(expression), "v"))
    except (TemplateError, WaiterDefinitionError):
        return
    assert "{{" not in (found.acceptors.rules[0].argument or "")


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
