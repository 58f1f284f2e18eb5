"""Every mistake in a waiter is answered with its place, its value, and the way out: here is each, word for word."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from triggerd.aws.checks import check_file
from triggerd.aws.waiters import ServiceModels, Waiters
from triggerd.daemon.doctor_waiters import check_waiters
from triggerd.daemon.startup import look_at_waiters
from triggerd.errors import ConfigError, WaiterDefinitionError
from triggerd.settings import AwsSettings, Settings

MODELS = ServiceModels(Loader())
GONE = ...
"""Stands for a key that is not there."""

DONE = {"state": "success", "matcher": "path", "argument": "JobRun.JobRunState == 'SUCCEEDED'", "expected": True}


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**base, **changes}.items() if value is not GONE}


def waiter(**changes: Any) -> dict[str, Any]:
    return changed({"operation": "GetJobRun", "delay": 5, "maxAttempts": 3, "acceptors": [DONE]}, changes)


def write(folder: Path, document: object, service: str = "glue") -> Path:
    path = folder / f"{service}.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def said(folder: Path, raw: Any, service: str = "glue") -> list[str]:
    """What the check says of one waiter."""
    path = write(folder, {"version": 2, "waiters": {"mine": raw}}, service)
    return [str(problem).removeprefix("mine: ") for problem in check_file(path, MODELS)]


# --- files ------------------------------------------------------------------------------------------------------

TOP = 'the top must be {"version": 2, "waiters": {...}}'
WAITER = '{"operation": "GetImportTask", "delay": 1, "maxAttempts": 1}'


@pytest.mark.parametrize(("text", "why"), [
    ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ("[" * 100_000, "not JSON: maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
    ("[]", TOP),
    ("{}", TOP),
    ('{"version": 1, "waiters": {}}', TOP),
    ('{"version": "2", "waiters": {}}', TOP),
    ('{"version": 2}', "key 'waiters' must be an object, one waiter per name"),
    ('{"version": 2, "waiters": []}', "key 'waiters' must be an object, one waiter per name"),
    ('{"version": 2, "waiters": {"a": {}, "a": {}}}', "not JSON: key 'a' is there twice"),
])  # fmt: skip
def test_a_file_that_is_no_waiter_file(tmp_path: Path, text: str, why: str) -> None:
    path = write(tmp_path, text)
    assert [(found.severity, str(found)) for found in check_file(path, MODELS)] == [("unreadable", why)]
    with pytest.raises(WaiterDefinitionError) as error:
        Waiters((str(tmp_path),), MODELS).find("glue", "mine")
    assert str(error.value) == f"{path}: {why}"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "glue.json").write_bytes(b'{"version": 2, "waiters": {"\xff": 1}}')
    [found] = check_file(tmp_path / "glue.json", MODELS)
    assert str(found) == "not JSON: 'utf-8' codec can't decode byte 0xff in position 28: invalid start byte"


def test_a_file_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "glue.json").mkdir()
    [found] = check_file(tmp_path / "glue.json", MODELS)
    assert str(found) == "Is a directory"


@pytest.mark.parametrize(("service", "why"), [
    ("gleu", "did you mean 'glue' or 'glacier'?"),
    ("step_functions", "did you mean 'stepfunctions' or 'codeconnections' or 'codestar-connections'?"),
    ("neptune_analytics", "did you mean 'neptune-graph', which has its operations?"),
])  # fmt: skip
def test_a_file_that_is_named_after_no_service(tmp_path: Path, service: str, why: str) -> None:
    path = write(tmp_path, f'{{"version": 2, "waiters": {{"mine": {WAITER}}}}}', service)
    first = check_file(path, MODELS)[0]
    assert (first.severity, str(first)) == ("unusable", f"botocore has no service {service!r}, {why}")


# --- waiters that cannot be used --------------------------------------------------------------------------------

STATE = "must be one of success, failure, retry"
MATCHER = "must be one of path, pathAll, pathAny, error, status"
DELAY, ATTEMPTS = "must be a number of seconds above 0", "must be a whole number, at least 1"
STATUS, CODE = "matcher status needs an HTTP status, a number as 404", "matcher error needs an AWS error code, or true"
NO_PATH = "is no JMESPath: "
UNEXPECTED = 'Unexpected token: b: Parse error at column 2, token "b" (UNQUOTED_IDENTIFIER)'
TEMPLATE = "a template is {{ NAME }} and nothing more: no filter, no statement, no calculation"
QUOTES = "{{ NAME }} must stand in quotes: '{{ NAME }}' is a text, \"{{ NAME }}\" a field"


@pytest.mark.parametrize(("raw", "message"), [
    (7, "waiter = 7: must be an object with operation, delay, maxAttempts and acceptors"),
    (waiter(operation=GONE), "operation: glue has none"),
    (waiter(operation=["GetJobRun"]), "operation = ['GetJobRun']: glue has none"),
    (waiter(operation="GetJobRunn"), "operation = 'GetJobRunn': glue has none"),
    (waiter(delay=GONE), f"delay: {DELAY}"),
    (waiter(delay=0), f"delay = 0: {DELAY}"),
    (waiter(delay="5"), f"delay = '5': {DELAY}"),
    (waiter(delay=True), f"delay = True: {DELAY}"),
    (waiter(delay=float("nan")), f"delay = nan: {DELAY}"),
    (waiter(delay=float("inf")), f"delay = inf: {DELAY}"),
    (waiter(maxAttempts=GONE), f"maxAttempts: {ATTEMPTS}"),
    (waiter(maxAttempts=0), f"maxAttempts = 0: {ATTEMPTS}"),
    (waiter(maxAttempts=1.5), f"maxAttempts = 1.5: {ATTEMPTS}"),
    (waiter(acceptors=[]), "acceptors = []: must be a list with at least one acceptor"),
    (waiter(acceptors={"a": 1}), "acceptors = {'a': 1}: must be a list with at least one acceptor"),
    (waiter(acceptors=[DONE, "x"]), "acceptors[1] = 'x': must be an object with state, matcher and expected"),
])  # fmt: skip
def test_a_waiter_that_can_never_be_used(tmp_path: Path, raw: Any, message: str) -> None:
    _unusable(tmp_path, raw, message)


@pytest.mark.parametrize(("change", "message"), [
    ({"state": GONE}, f"state: {STATE}"),
    ({"state": "succes"}, f"state = 'succes': {STATE}, did you mean 'success'?"),
    ({"state": "error"}, f"state = 'error': {STATE}"),
    ({"state": {"a": 1}}, f"state = {{'a': 1}}: {STATE}"),
    ({"matcher": GONE}, f"matcher: {MATCHER}"),
    ({"matcher": "pathall"}, f"matcher = 'pathall': {MATCHER}, did you mean 'pathAll'?"),
    ({"argument": GONE}, "argument: matcher path needs a JMESPath expression here"),
    ({"argument": ""}, "argument = '': matcher path needs a JMESPath expression here"),
    ({"argument": 5, "matcher": "pathAny"}, "argument = 5: matcher pathAny needs a JMESPath expression here"),
    ({"argument": "JobRun["}, f"argument = 'JobRun[': {NO_PATH}Incomplete expression"),
    ({"argument": "a == 'b"}, f"""argument = "a == 'b": {NO_PATH}Unclosed ' delimiter"""),
    ({"argument": "a b"}, f"argument = 'a b': {NO_PATH}{UNEXPECTED}"),
    ({"argument": "!" * 2000 + "a"}, f"argument = '{'!' * 199}...: {NO_PATH}it is nested too deeply"),
    ({"argument": "a == '{{ B | upper }}'"}, f"argument = \"a == '{{{{ B | upper }}}}'\": {TEMPLATE}"),
    ({"argument": "a == '{% if b %}'"}, f"argument = \"a == '{{% if b %}}'\": {TEMPLATE}"),
    ({"argument": "a == {{ B }}"}, f"argument = 'a == {{{{ B }}}}': {QUOTES}"),
    ({"argument": "a == `{{ B }}`"}, f"argument = 'a == `{{{{ B }}}}`': {QUOTES}"),
    ({"expected": GONE}, "expected: is missing: say which value matches"),
    ({"matcher": "status", "expected": "404"}, f"expected = '404': {STATUS}"),
    ({"matcher": "status", "expected": True}, f"expected = True: {STATUS}"),
    ({"matcher": "status", "expected": 4040}, f"expected = 4040: {STATUS}"),
    ({"matcher": "error", "expected": 404}, f"expected = 404: {CODE} for any error"),
    ({"matcher": "error", "expected": None}, f"expected: {CODE} for any error"),
])  # fmt: skip
def test_an_acceptor_that_can_never_be_used(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _unusable(tmp_path, waiter(acceptors=[DONE, changed(DONE, change)]), f"acceptors[1].{message}")


def _unusable(tmp_path: Path, raw: Any, message: str) -> None:
    """The check names it, loading it fails with the same words, and the others of the file still load."""
    path = write(tmp_path, {"version": 2, "waiters": {"mine": raw, "fine": waiter()}})
    [problem] = [found for found in check_file(path, MODELS) if found.severity == "unusable"]
    words = str(problem).removeprefix("mine: ").partition(", did you mean 'GetJobRun")[0]
    assert words == message
    waiters = Waiters((str(tmp_path),), MODELS)
    with pytest.raises(WaiterDefinitionError) as error:
        waiters.find("glue", "mine")
    assert str(error.value).startswith(f"{path}: waiter mine: {message}")
    assert waiters.find("glue", "fine").source == "user"


def test_a_misspelt_operation_is_answered_with_those_that_are_meant(tmp_path: Path) -> None:
    [problem] = said(tmp_path, waiter(operation="GetJobRunn"))
    assert problem == ("operation = 'GetJobRunn': glue has none, did you mean 'GetJobRun' or 'GetJobRuns' or 'GetJob'?")


def test_all_that_makes_a_waiter_unusable_is_said_at_once(tmp_path: Path) -> None:
    problems = said(tmp_path, waiter(delay=0, maxAttempts=0, acceptors=[changed(DONE, {"state": "x"}), "y"]))
    assert [problem.partition(" = ")[0] for problem in problems] == [
        "delay", "maxAttempts", "acceptors[0].state", "acceptors[1]",
    ]  # fmt: skip


# --- what is doubtful -------------------------------------------------------------------------------------------


def path_rule(argument: str, expected: Any, **more: Any) -> dict[str, Any]:
    return {"state": "retry", "matcher": "path", "argument": argument, "expected": expected, **more}


def error_rule(expected: Any) -> dict[str, Any]:
    return {"state": "failure", "matcher": "error", "expected": expected}


STRUCTURE = "finds a structure, which never equals this"


@pytest.mark.parametrize(("raw", "message"), [
    (waiter(max_attempts=3), "max_attempts = 3: unknown key, did you mean 'maxAttempts'?"),
    (waiter(description=["a"]), "description = ['a']: must be a text"),
    (waiter(acceptors=GONE), "acceptors: there are none: only a wait that brings its own can use this waiter"),
    (waiter(acceptors=[changed(DONE, {"state": "retry"})]),
     "acceptors: none has the state success: such a wait can only fail"),
])  # fmt: skip
def test_a_doubtful_waiter(tmp_path: Path, raw: Any, message: str) -> None:
    assert said(tmp_path, raw) == [message]


@pytest.mark.parametrize(("rule", "message"), [
    (path_rule("JobRun.Id", "x", expectd=1), ".expectd = 1: unknown key, did you mean 'expected'?"),
    (path_rule("JobRun.JobRunStat", "x"),
     ".argument = 'JobRun.JobRunStat': JobRun has no member 'JobRunStat', did you mean 'JobRunState'?"),
    (path_rule("jobrun.JobRunState", "x"),
     ".argument = 'jobrun.JobRunState': GetJobRunResponse has no member 'jobrun', did you mean 'JobRun'?"),
    (path_rule("JobRun.Id.Name", "x"), ".argument = 'JobRun.Id.Name': 'Name' is asked of a string"),
    (path_rule("JobRun.PredecessorRuns.JobName", "x"),
     ".argument = 'JobRun.PredecessorRuns.JobName': 'JobName' is asked of a list: write [] before it"),
    (path_rule("JobRun.JobRunState == 'DONE'", True),
     ".argument = \"JobRun.JobRunState == 'DONE'\": it never is 'DONE'"),
    (path_rule("size(JobRun.PredecessorRuns) == `0`", True),
     ".argument = 'size(JobRun.PredecessorRuns) == `0`': JMESPath has no function size()"),
    (path_rule("contains(JobRun.Id)", True),
     ".argument = 'contains(JobRun.Id)': contains() takes 2, not 1"),
    (path_rule("JobRun.PredecessorRuns[].JobName", "x"),
     ".matcher = 'path': JobRun.PredecessorRuns[].JobName finds a list: use pathAll or pathAny"),
    (path_rule("JobRun.Id", "x", matcher="pathAll"), ".matcher = 'pathAll': JobRun.Id finds one value: use path"),
    (path_rule("JobRun.Id == 'x'", "true"),
     """.expected = 'true': JobRun.Id == 'x' finds true or false, which never equals this"""),
    (path_rule("JobRun.Attempt", "0"), ".expected = '0': JobRun.Attempt finds a number, which never equals this"),
    (path_rule("JobRun.Id", 7), ".expected = 7: JobRun.Id finds a text, which never equals this"),
    (path_rule("length(JobRun.PredecessorRuns)", True),
     ".expected = True: length(JobRun.PredecessorRuns) finds a number, which never equals this"),
    (path_rule("JobRun", "SUCCEEDED"), f".expected = 'SUCCEEDED': JobRun {STRUCTURE}"),
    (path_rule("JobRun.PredecessorRuns[]", "x", matcher="pathAny"),
     f".expected = 'x': JobRun.PredecessorRuns[] {STRUCTURE}"),
    (error_rule("EntityNotFoundExeption"),
     ".expected = 'EntityNotFoundExeption': GetJobRun has no such error, did you mean 'EntityNotFoundException'?"),
    (changed(DONE, {"state": "failure"}), ": is never reached: acceptors[0] matches first"),
])  # fmt: skip
def test_a_doubtful_acceptor(tmp_path: Path, rule: dict[str, Any], message: str) -> None:
    problems = said(tmp_path, waiter(acceptors=[DONE, rule]))
    assert [problem.partition("; known are ")[0] for problem in problems] == [f"acceptors[1]{message}"]


def test_a_text_in_double_quotes_is_a_field_that_is_not_there(tmp_path: Path) -> None:
    [problem] = said(tmp_path, waiter(acceptors=[DONE, path_rule('JobRun.JobRunState == "FAILED"', True)]))
    assert problem.endswith("A text stands in single quotes, a number in backquotes")


def test_an_error_acceptor_behind_one_for_any_error_is_never_reached(tmp_path: Path) -> None:
    rules = [DONE, error_rule(True), error_rule("EntityNotFoundException")]
    assert said(tmp_path, waiter(acceptors=rules)) == [
        "acceptors[2]: is never reached: acceptors[1] matches first"
    ]  # fmt: skip


def test_all_of_a_list_behind_any_of_it_is_never_reached(tmp_path: Path) -> None:
    names = "JobRun.PredecessorRuns[].JobName"
    rules = [DONE, path_rule(names, "x", matcher="pathAny"), path_rule(names, "x", matcher="pathAll")]
    assert said(tmp_path, waiter(acceptors=rules)) == ["acceptors[2]: is never reached: acceptors[1] matches first"]
    assert said(tmp_path, waiter(acceptors=[DONE, rules[2], rules[1]])) == []


def test_a_value_that_is_never_there_and_the_values_that_nobody_expects(tmp_path: Path) -> None:
    rules = [path_rule("JobRun.JobRunState", "SUCCEDED", state="success")]
    never, missing = said(tmp_path, waiter(acceptors=rules))
    assert never == (
        "acceptors[0].expected = 'SUCCEDED': JobRun.JobRunState never has this value, did you mean 'SUCCEEDED'?"
    )
    assert missing == (
        "acceptors: no acceptor expects 'ERROR', 'EXPIRED', 'FAILED', 'RUNNING', 'STARTING', 'STOPPED', 'STOPPING', "
        "'SUCCEEDED', 'TIMEOUT', 'WAITING' of JobRun.JobRunState: say whether each is success, failure or retry"
    )


def test_the_values_of_a_plain_string_are_those_of_states_json_by_whichever_index(tmp_path: Path) -> None:
    rule = path_rule("Clusters[0].ClusterStatus", "deletin", state="success")
    [first, second] = said(tmp_path, waiter(operation="DescribeClusters", acceptors=[rule]), "redshift")
    assert first == (
        "acceptors[0].expected = 'deletin': Clusters[0].ClusterStatus is not known to have this value, "
        "did you mean 'deleting' or 'creating' or 'rebooting'?"
    )
    assert "no acceptor expects 'available', " in second


@pytest.mark.parametrize("rule", [
    {"state": "success", "matcher": "error", "argument": "Error.Code", "expected": "EntityNotFoundException"},
    path_rule("JobRun.CompletedOn", None, state="success"),
    path_rule("not_null(JobRun.Id, JobRun.JobName)", "x", state="success"),
    path_rule("JobRun.Arguments.anything", "x", state="success"),
    path_rule("JobRun.PredecessorRuns[?JobName=='{{ NAME }}'].RunId | [0]", "x", state="success"),
    path_rule("sort_by(JobRun.PredecessorRuns, &JobName)[0].RunId", "x", state="success"),
    path_rule("JobRun.JobRunState", ["SUCCEEDED"], state="success"),
])  # fmt: skip
def test_what_may_be_right_is_not_complained_of(tmp_path: Path, rule: dict[str, Any]) -> None:
    assert said(tmp_path, waiter(acceptors=[rule])) == []


# --- what a trigger brings along --------------------------------------------------------------------------------

BRINGS = "waiter glue job_complete: the trigger's "
MANY = [path_rule(f"JobRun.Arguments.a{number}", "x") for number in range(11)]


@pytest.mark.parametrize(("acceptors", "message"), [
    ([], "acceptors = []: must be a list with at least one acceptor"),
    ("x", "acceptors = 'x': must be a list with at least one acceptor"),
    ({"state": "success"}, "acceptors = {'state': 'success'}: must be a list with at least one acceptor"),
    ([DONE, None], "acceptors[1]: must be an object with state, matcher and expected"),
    ([changed(DONE, {"state": "done"})], f"acceptors[0].state = 'done': {STATE}"),
    ([changed(DONE, {"argument": "a["})], f"acceptors[0].argument = 'a[': {NO_PATH}Incomplete expression"),
    ([changed(DONE, {"argument": "a" * 501})], f"acceptors[0].argument = '{'a' * 199}...: at most 500 characters"),
    ([changed(DONE, {"argument": "[@,@][]|[@,@][]|[@,@][]"})],
     "acceptors[0].argument = '[@,@][]|[@,@][]|[@,@][]': at most 2 functions or lists that it makes"),
    ([changed(DONE, {"expected": ["x"]})],
     "acceptors[0].expected = ['x']: must be a text, a number, true, false or null"),
    ([changed(DONE, {"expected": "x" * 501})], f"acceptors[0].expected = '{'x' * 199}...: at most 500 characters"),
    ([changed(DONE, {"expected": float("nan")})], "acceptors[0].expected = nan: must be finite"),
])  # fmt: skip
def test_acceptors_of_a_trigger(acceptors: Any, message: str) -> None:
    with pytest.raises(WaiterDefinitionError) as error:
        Waiters((), MODELS).get("glue", "job_complete", acceptors)
    assert str(error.value) == BRINGS + message


@pytest.mark.parametrize(("acceptors", "most"), [([DONE] * 101, "100 of them"), (MANY, "10 different arguments")])
def test_more_acceptors_than_a_trigger_may_bring(acceptors: Any, most: str) -> None:
    with pytest.raises(WaiterDefinitionError, match=f"the trigger's acceptors = .*: at most {most}"):
        Waiters((), MODELS).get("glue", "job_complete", acceptors)


TEMPLATED = [path_rule("JobRun.PredecessorRuns[?JobName=='{{ NAME }}'].RunId | [0]", "x", state="success")]


@pytest.mark.parametrize(("parameters", "message"), [
    ({}, "parameters: NAME missing"),
    ({"NAM": "x"}, "parameters = 'NAM': the waiter has none of this name, did you mean 'NAME'?"),
    ({"NAME": "x", 7: "y"}, "parameters = 7: the waiter has none of this name; known are NAME"),
    (["NAME"], "parameters = ['NAME']: must be an object, a value for each name"),
    ({"NAME": ""}, "parameters: NAME = '': must be a text of 1 to 500 characters, or a whole number"),
    ({"NAME": None}, "parameters: NAME = None: must be a text of 1 to 500 characters, or a whole number"),
    ({"NAME": True}, "parameters: NAME = True: must be a text of 1 to 500 characters, or a whole number"),
    ({"NAME": "x' || 'x"}, """parameters: NAME = "x' || 'x": "'" must not be in it, it stands in quotes there"""),
    ({"NAME": "x\\"}, r"parameters: NAME = 'x\\': '\\' must not be in it, it stands in quotes there"),
])  # fmt: skip
def test_parameters_of_a_wait(parameters: Any, message: str) -> None:
    with pytest.raises(WaiterDefinitionError) as error:
        Waiters((), MODELS).get("glue", "job_complete", TEMPLATED, parameters)
    assert str(error.value) == f"waiter glue job_complete: {message}"


def test_parameters_for_a_waiter_that_takes_none() -> None:
    with pytest.raises(WaiterDefinitionError) as error:
        Waiters((), MODELS).get("glue", "job_complete", None, {"NAME": "x"})
    assert str(error.value) == "waiter glue job_complete: parameters = 'NAME': the waiter takes none"


def test_a_waiter_that_lacks_what_the_wait_must_bring(tmp_path: Path) -> None:
    mine = {"bare": waiter(acceptors=GONE), "templated": waiter(acceptors=TEMPLATED)}
    write(tmp_path, {"version": 2, "waiters": mine})
    waiters = Waiters((str(tmp_path),), MODELS)
    for name, message in {
        "bare": "it has no acceptors of its own, the wait must bring them",
        "templated": "parameters: NAME missing",
    }.items():
        assert waiters.find("glue", name).operation == "GetJobRun"
        with pytest.raises(WaiterDefinitionError) as error:
            waiters.get("glue", name)
        assert str(error.value) == f"waiter glue {name}: {message}"


# --- the daemon's start -----------------------------------------------------------------------------------------


def test_the_start_warns_of_what_serves_still_and_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"version": 2, "waiters": {"broken": waiter(delay=0), "odd": waiter(max_attempts=1, operations=2)}})
    found = list(check_waiters([str(tmp_path)]))
    assert [(finding.level, finding.found) for finding in found] == [
        ("warn", f"{tmp_path}/glue.json: broken: delay = 0: {DELAY}"),
        ("warn", f"{tmp_path}/glue.json: odd: max_attempts = 1: unknown key, did you mean 'maxAttempts'? (and 1 more)"),
    ]
    assert {finding.advice for finding in found} == {f"`triggerd waiters check {tmp_path}/glue.json`"}
    (tmp_path / "ecs.json").write_text("{")
    assert [finding.level for finding in check_waiters([str(tmp_path)])] == ["refuse", "warn", "warn"]


async def test_a_daemon_does_not_start_without_a_folder_or_with_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    def settings(folder: Path) -> Settings:
        return Settings(aws=AwsSettings(waiter_folders=(str(folder),)))

    with pytest.raises(ConfigError, match=r"aws\.waiter_folders: .*/none is not a folder: make it"):
        await look_at_waiters(settings(tmp_path / "none"))
    await look_at_waiters(settings(tmp_path))
    path = write(tmp_path, "{")
    with pytest.raises(ConfigError, match=f"{path}: not JSON"):
        await look_at_waiters(settings(tmp_path))
