"""Promises of the views of XML answers: whatever AWS sends, what is found in them is what botocore's parser finds."""

import copy
from collections.abc import Iterator
from random import Random
from typing import Any
from xml.sax.saxutils import escape

import jmespath
import pytest
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.parsers import ResponseParserError
from jmespath.exceptions import JMESPathError

from triggerd.aws.forms import read_forms
from triggerd.aws.reply import Reader
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters, new_loader
from triggerd.aws.wire import Answer
from triggerd.aws.xml_view import View, tree

MODELS = ServiceModels(new_loader())
NAMESPACES = ("", ' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"', " xmlns:x='http://x/'", ' xmlns="a" xmlns:x="b"')
ANSWERS = 12  # of each operation


def _polled() -> Iterator[tuple[str, str]]:
    """What waiters and merged calls ask of services that answer in XML."""
    of_waiters = [(waiter.service, waiter.operation) for waiter in Waiters((), MODELS).all()]
    of_forms = [(form.service, form.merged) for form in read_forms()]
    for service, operation in sorted({*of_waiters, *of_forms}):
        if MODELS.get(service).resolved_protocol in ("query", "ec2"):
            yield service, operation


POLLED = [*_polled()]


class Xml:
    """Writes answers of a model: members there, empty, missing, twice, in an order of their own, strangers between."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def answer(self, operation: OperationModel) -> bytes:
        name, shape = operation.name, operation.output_shape
        inner = self._inside(shape, 0)
        if "resultWrapper" in shape.serialization:
            wrapper = shape.serialization["resultWrapper"]
            inner = f"<{wrapper}>{inner}</{wrapper}><ResponseMetadata>\n<RequestId>r</RequestId></ResponseMetadata>"
        else:
            inner = f"<requestId>r</requestId>{inner}"
        first = self._random.choice(("", '<?xml version="1.0" encoding="UTF-8"?>\n\n'))
        return f"{first}<{name}Response{self._random.choice(NAMESPACES)}>{inner}</{name}Response>\n".encode()

    def _inside(self, shape: Shape, depth: int) -> str:
        if isinstance(shape, StructureShape):
            parts = [self._member(name, member, depth) for name, member in shape.members.items()]
            parts += ["<stranger a='b'>1<inner/></stranger>", "<!-- c -->", "\n  "]
            self._random.shuffle(parts)
            return "".join(parts)
        if isinstance(shape, ListShape):
            return "".join(self._element("member", shape.member, depth) for _ in range(self._random.randrange(4)))
        if isinstance(shape, MapShape):
            value = f"<value>{self._inside(shape.value, depth + 1)}</value>"
            return f"<entry><key>k</key>{value}</entry>" * self._random.randrange(2)
        return escape(self._scalar(shape.type_name))

    def _member(self, name: str, shape: Shape, depth: int) -> str:
        if depth > 4 or self._random.random() < 0.2:
            return ""
        tag, times = shape.serialization.get("name", name), 1
        if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
            shape, tag, times = shape.member, shape.member.serialization.get("name", tag), self._random.randrange(3)
        elif isinstance(shape, StructureShape | ListShape) and self._random.random() < 0.05:
            times = 2
        return "".join(self._element(tag, shape, depth) for _ in range(times))

    def _element(self, tag: str, shape: Shape, depth: int) -> str:
        tag = shape.serialization.get("name", tag)
        inside = self._inside(shape, depth + 1)
        return f"<{tag}>{inside}</{tag}>" if inside else f"<{tag}/>"

    def _scalar(self, kind: str) -> str:
        choices = {
            "boolean": ("true", "false"),
            "integer": ("0", "-7"),
            "long": ("12345678901",),
            "float": ("1.5",),
            "double": ("0",),
            "timestamp": ("2026-01-02T03:04:05.678Z", "1600000000"),
            "blob": ("YQ==", ""),
        }
        return self._random.choice(choices.get(kind, ("available", "", "ü <&> ", "12")))


def _read(operation: OperationModel, body: bytes) -> tuple[Any, Any]:
    """What we find, and what botocore does."""
    reader = Reader(operation)
    answer = Answer(200, b"HTTP/1.1 200 OK\r\nX-Amzn-RequestId: 7", body)
    reply = reader.read(answer)
    assert reply is not None
    headers = {"x-amzn-requestid": "7"}
    expected = reader.parser.parse({"headers": headers, "status_code": 200, "body": body, "context": {}}, reader.shape)
    return reply, expected


def _found(expression: str, response: Any) -> Any:
    try:
        return jmespath.search(expression, response)
    except JMESPathError as error:
        return str(error)


def _plain(value: Any) -> bool:
    """Whether nothing but dictionaries and lists holds the values."""
    if isinstance(value, View):
        return False
    if isinstance(value, dict):
        return type(value) is dict and all(map(_plain, value.values()))
    return not isinstance(value, list) or all(map(_plain, value))


def _expressions(service: str, operation: str) -> set[str]:
    waiters: list[WaiterDefinition] = [*Waiters((), MODELS).all(service)]
    return {read for waiter in waiters if waiter.operation == operation for read in waiter.acceptors.reads}


@pytest.mark.parametrize(("service", "operation"), POLLED)
def test_a_view_shows_what_botocore_reads(service: str, operation: str) -> None:
    model = MODELS.get(service).operation_model(operation)
    expressions = _expressions(service, operation)
    for seed in range(ANSWERS):
        reply, expected = _read(model, Xml(seed).answer(model))
        for expression in expressions:
            assert _found(expression, reply.response) == _found(expression, expected), expression
        whole = copy.deepcopy(reply.full())
        assert _plain(whole)
        assert repr(whole) == repr(expected)  # the types, and the order, too


def test_services_that_answer_in_xml_are_among_them() -> None:
    assert {"ec2", "redshift", "rds", "cloudformation", "elb"} <= {service for service, _ in POLLED}


INSTANCES = "<DescribeInstancesResponse><reservationSet>{}</reservationSet></DescribeInstancesResponse>"
HELD = "<item><instancesSet><item><instanceId>i</instanceId>{}</item></instancesSet></item>"


def _instances(inside: str = "") -> tuple[Any, Any]:
    body = INSTANCES.format(HELD.format(inside) * 2).encode()
    return _read(MODELS.get("ec2").operation_model("DescribeInstances"), body)


@pytest.mark.parametrize(
    "expression",
    [
        "length(Reservations[0])", "keys(Reservations[0].Instances[0])",
        "Reservations[0].Instances[0].*", "Reservations[*].{a: Instances[0].InstanceId, b: Nothing}",
        "Reservations[?Instances[0].InstanceId == 'i'] | length(@)", "Reservations[?Nothing]",
        "Reservations[].Instances",
        "Reservations[0] == Reservations[1]", "Reservations[0].Instances[0].InstanceId.Nothing",
        "not_null(Reservations[0].Instances[0].State, Reservations[0])", "Reservations[0] && `1`",
    ],
)  # fmt: skip
def test_jmespath_takes_a_view_for_a_dictionary(expression: str) -> None:
    reply, expected = _instances("<instanceState><code>16</code><name>running</name></instanceState>")
    assert jmespath.search(expression, reply.response) == jmespath.search(expression, expected)


def test_what_botocore_would_not_read_is_text_and_ends_no_wait() -> None:
    body = INSTANCES.format(HELD.format("<amiLaunchIndex>many</amiLaunchIndex><launchTime>now</launchTime>")).encode()
    reply = Reader(MODELS.get("ec2").operation_model("DescribeInstances")).read(Answer(200, b"", body))
    assert reply is not None
    [instance] = copy.deepcopy(reply.full())["Reservations"][0]["Instances"]
    assert instance == {"InstanceId": "i", "AmiLaunchIndex": "many", "LaunchTime": "now"}


def test_several_namespaces_are_left_to_botocore_and_no_xml_is_its_error() -> None:
    assert tree(b'<a xmlns="x"><b xmlns="y"/></a>') is None
    assert tree(b'<x:a xmlns:x="x"/>') is None
    root = tree(b"<?xml version='1.0'?>\n<a xmlns='x' c='d'><b/></a>")
    assert root is not None
    assert [child.tag for child in root.iter()] == ["a", "b"]
    with pytest.raises(ResponseParserError):
        tree(b"<a><b></a>")
