"""Promises of the transport on the wire: what a prepared poll sends, and what it makes of answers, held to botocore."""

import asyncio
import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.loaders import Loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.recording_server import CUT, SILENCE, Server, http
from tests.support.waiting import eventually
from triggerd.aws.connections import SharedClient
from triggerd.aws.identity import Identity
from triggerd.aws.prepared import Prepared
from triggerd.aws.reply import Reply
from triggerd.aws.transport import Outcome, Transport
from triggerd.aws.wire import Pool, WireSettings
from triggerd.settings import AwsSettings, ConnectionSettings

LOADER = Loader()
RUN: dict[str, Any] = {"JobName": "j", "RunId": "r"}
JOB = b'{"JobRun":{"Id":"r","JobRunState":"RUNNING","StartedOn":1.6e9,"Attempt":0}}'
CLUSTERS = (
    b"<DescribeClustersResponse><DescribeClustersResult><Clusters><Cluster><ClusterStatus>available</ClusterStatus>"
    b"<ClusterCreateTime>2020-01-01T00:00:00Z</ClusterCreateTime></Cluster></Clusters></DescribeClustersResult>"
    b"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DescribeClustersResponse>"
)
VPCS = (
    b"<DescribeVpcsResponse><requestId>1</requestId><vpcSet><item><state>available</state></item></vpcSet>"
    b"</DescribeVpcsResponse>"
)
EKS = b'{"cluster":{"name":"c","status":"ACTIVE","createdAt":1.6e9}}'
RUNS = b'{"jobRuns":[{"id":"1","state":"RUNNING"}]}'
DISTRIBUTION = b"<Distribution><Id>d</Id><Status>Deployed</Status></Distribution>"
QUEUE = b'{"Attributes":{"ApproximateNumberOfMessages":"3"}}'
CASES: dict[str, tuple[str, str, Any, bytes]] = {
    "json-1.1": ("glue", "GetJobRun", RUN, JOB),
    "json-1.0": ("sqs", "GetQueueAttributes", {"QueueUrl": "https://q/ü"}, QUEUE),
    "query": ("redshift", "DescribeClusters", {"ClusterIdentifier": "c ü&="}, CLUSTERS),
    "ec2": ("ec2", "DescribeVpcs", {"Filters": [{"Name": "vpc-id", "Values": ["a", "b c"]}]}, VPCS),
    "rest-json path": ("eks", "DescribeCluster", {"name": "a b/ü"}, EKS),
    "rest-json query": ("emr-serverless", "ListJobRuns", {"applicationId": "a", "states": ["RUNNING", "FAILED"]}, RUNS),
    "rest-xml": ("cloudfront", "GetDistribution", {"Id": "d+e"}, DISTRIBUTION),
}


@pytest.fixture
async def aws() -> AsyncIterator[Server]:
    async with Server().serve() as aws:
        yield aws


@asynccontextmanager
async def client_of(
    aws: Server, service: str = "glue", *, credentials: Any = None, verify: Any = None, **config: Any
) -> AsyncIterator[SharedClient]:
    session = AioSession()
    session.register_component("data_loader", LOADER)
    keys = {} if credentials else {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
    session._credentials = credentials
    config = {"retries": {"total_max_attempts": 1, "mode": "standard"}, "read_timeout": 5, **config}
    made = session.create_client(
        service, region_name="us-east-1", endpoint_url=aws.url, verify=verify, config=AioConfig(**config), **keys
    )
    async with made as client:
        prepared = Prepared(client, keepalive_s=18.0)
        yield SharedClient(service, client, Identity.of(ConnectionSettings()), "us-east-1", None, prepared)
        prepared.close()


PREPARED, BOTOCORE = Transport(AwsSettings()), Transport(AwsSettings(transport="botocore"))


async def prepared_call(shared: SharedClient, operation: str = "GetJobRun", params: Any = RUN) -> Outcome:
    """An answer that came the cheap way: the first call is botocore's."""
    return await PREPARED.send(shared, operation, params)


async def learned(aws: Server, shared: SharedClient, answer: bytes = JOB) -> None:
    aws.answers = [http(answer)]
    assert (await prepared_call(shared)).result == "ok"
    assert isinstance((await prepared_call(shared)).answer, Reply)
    aws.requests.clear()


def parts(request: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Request line, headers without the two that differ for each request, body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {name.decode().lower(): value.strip().decode() for name, _, value in (x.partition(b":") for x in lines)}
    assert len(headers) == len(lines)
    assert re.fullmatch(r"[0-9a-f-]{36}", headers.pop("amz-sdk-invocation-id"))
    return first, headers, body


def stand_still(at: dt.datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at)


def when(request: bytes) -> dt.datetime:
    return dt.datetime.strptime(parts(request)[1]["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)


@pytest.mark.parametrize("case", CASES)
async def test_the_wire_and_the_answer_are_botocores(case: str, aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    service, operation, params, body = CASES[case]
    aws.answers = [http(body, Connection="keep-alive")]
    async with client_of(aws, service) as shared:
        await prepared_call(shared, operation, params)
        outcome = await prepared_call(shared, operation, params)
        assert isinstance(outcome.answer, Reply)
        with monkeypatch.context() as patched:
            stand_still(when(aws.requests[1]), patched)
            stock = await BOTOCORE.send(shared, operation, params)
        assert parts(aws.requests[1]) == parts(aws.requests[2])
        assert outcome.full() == stock.full()
        assert set(outcome.response) == set(stock.response)


async def refreshing(*keys: str) -> AioRefreshableCredentials:
    """Credentials that are out of date each time they are looked at, until the last key."""
    left = list(keys)

    async def refresh() -> Mapping[str, str]:
        key = left.pop(0) if len(left) > 1 else left[0]
        far = dt.datetime.now(dt.UTC) + dt.timedelta(hours=6 if len(left) == 1 else 0)
        return {"access_key": key, "secret_key": f"s{key}", "token": f"t/{key}=", "expiry_time": far.isoformat()}

    first = await refresh()
    return AioRefreshableCredentials(
        first["access_key"], first["secret_key"], first["token"],
        dt.datetime.now(dt.UTC) + dt.timedelta(hours=6), refresh, "test",
    )  # fmt: skip


async def test_new_keys_are_used_from_the_next_poll_on(aws: Server) -> None:
    aws.answers = [http(JOB)]
    credentials = await refreshing("A", "B")
    async with client_of(aws, credentials=credentials) as shared:
        for _ in range(2):
            await prepared_call(shared)
        credentials._expiry_time = dt.datetime.now(dt.UTC)
        await prepared_call(shared)
        await prepared_call(shared)
        outcome = await prepared_call(shared)
    used = [(parts(x)[1]["authorization"][27:30], parts(x)[1]["x-amz-security-token"]) for x in aws.requests]
    assert used == [("=A/", "t/A=")] * 2 + [("=B/", "t/B=")] * 3
    assert isinstance(outcome.answer, Reply)


ERRORS = [
    (http(b'{"__type":"a#EntityNotFoundException","Message":"no"}', "400 Bad Request"), "aws_error"),
    (http(b'{"__type":"ThrottlingException","message":"Rate exceeded"}', "400 Bad Request"), "throttled"),
    (http(b"busy", "429 Too Many", Retry_After="7"), "throttled"),
    (http(b"<html>no</html>", "503 Service Unavailable", x_amz_retry_after="1500"), "unavailable"),
    (http(b"", "500 Internal Server Error"), "unavailable"),
    (http(b"", "307 Moved", Location="http://127.0.0.1:1/"), "unavailable"),
    (http(b"{}", "202 Accepted"), "ok"),
    (http(b"\x1f\x8bnot what was asked for", Content_Encoding="gzip"), None),
    (http(b"not json"), None),
    (http(b""), "ok"),
    (http(b"0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked"), "ok"),
    (http(b"5\r\n{\"Job\r\na\r\nRun\":{}}  \r\n0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked"), "ok"),
    (http(JOB, Connection="close"), "ok"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "result"), ERRORS, ids=range(len(ERRORS)))
async def test_an_odd_answer_is_what_botocore_makes_of_it_at_one_request(
    answer: bytes, result: str | None, aws: Server
) -> None:
    async with client_of(aws) as shared:
        await learned(aws, shared)
        aws.answers = [answer]
        outcome = await prepared_call(shared)
        ours = len(aws.requests)
        stock = await BOTOCORE.send(shared, "GetJobRun", RUN)
    assert (outcome.result, outcome.why, outcome.retry_after_s) == (stock.result, stock.why, stock.retry_after_s)
    assert outcome.full() == stock.full()
    assert result in (None, outcome.result)
    assert ours == (2 if b" 307 " in answer else 1)  # a redirect is botocore's to follow


LENGTH_AND_CHUNKS = http(b"0\r\n\r\n", Transfer_Encoding="chunked")


@pytest.mark.parametrize("answer", [CUT, http(JOB)[:-5], b"nonsense\r\n\r\n", LENGTH_AND_CHUNKS])
async def test_a_broken_connection_is_no_answer(answer: bytes, aws: Server) -> None:
    async with client_of(aws) as shared:
        await learned(aws, shared)
        aws.answers = [answer]
        pending = asyncio.create_task(prepared_call(shared))
        if answer == http(JOB)[:-5]:
            await eventually(lambda: aws.requests)
            await asyncio.sleep(0)
            aws.hang_up()
        outcome = await pending
        assert (outcome.result, outcome.why[:21]) == ("unavailable", "ConnectionClosedError")
        aws.answers = [http(JOB)]
        assert (await prepared_call(shared)).result == "ok"


async def test_a_connection_that_was_closed_while_it_was_idle_costs_nobody_a_poll(aws: Server) -> None:
    async with client_of(aws) as shared:
        await learned(aws, shared)
        aws.answers = [CUT, http(JOB)]
        assert (await prepared_call(shared)).result == "ok"
        assert len(aws.requests) == 2
        aws.hang_up()
        assert (await prepared_call(shared)).result == "ok"


async def test_polls_after_each_other_share_a_connection(aws: Server) -> None:
    async with client_of(aws) as shared:
        await learned(aws, shared)
        known = len(aws.writers)
        for _ in range(5):
            await prepared_call(shared)
        assert len(aws.writers) == known
        await asyncio.gather(*(prepared_call(shared) for _ in range(5)))
        assert len(aws.writers) - known <= 4


async def test_a_silent_server_is_waited_for_no_longer_than_told(aws: Server) -> None:
    async with client_of(aws, read_timeout=0.2) as shared:
        await learned(aws, shared)
        aws.answers = [SILENCE]
        outcome = await prepared_call(shared)
    assert (outcome.result, outcome.why[:16]) == ("unavailable", "ReadTimeoutError")


async def test_a_cancelled_poll_leaves_no_answer_behind_for_the_next_one(aws: Server) -> None:
    async with client_of(aws) as shared:
        await learned(aws, shared)
        aws.answers = [SILENCE, http(JOB)]
        pending = asyncio.create_task(prepared_call(shared))
        await eventually(lambda: aws.requests)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
        assert (await prepared_call(shared)).response["JobRun"]["JobRunState"] == "RUNNING"


async def test_an_endpoint_that_is_gone_is_unavailable() -> None:
    async with AsyncExitStack() as stack:
        aws = await stack.enter_async_context(Server().serve())
        async with client_of(aws) as shared:
            await learned(aws, shared)
            await stack.aclose()
            await eventually(lambda: not aws.writers)
            outcome = await prepared_call(shared)
            stock = await BOTOCORE.send(shared, "GetJobRun", RUN)
    assert (outcome.result, outcome.why) == (stock.result, stock.why)
    assert outcome.why.startswith("EndpointConnectionError")


SKEWED = http(b'{"__type":"InvalidSignatureException","message":"Signature expired"}', "403 Forbidden")


async def test_a_signature_that_aws_refuses_is_made_anew_by_botocore(aws: Server) -> None:
    async with client_of(aws) as shared:
        await learned(aws, shared)
        aws.answers = [SKEWED, http(JOB)]
        assert (await prepared_call(shared)).result == "ok"
        assert len(aws.requests) == 2
        aws.answers = [SKEWED]
        outcome = await prepared_call(shared)
        stock = await BOTOCORE.send(shared, "GetJobRun", RUN)
        assert (outcome.result, outcome.why, outcome.full()) == (stock.result, stock.why, stock.full())
        aws.requests.clear()
        await prepared_call(shared)
        assert len(aws.requests) == 1  # while the clock is wrong, every call is botocore's: no more requests for it


async def test_what_botocore_does_otherwise_is_left_to_it(aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cheap(service: str, operation: str, params: Any, hook: str = "", **config: Any) -> bool:
        async with client_of(aws, service, **config) as shared:
            if hook:
                shared.client.meta.events.register(hook, lambda **_: None)
            first = await prepared_call(shared, operation, params)
            again = await prepared_call(shared, operation, params)
            assert (first.result, again.result) == ("ok", "ok"), first.why
            return isinstance(again.answer, Reply)

    aws.answers = [http(JOB)]
    assert await cheap("glue", "GetJobRun", RUN)
    assert not await cheap("glue", "GetJobRun", RUN, hook="before-sign.glue.GetJobRun")
    assert not await cheap("glue", "GetJobRun", RUN, hook="after-call")
    assert not await cheap(
        "kinesis", "DescribeStream", {"StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s"}
    )
    assert not await cheap("glue", "GetJobRun", RUN, proxies={"http": aws.url})
    aws.answers = [http(b"<ListAllMyBucketsResult/>")]
    assert not await cheap("s3", "ListBuckets", {})
    aws.answers = [http(JOB)]
    assert not await cheap("glue", "GetJobRun", RUN, signature_version=UNSIGNED)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", aws.url)
    assert not await cheap("glue", "GetJobRun", RUN)


def certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A server's TLS context for 127.0.0.1, and the bundle that trusts it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle, private = folder / "ca.pem", folder / "key.pem"
    bundle.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, private)
    return context, str(bundle)


async def test_tls_is_checked_as_the_connection_says(tmp_path: Path) -> None:
    context, bundle = certificate(tmp_path)
    async with Server().serve(context) as aws:
        async with client_of(aws, verify=bundle) as shared:
            await learned(aws, shared)
            assert shared.prepared is not None
            recipes = shared.prepared._recipes
        async with client_of(aws, verify=False) as shared:
            await learned(aws, shared)
        async with client_of(aws) as shared:
            assert shared.prepared is not None
            shared.prepared._recipes.update(recipes)  # what it learned elsewhere; its own first call would be refused
            outcome = await prepared_call(shared)
            stock = await BOTOCORE.send(shared, "GetJobRun", RUN)
            assert (outcome.result, outcome.why[:8]) == (stock.result, stock.why[:8]) == ("unavailable", "SSLError")
            assert not aws.requests


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("glue", "GetJobs", {}), ("glue", "GetJobRun", RUN), ("redshift", "DescribeClusters", {}),
        ("ec2", "DescribeVpcs", {}), ("eks", "ListClusters", {}), ("eks", "DescribeCluster", {"name": "none"}),
        ("cloudfront", "ListDistributions", {}), ("batch", "DescribeJobs", {"jobs": ["x"]}),
    ],
)  # fmt: skip
async def test_moto_is_answered_alike(service: str, operation: str, params: dict[str, Any], moto_url: str) -> None:
    aws = Server()
    aws.url = moto_url
    async with client_of(aws, service) as shared:
        await prepared_call(shared, operation, params)
        outcome, stock = await prepared_call(shared, operation, params), await BOTOCORE.send(shared, operation, params)
    assert (outcome.result, outcome.why) == (stock.result, stock.why)
    assert _without_metadata(outcome.full()) == _without_metadata(stock.full())


def _without_metadata(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


async def test_idle_connections_are_closed_after_their_time_though_nobody_asks_for_one(aws: Server) -> None:
    async def no_tls() -> ssl.SSLContext:
        raise AssertionError("this is plain HTTP")

    aws.answers = [http(JOB)]
    pool = Pool(aws.url, WireSettings(5.0, 5.0, 0.2, no_tls))
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    await asyncio.gather(*(pool.exchange(request, aws.url) for _ in range(3)))
    kept = [*aws.writers]
    assert len(kept) == 3
    await eventually(lambda: all(writer.is_closing() for writer in kept))
    assert (await pool.exchange(request, aws.url)).status == 200
    pool.close()
