"""Promises about merge forms: each fits botocore's models, and what is projected is what the single call says."""

import copy
import json
from typing import Any

import pytest
from botocore.model import ListShape, StructureShape
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_aws import Fault
from tests.support.merge_world import (
    MODELS,
    OK,
    WAITERS,
    World,
    ids_for,
    item_shape,
    output_of,
    reads_of,
    single_item_shape,
    single_params,
    states_of,
    takes_many,
    waiters_of,
)
from triggerd.aws.forms import Form, Forms, Place, read_forms
from triggerd.aws.projection import Page, paths_read
from triggerd.aws.verdicts import decide

FORMS = read_forms()
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.service}.{form.single}.{form.id}")


def place_of(form: Form, ids: list[str], **more: Any) -> Place:
    """The place of a request in this form."""
    place = Forms(MODELS).find(form.service, form.single, {**single_params(form, ids), **more})
    assert place is not None
    assert place.form is form
    return place


def some_ids(form: Form, count: int) -> list[str]:
    ids = ids_for(form)
    return [next(ids) for _ in range(count)]


# --- the file against botocore's models -------------------------------------------------------------------------------


@each_form
def test_both_operations_take_what_the_form_says(form: Form) -> None:
    single = MODELS.get(form.service).operation_model(form.single).input_shape
    merged = MODELS.get(form.service).operation_model(form.merged).input_shape
    assert form.carried | form.needed <= single.members.keys() & merged.members.keys()
    assert form.derived.keys() | form.fixed.keys() <= merged.members.keys()
    ids = some_ids(form, 3 if takes_many(form) else 1)
    for params, shape in ((single_params(form, ids), single), (_merged_params(form), merged)):
        report = ParamValidator().validate(params, shape)
        assert not report.has_errors(), report.generate_report()
    for name, value in form.fixed.items():
        shape = merged.members[name]
        allowed = getattr(shape.member if isinstance(shape, ListShape) else shape, "enum", None)
        assert not allowed or set(value if isinstance(value, list) else [value]) <= set(allowed)
        if isinstance(value, int):
            assert value <= shape.metadata.get("max", value)


def _merged_params(form: Form) -> dict[str, Any]:
    ids = some_ids(form, min(form.max_ids, 1000))
    params = form.request(place_of(form, ids[:1]).common, ids, "t" * 112 if form.token else None)
    if form.ids:
        assert ids[-1] in json.dumps(params)
    return params


@each_form
def test_no_call_carries_more_ids_than_the_model_allows(form: Form) -> None:
    shape = MODELS.get(form.service).operation_model(form.merged).input_shape
    if form.ids and "[" not in form.ids:
        assert 1 <= form.max <= shape.members[form.ids].metadata.get("max", form.max)
    assert form.list_all or 1 <= form.max <= 100


@each_form
def test_the_answers_paths_are_in_the_models(form: Form) -> None:
    output, item, answer = output_of(form.service, form.merged), item_shape(form), form.answer
    assert {answer.key, *answer.also} <= item.members.keys()
    assert all(item.members[name].type_name == "string" for name in (answer.key, *answer.also))
    assert not form.token or form.token in output.members
    paginates = {"NextToken", "nextToken", "Marker"} & output.members.keys()
    assert not paginates or form.token or form.kind == "ids", "an answer that may have a next page is read on"
    assert (answer.missing == "listed") == bool(answer.listed)
    if answer.listed:
        entry = output.members[answer.listed].member
        assert not answer.listed_key or answer.listed_key in entry.members


@each_form
def test_the_single_answer_is_made_of_fields_that_it_has(form: Form) -> None:
    item, target = item_shape(form), single_item_shape(form)
    names = form.answer.covers if form.answer.covers is not None else item.members.keys()
    for name in names:
        assert _alike(item.members[name], target.members[name]), name
    if form.answer.into is None:
        assert form.single == form.merged
    if not form.partial:
        assert target.members.keys() <= item.members.keys(), "a form whose items lack fields says so by `covers`"


def _alike(ours: Any, theirs: Any, seen: tuple[Any, ...] = ()) -> bool:
    if ours.type_name != theirs.type_name or (ours.name, theirs.name) in seen:
        return bool(ours.type_name == theirs.type_name)
    seen = (*seen, (ours.name, theirs.name))
    if isinstance(ours, StructureShape):
        same = ours.members.keys() == theirs.members.keys()
        return same and all(_alike(ours.members[name], theirs.members[name], seen) for name in ours.members)
    return not isinstance(ours, ListShape) or _alike(ours.member, theirs.member, seen)


@each_form
def test_an_error_code_for_a_missing_id_is_known_from_the_model_or_a_waiter(form: Form) -> None:
    if form.answer.missing != "error":
        assert not form.answer.error
        return
    model = MODELS.get(form.service).operation_model(form.single)
    declared = {shape.metadata.get("error", {}).get("code", shape.name) for shape in model.error_shapes}
    expected = {rule.expected for waiter in waiters_of(form) for rule in waiter.acceptors.rules}
    assert form.answer.error in declared | expected or form.answer.why
    assert "{ids}" in form.answer.message


@each_form
def test_a_place_knows_the_parameters_of_its_single_call(form: Form) -> None:
    for ids in (some_ids(form, 1), some_ids(form, 3 if takes_many(form) else 1)):
        assert place_of(form, ids).params == single_params(form, ids)


def test_ec2_is_never_asked_for_many_by_ids_of_which_one_unknown_fails_the_call() -> None:
    for form in FORMS:
        if form.service == "ec2":
            assert form.kind in ("filter", "page")


def test_the_services_of_the_issue_have_forms() -> None:
    services = {form.service for form in FORMS}
    assert {
        "ecs", "batch", "athena", "codebuild", "glue", "opensearchserverless", "emr", "ec2", "rds", "dms", "neptune",
        "stepfunctions", "emr-serverless", "emr-containers", "ssm", "redshift", "elasticache", "sagemaker",
    } <= services  # fmt: skip
    assert len(FORMS) > 80


# --- the single answer, rebuilt ---------------------------------------------------------------------------------------


@each_form
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=st.data())
def test_projected_is_what_the_single_call_says_to_every_waiter(form: Form, data: st.DataObject) -> None:
    ids = some_ids(form, 8)
    states = st.sampled_from(states_of(form))
    here = data.draw(st.lists(st.sampled_from(ids), unique=True), "ids that exist")
    world = World(form, {one: data.draw(states, one) for one in here})
    asked = data.draw(st.permutations(ids), "ids asked for")[: data.draw(st.integers(1, len(ids)))]
    mine = asked[: data.draw(st.integers(1, 3))] if takes_many(form) else asked[:1]
    assert_projected(world, mine, None if form.list_all else asked, page_size=data.draw(st.sampled_from([3, 1000])))


def assert_projected(world: World, mine: list[str], asked: list[str] | None, page_size: int) -> None:
    form = world.form
    page: Page | None = None
    projected = None
    while page is None or page.token:
        token = page.token if page else None
        answer = {**world.merged(asked, token, page_size if form.token else 1000), "ResponseMetadata": OK}
        before = copy.deepcopy(answer)
        page = form.read(answer, page)
        projected = form.project(page, place_of(form, mine))
        assert answer == before, "a merged answer is read, never changed"
        assert projected is None or not page.token or all(one in page.found for one in mine)
    single = world.single(mine)
    if single is None or (isinstance(single, Fault) and projected is None):
        assert projected is None
        return
    assert projected is not None
    expected = _as_botocore(single)
    if not form.partial:
        assert projected == expected
    for waiter in waiters_of(form):
        assert str(decide(waiter, projected)) == str(decide(waiter, expected))
        assert waiter.acceptors.status_in(projected) == waiter.acceptors.status_in(expected)


def _as_botocore(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Fault):
        error = {"Code": answer.code, "Message": answer.message}
        return {"Error": error, "ResponseMetadata": {**OK, "HTTPStatusCode": answer.status}}
    listing = dict(answer)
    if "Reservations" in listing:
        instances = [one for reservation in listing["Reservations"] for one in reservation["Instances"]]
        listing["Reservations"] = [{"ReservationId": "r-1", "Instances": [one]} for one in instances]
    return {**listing, "ResponseMetadata": OK}


# --- what a merged answer would have said to the wrong wait (each was seen on unprojected answers) --------------------


def _instances(**states: str) -> dict[str, Any]:
    return {
        "Reservations": [
            {"ReservationId": f"r-{name}", "Instances": [{"InstanceId": f"i-{name}", "State": {"Name": state}}]}
            for name, state in states.items()
        ],
        "ResponseMetadata": OK,
    }


def _said(waiter: str, response: dict[str, Any], *ids: str) -> str:
    service, _, name = waiter.partition(".")
    definition = WAITERS.get(service, name)
    parameter = "tasks" if service == "ecs" else "InstanceIds"
    place = Forms(MODELS).find(service, definition.operation, {parameter: [*ids]}, reads_of(definition))
    assert place is not None
    projected = place.form.project(place.form.read(response), place)
    if projected is None:
        return "ask"
    found = definition.acceptors.decide(projected)
    return found.state if found else "error" if "Error" in projected else "wait"


INSTANCES = next(form for form in FORMS if form.single == "DescribeInstances")
TASKS = next(form for form in FORMS if form.single == "DescribeTasks")


def test_a_stopped_instance_is_not_failed_by_anothers_termination() -> None:
    both = _instances(a="stopped", b="terminated")
    assert _said("ec2.instance_stopped", both, "i-a") == "success"
    assert _said("ec2.instance_stopped", both, "i-b") == "failure"
    assert _said("ec2.instance_stopped", both, "i-gone") == "error"


def test_a_terminated_instance_does_not_wait_for_another_one() -> None:
    both = _instances(a="stopped", b="terminated")
    assert _said("ec2.instance_terminated", both, "i-a") == "wait"
    assert _said("ec2.instance_terminated", both, "i-b") == "success"
    assert _said("ec2.instance_terminated", both, "i-a", "i-b") == "wait"


def test_an_unknown_instance_does_not_exist_because_another_one_does() -> None:
    assert _said("ec2.instance_exists", _instances(a="running"), "i-gone") == "retry"


def test_a_running_task_is_not_failed_by_another_that_stopped() -> None:
    tasks = [{"taskArn": "arn:t1", "lastStatus": "STOPPED"}, {"taskArn": "arn:t2", "lastStatus": "RUNNING"}]
    answer = {"tasks": tasks, "failures": [], "ResponseMetadata": OK}
    assert _said("ecs.tasks_running", answer, "arn:t1") == "failure"
    assert _said("ecs.tasks_running", answer, "arn:t2") == "success"


def test_a_missing_task_is_missing_in_its_own_wait_only() -> None:
    answer = {
        "tasks": [{"taskArn": "arn:t2", "lastStatus": "RUNNING"}],
        "failures": [{"arn": "arn:t3", "reason": "MISSING"}],
        "ResponseMetadata": OK,
    }
    assert _said("ecs.tasks_running", answer, "arn:t2") == "success"
    assert _said("ecs.tasks_running", answer, "arn:t3") == "retry"
    assert _said("ecs.tasks_running", answer, "arn:not-told-of") == "ask"


def test_instances_of_one_reservation_stay_in_it() -> None:
    reservation = {"ReservationId": "r", "Instances": [{"InstanceId": f"i-{name}"} for name in "abc"]}
    place = place_of(INSTANCES, ["i-a", "i-c"])
    projected = INSTANCES.project(INSTANCES.read({"Reservations": [reservation]}), place)
    assert projected is not None
    assert projected["Reservations"] == [
        {"ReservationId": "r", "Instances": [{"InstanceId": "i-a"}, {"InstanceId": "i-c"}]}
    ]


def test_an_id_that_could_be_two_resources_is_asked_singly() -> None:
    tasks = [{"taskArn": "arn:one/t"}, {"taskArn": "arn:two/t"}]
    page = TASKS.read({"tasks": tasks, "failures": []})
    assert TASKS.project(page, place_of(TASKS, ["t"])) is None
    assert TASKS.project(page, place_of(TASKS, ["arn:one/t"])) is not None


def test_rds_answers_in_lower_case_to_whoever_asks() -> None:
    form = next(form for form in FORMS if (form.service, form.single) == ("rds", "DescribeDBInstances"))
    page = form.read({"DBInstances": [{"DBInstanceIdentifier": "orders"}]})
    projected = form.project(page, place_of(form, ["Orders"]))
    assert projected is not None
    assert projected["DBInstances"] == [{"DBInstanceIdentifier": "orders"}]


# --- which requests have a place --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "operation", "params"), [
    ("ec2", "DescribeInstances", {"InstanceIds": []}),
    ("ec2", "DescribeInstances", {"InstanceIds": ["i-a", "i-a"]}),
    ("ec2", "DescribeInstances", {"InstanceIds": ["i-*"]}),
    ("ec2", "DescribeInstances", {"InstanceIds": [f"i-{number}" for number in range(101)]}),
    ("ec2", "DescribeInstances", {"InstanceIds": ["i-a"], "MaxResults": 5}),
    ("ec2", "DescribeInstances", {"Filters": [{"Name": "tag:team", "Values": ["a"]}]}),
    ("ec2", "DescribeInstances", {"InstanceIds": ["i-a"], "Filters": [{"Name": "tag:team", "Values": ["a"]}]}),
    ("ec2", "DescribeKeyPairs", {"KeyNames": ["what?"]}),
    ("ec2", "DescribeInstances", {}),
    ("rds", "DescribeDBInstances", {"DBInstanceIdentifier": "a", "MaxRecords": 20}),
    ("rds", "DescribeDBSnapshots", {"DBSnapshotIdentifier": "arn:aws:rds:us-east-1:1:snapshot:s"}),
    ("glue", "GetJobRun", {"JobName": "j", "RunId": "r", "PredecessorsIncluded": True}),
    ("dms", "DescribeEndpoints", {"Filters": [{"Name": "endpoint-type", "Values": ["source"]}]}),
    ("dms", "DescribeEndpoints", {"Filters": [{"Name": name, "Values": ["a"]} for name in ("endpoint-arn", "x")]}),
    ("dms", "DescribeEndpoints", {"Filters": []}),
    ("redshift", "DescribeClusterSnapshots", {"SnapshotIdentifier": "s"}),
    ("stepfunctions", "DescribeExecution", {"executionArn": "arn:aws:states:us-east-1:1:execution:m/label:e"}),
    ("stepfunctions", "DescribeExecution", {"executionArn": "arn:aws:states:us-east-1:1:express:m:e:u"}),
    ("eks", "DescribeCluster", {"name": "c"}),
])  # fmt: skip
def test_a_request_that_a_merged_call_cannot_carry_has_no_place(
    service: str, operation: str, params: dict[str, Any]
) -> None:
    assert Forms(MODELS).find(service, operation, params) is None


def test_requests_that_differ_in_more_than_their_ids_are_not_merged() -> None:
    forms = Forms(MODELS)

    def key(**more: Any) -> str:
        place = forms.find("ecs", "DescribeTasks", {"tasks": ["t"], **more})
        assert place is not None
        return place.key

    assert key(cluster="a") == key(cluster="a")
    assert len({key(), key(cluster="a"), key(cluster="b"), key(include=["TAGS"])}) == 4


def test_places_of_one_call_share_what_is_common_and_let_it_go() -> None:
    forms = Forms(MODELS)
    first, second = (forms.find("glue", "GetJobRun", {"JobName": "etl", "RunId": run}) for run in ("r1", "r2"))
    assert first is not None
    assert second is not None
    assert first.siblings is second.siblings
    assert first.common == {"JobName": "etl"}
    del first, second
    assert not forms._siblings_by_key


def test_the_state_machine_of_an_execution_is_read_from_its_arn() -> None:
    execution = "arn:aws:states:us-east-1:123456789012:execution:nightly:2026-11-24"
    place = Forms(MODELS).find("stepfunctions", "DescribeExecution", {"executionArn": execution}, {"status"})
    assert place is not None
    assert place.common == {"stateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:nightly"}


@pytest.mark.parametrize(("expression", "paths"), [
    ("Cluster.Status.State", {"Cluster.Status.State"}),
    ("Stacks[].StackStatus", {"Stacks.StackStatus"}),
    ("Stacks[0].StackStatus", {"Stacks.StackStatus"}),
    ("Stacks[1:].StackStatus", {"Stacks.StackStatus"}),
    ("Stacks[?Name == 'a'].StackStatus", {"Stacks.Name", "Stacks.StackStatus"}),
    ("status != 'A' && !output", {"status", "output"}),
    ("status || error", {"status", "error"}),
    ("[status, name] | [0]", {"status", "name"}),
    ("{a: status}", {"status"}),
    ("length(Stacks[]) > `0`", {"Stacks"}),
    ("join(',', Stacks[].StackStatus)", {"Stacks.StackStatus"}),
    ("`true`", set()),
    ("@", {""}),
    ("*.status", {""}),
    ("sort_by(Stacks, &Name)", {""}),
    ("(a || b).c", {""}),
])  # fmt: skip
def test_what_an_expression_reads_is_told_by_its_syntax_or_is_everything(expression: str, paths: set[str]) -> None:
    assert {".".join(path) for path in paths_read(expression)} == paths


@pytest.mark.parametrize(("reads", "placed"), [
    (["status"], True),
    (["status == 'RUNNING'", "name"], True),
    (["status", "output"], False),
    (["@"], False),
    (["length(status)"], True),
])  # fmt: skip
def test_a_summary_answers_only_waits_that_read_what_it_has(reads: list[str], placed: bool) -> None:
    params = {"executionArn": "arn:aws:states:us-east-1:123456789012:execution:m:e"}
    found = Forms(MODELS).find("stepfunctions", "DescribeExecution", params, reads)
    assert (found is not None) == placed


def test_a_member_of_the_summary_is_found_below_the_single_answers_own_name() -> None:
    forms = Forms(MODELS)
    stack = {"StackName": "s"}
    assert forms.find("cloudformation", "DescribeStacks", stack, ["Stacks[].StackStatus"]) is not None
    assert forms.find("cloudformation", "DescribeStacks", stack, ["Stacks[].Outputs"]) is None
    assert forms.find("cloudformation", "DescribeStacks", stack, ["length(Stacks)"]) is None
    assert forms.find("emr", "DescribeCluster", {"ClusterId": "j-1"}, ["Status.State"]) is None


def test_every_waiter_of_a_forms_operation_but_for_known_ones_is_merged() -> None:
    """A waiter that its form cannot answer is sent singly: correct, but it should be known which."""
    unmerged = {
        waiter.label for form in FORMS if form.service in WAITERS.services() for waiter in WAITERS.all(form.service)
        if waiter.operation == form.single and waiter not in waiters_of(form)
    }  # fmt: skip
    assert unmerged == set()
