"""The small parts of the command line."""

from typing import Any

import click
import pytest

from triggerd.aws.waiters import ServiceModels, new_loader
from triggerd.cli.options import Duration, for_people
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
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


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
