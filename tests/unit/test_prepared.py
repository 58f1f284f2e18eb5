"""Promises of the prepared poll without a socket: the bytes it writes, the answers it takes, what it reads in them."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aiobotocore.session import AioSession
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerd.aws.recipe import Recipe, UnusualError
from triggerd.aws.reply import Reader
from triggerd.aws.wire import Answer, NotHttpError, read_answer

LOADER = Loader()
ODD = "a b/ü+%~*'&=?#:é.."
REQUESTS = [
    ("glue", "GetJobRun", {"JobName": "j", "RunId": "r"}, {"JobName": ODD, "RunId": '"\\\n'}),
    ("sqs", "GetQueueAttributes", {"QueueUrl": "https://q/1"}, {"QueueUrl": ODD}),
    ("redshift", "DescribeClusters", {"ClusterIdentifier": "c"}, {"ClusterIdentifier": ODD}),
    (
        "ec2", "DescribeInstances", {"Filters": [{"Name": "instance-id", "Values": ["i-1"]}]},
        {"Filters": [{"Name": ODD, "Values": [ODD, "i-2"]}, {"Name": "x", "Values": []}]},
    ),
    ("batch", "DescribeJobs", {"jobs": ["a"]}, {"jobs": [ODD, "b"]}),
    ("eks", "DescribeCluster", {"name": "c"}, {"name": ODD}),
    (
        "emr-serverless", "ListJobRuns", {"applicationId": "a", "states": ["RUNNING"], "maxResults": 5},
        {"applicationId": ODD, "states": ["FAILED", "SUCCESS"], "maxResults": 50},
    ),
    ("cloudfront", "GetDistribution", {"Id": "d"}, {"Id": ODD}),
    ("cloudfront", "ListInvalidations", {"DistributionId": "d", "Marker": "m"}, {"DistributionId": "e", "Marker": ODD}),
]  # fmt: skip


class _SentError(Exception):
    """Carries what botocore was about to send."""


async def _send(client: Any, operation: str, params: Mapping[str, Any]) -> Any:
    sent = []

    def stop(request: Any, **_: Any) -> None:
        sent.append(request)
        raise _SentError

    client.meta.events.register_first("before-send", stop)
    with pytest.raises(_SentError):
        await client._make_api_call(operation, params)
    client.meta.events.unregister("before-send", stop)
    return sent[0]


def _client(session: AioSession, service: str, token: str | None = None, **more: Any) -> Any:
    session.register_component("data_loader", LOADER)
    return session.create_client(
        service, region_name="us-east-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="wJalrXUtn/bPx",
        aws_session_token=token, **more,
    )  # fmt: skip


async def _recipe(client: Any, operation: str, params: Mapping[str, Any]) -> tuple[Recipe, Any]:
    sent = await _send(client, operation, params)
    model = client.meta.service_model.operation_model(operation)
    credentials = await client._request_signer._credentials.get_frozen_credentials()
    return Recipe(model, client._serializer, sent, credentials, Reader(model)), sent


@pytest.mark.parametrize(("service", "operation", "first", "other"), REQUESTS)
@pytest.mark.parametrize("token", [None, "a/token=="])
async def test_it_writes_what_botocore_sends_whatever_the_parameters_and_the_day(
    service: str,
    operation: str,
    first: dict[str, Any],
    other: dict[str, Any],
    token: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _client(AioSession(), service, token) as client:
        recipe, sent = await _recipe(client, operation, first)
        recipe.check(first, sent)
        for day in (1, 2):
            at = dt.datetime(2031, 1, day, 23, 59, 59, tzinfo=dt.UTC)
            monkeypatch.setattr("botocore.auth.get_current_datetime", lambda at=at: at)
            recipe.check(other, await _send(client, operation, other))


async def test_a_request_that_it_would_write_otherwise_is_noticed() -> None:
    async with _client(AioSession(), "glue") as client:
        recipe, sent = await _recipe(client, "GetJobRun", {"JobName": "j", "RunId": "r"})
        sent.headers["Authorization"] = sent.headers["Authorization"][:-1] + b"x"
        with pytest.raises(UnusualError):
            recipe.check({"JobName": "j", "RunId": "r"}, sent)


async def test_a_head_request_whose_answer_has_a_length_and_no_body_is_left_to_botocore() -> None:
    async with _client(AioSession(), "mediastore-data", endpoint_url="http://127.0.0.1:9") as client:
        with pytest.raises(UnusualError, match="no body"):
            await _recipe(client, "DescribeObject", {"Path": "p"})


async def test_a_parameter_that_travels_in_a_header_is_left_to_botocore() -> None:
    async with _client(AioSession(), "cloudfront") as client:
        first = {"Id": "d", "IfMatch": "e1", "DistributionConfig": {}}
        model = client.meta.service_model.operation_model("DeleteDistribution")
        sent = await _send(client, "DeleteDistribution", {"Id": "d", "IfMatch": "e1"})
        credentials = await client._request_signer._credentials.get_frozen_credentials()
        recipe = Recipe(model, client._serializer, sent, credentials, Reader(model))
        del first["DistributionConfig"]
        recipe.check(first, sent)
        assert recipe.request(first) is not None
        assert recipe.request({"Id": "d", "IfMatch": "e2"}) is None


@pytest.mark.parametrize("endpoint", ["http://[::1]:4566", "http://127.0.0.1:80", "https://vpce-1.glue.aws:443"])
async def test_the_host_is_signed_as_botocore_signs_it(endpoint: str) -> None:
    async with _client(AioSession(), "glue", endpoint_url=endpoint) as client:
        recipe, sent = await _recipe(client, "GetJobRun", {"JobName": "j", "RunId": "r"})
        recipe.check({"JobName": "j", "RunId": "r"}, sent)


# --- HTTP ---------------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nX-Amzn-RequestId: 7\r\n"
WHOLE = [
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"content-length:5\r\n\r\nhello",
]


def _whole(received: bytes, *, ended: bool = False) -> tuple[Answer, bool]:
    read = read_answer(received, ended=ended)
    assert not isinstance(read, int)
    return read


@pytest.mark.parametrize("whole", WHOLE)
def test_an_answer_is_taken_when_it_is_whole_and_not_before(whole: bytes) -> None:
    for size in range(len(whole)):
        for ended in (False, True):
            needed = read_answer(whole[:size], ended=ended)
            assert isinstance(needed, int)
            assert needed <= len(whole)
    answer, reusable = _whole(whole)
    assert (answer.status, answer.body, reusable) == (200, b"hello", True)
    assert answer.headers()["x-amzn-requestid"] == "7"


@pytest.mark.parametrize(
    ("received", "body", "reusable"),
    [
        (HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
        (HEAD + b"Content-Length: 1\r\n\r\naHTTP/1.1", b"a", False),
        (HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\na", b"a", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", b"a", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ],
)
def test_a_connection_is_kept_only_where_the_server_keeps_it(received: bytes, body: bytes, *, reusable: bool) -> None:
    answer, kept = _whole(received)
    assert (answer.body, kept) == (body, reusable)


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert read_answer(HEAD + b"\r\nabc", ended=False) == 0
    answer, kept = _whole(HEAD + b"\r\nabc", ended=True)
    assert (answer.body, kept) == (b"abc", False)


@pytest.mark.parametrize(
    "received",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"x" * 70_000,
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", HEAD + b"Content-Length: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(received: bytes) -> None:
    with pytest.raises((NotHttpError, ValueError)):
        read_answer(received, ended=False)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_reader_fail_otherwise(received: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 ", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"):
        try:
            read_answer(prefix + received, ended=True)
        except (NotHttpError, ValueError):
            continue


# --- answers ------------------------------------------------------------------------------------------------------


def _operation(service: str, name: str) -> OperationModel:
    return ServiceModel(LOADER.load_service_model(service, "service-2"), service).operation_model(name)


def _sample(shape: Shape, depth: int = 0) -> Any:
    """An answer of this shape as it comes over the wire, with nulls and names that the model does not know."""
    if shape.type_name == "structure":
        known = {name: _sample(member, depth + 1) for name, member in shape.members.items() if depth < 6}
        return {**known, "NotInTheModel": None}
    if shape.type_name == "list":
        return [_sample(shape.member, depth + 1)] if depth < 6 else []
    if shape.type_name == "map":
        return {"k": _sample(shape.value, depth + 1)} if depth < 6 else {}
    samples = {"string": "s ü", "character": "c", "boolean": False, "timestamp": 1.6e9, "blob": "YQ=="}
    return samples.get(shape.type_name, 3 if shape.type_name in ("integer", "long") else 1.5)


def _same(full: Any, light: Any, shape: Shape) -> bool:
    if shape.type_name == "structure":
        return all(
            _same(full.get(name), light.get(name), member) if light.get(name) is not None else name not in full
            for name, member in shape.members.items()
        )
    if shape.type_name == "list":
        return len(full) == len(light) and all(_same(*pair, shape.member) for pair in zip(full, light, strict=True))
    if shape.type_name == "map":
        return full.keys() == light.keys() and all(_same(full[key], light[key], shape.value) for key in light)
    return shape.type_name in ("timestamp", "blob") or (full == light and type(full) is type(light))


@pytest.mark.parametrize("service", ["glue", "ecs", "athena", "batch", "eks", "emr", "stepfunctions", "redshift-data"])
def test_json_is_read_as_botocore_reads_it(service: str) -> None:
    model = ServiceModel(LOADER.load_service_model(service, "service-2"), service)
    plain = 0
    for name in model.operation_names:
        operation = model.operation_model(name)
        reader = Reader(operation)
        if not name.startswith(("Describe", "Get", "List", "Batch")) or not reader.plain:
            continue
        plain += 1
        answer = Answer(200, HEAD.rstrip(), msgspec.json.encode(_sample(operation.output_shape)))
        reply = reader.read(answer)
        assert reply is not None
        assert _same(reply.full(), reply.response, operation.output_shape), name
    assert plain > 5


def test_names_that_differ_on_the_wire_are_botocores_business() -> None:
    assert not Reader(_operation("kafka", "DescribeCluster")).plain  # clusterInfo is ClusterInfo


EC2 = b"<DescribeVpcsResponse><requestId>%s</requestId><vpcSet>%s</vpcSet></DescribeVpcsResponse>"
QUERY = (
    b"<DescribeClustersResponse><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>"
    b"<DescribeClustersResult><Marker>%s</Marker></DescribeClustersResult></DescribeClustersResponse>"
)


@pytest.mark.parametrize(
    ("service", "operation", "body"),
    [("ec2", "DescribeVpcs", EC2), ("redshift", "DescribeClusters", QUERY)],
)
def test_the_digest_changes_with_the_answer_and_not_with_the_requests_id(
    service: str, operation: str, body: bytes
) -> None:
    reader = Reader(_operation(service, operation))
    pairs = ((b"1", b"a"), (b"2", b"a"), (b"1", b"b"))
    one, again, other = (reader.read(Answer(200, HEAD.rstrip(), body % pair)) for pair in pairs)
    assert one is not None
    assert again is not None
    assert other is not None
    assert one.digest == again.digest != other.digest


@pytest.mark.parametrize(("service", "operation"), [("glue", "GetJobRun"), ("redshift", "DescribeClusters")])
@pytest.mark.parametrize("body", [b"", b"[]", b"<html>busy</html>", b"\xff", b"{"])
def test_a_broken_body_is_what_botocore_makes_of_it(service: str, operation: str, body: bytes) -> None:
    model = _operation(service, operation)
    reader, answer = Reader(model), Answer(200, HEAD.rstrip(), body)
    try:
        expected = reader.parser.parse({"headers": {}, "status_code": 200, "body": body, "context": {}}, reader.shape)
    except Exception as error:  # noqa: BLE001 - whatever it is
        with pytest.raises(type(error)):
            reader.read(answer)
    else:
        reply = reader.read(answer)
        assert reply is not None
        expected.pop("ResponseMetadata")
        assert {key: value for key, value in reply.response.items() if key != "ResponseMetadata"} == expected
