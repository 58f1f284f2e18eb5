"""The small parts of the command line."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from triggerd.aws.waiters import ServiceModels, new_loader
from triggerd.cli.main import main
from triggerd.cli.options import duration
from triggerd.cli.output import for_people, printable, to_json
from triggerd.cli.wait_arguments import example, parse_arguments
from triggerd.redact import redacted

MODELS = ServiceModels(new_loader())


def operation(service: str, name: str) -> Any:
    return MODELS.operation(service, name)


def test_arguments_are_typed_by_the_operations_input() -> None:
    instances = operation("ec2", "DescribeInstances")
    pairs = [
        "InstanceIds=i-1",
        "InstanceIds=i-2",
        "MaxResults=5",
        'Filters=[{"Name": "tag:a", "Values": ["b"]}]',
        "DryRun=false",
    ]
    assert parse_arguments(instances, pairs) == {
        "InstanceIds": ["i-1", "i-2"],
        "MaxResults": 5,
        "Filters": [{"Name": "tag:a", "Values": ["b"]}],
        "DryRun": False,
    }
    assert parse_arguments(operation("s3", "HeadObject"), ["Bucket=b", "Key=a=b"]) == {"Bucket": "b", "Key": "a=b"}


@pytest.mark.parametrize(
    ("pairs", "words"),
    [(["DryRun=perhaps"], "a boolean is expected"), (["Filters=[{"], "takes JSON"), (["Filtres=x"], "'Filters'")],
)
def test_an_argument_that_does_not_fit_is_named(pairs: list[str], words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        parse_arguments(operation("ec2", "DescribeInstances"), pairs)


def test_an_example_shows_the_required_parameters() -> None:
    assert example(operation("glue", "GetJobRun")) == "JobName=... RunId=..."


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), ("10m", 600), ("2d", 172800), ("250ms", 0.25)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-5", "5 minutes", "soon", "1e3", "367d", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7200, "2 h"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert for_people(seconds) == text


def test_values_of_secret_keys_are_left_out_wherever_they_stand() -> None:
    value = {"db": {"Password": "x", "host": "h"}, "list": [{"api_key": "k"}], "secretName": None}
    assert redacted(value) == {"db": {"Password": "***", "host": "h"}, "list": [{"api_key": "***"}], "secretName": None}
    assert redacted(({"token": 1},)) == ({"token": "***"},)
    assert redacted({"url": "postgres://u:pw@h/db"}) == {"url": "postgres://u:***@h/db"}
    plain = {"Key": "data/x.parquet", "return_key": "value", "url": "s3://bucket/a:b@c", "author": "ann"}
    assert redacted(plain) == plain, "what is no secret is what one looks for"


def test_json_takes_whatever_the_wire_takes() -> None:
    value = {
        "at": datetime(2026, 1, 2, tzinfo=UTC), "for": timedelta(minutes=1), "bytes": b"ab\xff", 1: {3},
        "big": Decimal("1.5"), "inf": float("inf"), "tuple": (None, True),
    }  # fmt: skip
    assert json.loads(to_json(value)) == {
        "at": "2026-01-02T00:00:00+00:00", "for": 60.0, "bytes": "ab\\xff", "1": [3], "big": "1.5",
        "inf": "inf", "tuple": [None, True],
    }  # fmt: skip
    assert to_json("Zürich") == '"Zürich"'


def test_nothing_from_outside_reaches_the_terminal_as_a_control_code() -> None:
    hostile = "a\x1b[31m\x9b2J\r\nb\udc80"
    for text in (printable(hostile), to_json({"x": hostile})):
        assert text.isprintable()
    assert json.loads(to_json(hostile)) == hostile


AIRFLOWS = "airflow.providers.amazon.aws.triggers."


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env=env, prog_name="triggerd")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shwo"], "no command 'shwo', did you mean 'show'? (try 'triggerd --help')"),
        (["frobnicate"], "there are run, submit, show, dead, quiet, doctor, wait, waiters"),
        (["--bogus"], "(try 'triggerd --help')"),
        (["show"], "Missing argument 'ID' (try 'triggerd show --help')"),
        (["show", "x", "--config", "missing.toml"], "config file = 'missing.toml'"),
        (["submit", "TimeDeltaTriger"], "did you mean triggerd.triggers.time.TimeDeltaTrigger?"),
        (["submit", "triggerd.triggers.Nothing"], "bundled are triggerd.triggers.aws.AwsWaiterTrigger"),
        (["submit", "triggerd.triggers.time.TimeDeltaTrigger", '{"second": 1}'], "did you mean 'seconds'?"),
        (["submit", f"{AIRFLOWS}athena.AthenaTrigger", '{"query_id": 1}'], "did you mean 'query_execution_id'?"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_2(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("triggerd: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_every_command_has_help_with_an_example() -> None:
    dead = [["dead", *verb] for verb in ([], ["ls"], ["show"], ["replay"], ["drop"])]
    for arguments in ([], ["submit"], ["show"], ["quiet"], ["doctor"], ["wait"], ["waiters"], *dead):
        done = run(*arguments, "--help")
        assert done.exit_code == 0
        assert "    triggerd " in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "unloaded"),
    [(["--help"], {"botocore", "uvloop", "redis", "msgspec"}), (["waiters", "ls", "glue"], {"uvloop", "structlog"})],
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], unloaded: set[str]) -> None:
    code = (
        "import sys\nfrom triggerd.cli.main import main\n"
        f"main({arguments!r}, standalone_mode=False)\nprint(*sys.modules, sep=chr(10))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert unloaded.isdisjoint(done.stdout.splitlines())


def test_without_the_extra_a_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uvloop", "triggerd.cli.run", "triggerd.cli.wait"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "uvloop", None)  # the import system's word for "not there"
    for command in ("run", "wait"):
        done = run(command)
        assert (done.exit_code, done.stdout) == (2, "")
        assert (
            done.stderr
            == f"triggerd: triggerd {command} (uvloop) needs more than the SDK: pip install 'triggerd[daemon]'\n"
        )


def test_an_interrupt_is_exit_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("triggerd.cli.show.open_client", interrupted)
    done = run("show", "x")
    assert (done.exit_code, done.output) == (130, "")
