"""A small scripted AWS on a loopback port: what moto cannot do (throttles, 5xx, dropped connections, scale).

It speaks the json, query, ec2 and rest-json protocols, by botocore's models. Per operation it plays a script of
answers, the last one for ever:

    async with FakeAws("glue") as fake:
        fake.script("GetJobRun", Fault("ThrottlingException"), {"JobRun": {"JobRunState": "SUCCEEDED"}})

`tests.support.fake_aws_process` is one in a process of its own. Two paths are ours and not AWS's, for other processes:
GET `/_fake/counts` and POST `/_fake/weather`.
"""

import asyncio
import itertools
import json
import random
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from xml.sax.saxutils import escape

from aiohttp import web
from botocore.loaders import Loader
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

from triggerd.clock import monotonic_s
from triggerd.settings import AwsSettings, ConnectionSettings, QuotaSettings

NO_QUOTA = {"*": {"rate_per_s": 10_000.0, "burst": 10_000.0}}
"""For tests of something else than budgets."""
_READS = ("Describe", "Get", "List", "Head", "BatchGet", "AssumeRole")


@dataclass(frozen=True)
class Fault:
    """An AWS error response."""

    code: str
    message: str = "as scripted"
    status: int = 400
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other members of the error, where the protocol is JSON."""


@dataclass(frozen=True)
class Drop:
    """The connection is cut without an answer."""


@dataclass(frozen=True)
class Raw:
    """These bytes, whatever they are; with `pause_s` between any two of ten pieces."""

    body: bytes
    pause_s: float = 0.0


Answer = Mapping[str, Any] | Fault | Drop | Raw
Scripted = Answer | Callable[[dict[str, Any]], Answer]


@dataclass(frozen=True)
class Seen:
    """One request."""

    operation: str
    params: dict[str, Any]
    at_s: float
    access_key: str


class FakeAws:
    """Serves the named services. `calls` counts per operation, `seen` keeps each request, `mutating` the writes."""

    def __init__(self, *services: str) -> None:
        loader = Loader()
        self._operations: dict[str, OperationModel] = {}
        for service in services:
            model = ServiceModel(loader.load_service_model(service, "service-2"), service)
            self._operations |= {name: model.operation_model(name) for name in model.operation_names}
        self._scripts: dict[str, list[Scripted]] = {}
        self._runner: web.AppRunner | None = None
        self.calls: Counter[str] = Counter()
        self.seen: list[Seen] = []
        self.keep_reads = True
        """Whether `seen` keeps the reads too; a fake that serves for minutes keeps the writes only."""
        self.weather: tuple[Fault, float] | None = None
        """A fault that befalls this share of the reads: throttling, a 5xx."""
        self.latency_s = 0.0
        self.gate: asyncio.Event | None = None
        self.in_flight = self.most_in_flight = 0
        self.url = ""

    def script(self, operation: str, *answers: Scripted) -> None:
        """Play these answers, one per call; the last one repeats. A callable gets the parameters."""
        self._scripts[operation] = list(answers)

    @property
    def mutating(self) -> int:
        """Calls that would have changed something."""
        return sum(count for name, count in self.calls.items() if not name.startswith(_READS))

    @property
    def mutations(self) -> list[Seen]:
        """The calls that `mutating` counts, in their order."""
        return [seen for seen in self.seen if not seen.operation.startswith(_READS)]

    def settings(self, **changes: Any) -> AwsSettings:
        """Settings whose connection `default` leads here."""
        connection = {"region": "us-east-1", "endpoint_url": self.url, **changes.pop("connection", {})}
        connections = {"default": ConnectionSettings(**connection), **changes.pop("connections", {})}
        quotas = {name: QuotaSettings(**figures) for name, figures in NO_QUOTA.items()}
        return AwsSettings(connections=connections, **{"quotas": quotas, **changes})

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/_fake/counts", self._tell_counts)
        app.router.add_post("/_fake/weather", self._take_weather)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        operation, params = self._parse(request, await request.read())
        credential = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
        self.calls[operation.name] += 1
        if self.keep_reads or not operation.name.startswith(_READS):
            self.seen.append(Seen(operation.name, params, monotonic_s(), credential[1] if credential else ""))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self._answer_to(operation.name, params)
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(self.latency_s)
        finally:
            self.in_flight -= 1
        if isinstance(answer, Drop):
            if request.transport is not None:
                request.transport.close()
            return web.Response()
        if isinstance(answer, Raw):
            return await _raw(request, answer)
        return _fault(operation, answer) if isinstance(answer, Fault) else _answer(operation, answer)

    def _answer_to(self, operation: str, params: dict[str, Any]) -> Answer:
        # Writes are spared: one that fails is sent again, and could not be told from one that was sent twice.
        if self.weather is not None and operation.startswith(_READS) and random.random() < self.weather[1]:
            return self.weather[0]
        script = self._scripts.get(operation, [Fault("NotScripted", operation)])
        scripted = script.pop(0) if len(script) > 1 else script[0]
        return scripted(params) if callable(scripted) else scripted

    async def _tell_counts(self, _: web.Request) -> web.Response:
        mutations = [{"operation": seen.operation, "params": seen.params} for seen in self.mutations]
        return web.json_response({"calls": self.calls, "mutating": self.mutating, "mutations": mutations})

    async def _take_weather(self, request: web.Request) -> web.Response:
        asked = await request.json()
        share = asked.pop("share", 0.0)
        self.weather = (Fault(**asked), share) if share else None
        return web.Response()

    def _parse(self, request: web.Request, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
        target = request.headers.get("X-Amz-Target", "")
        if target:
            return self._named(target.rpartition(".")[2]), json.loads(body or b"{}")
        if request.content_type == "application/x-www-form-urlencoded":
            form = dict(urllib.parse.parse_qsl(body.decode()))
            operation = self._named(form["Action"])
            return operation, {**form, **(_from_form(operation.input_shape, form, "") or {})}
        for operation in self._operations.values():
            pattern = re.sub(r"\{(\w+)\+?\}", r"(?P<\1>[^/]+)", operation.http["requestUri"].split("?")[0])
            match = re.fullmatch(pattern, request.rel_url.raw_path)
            if match and operation.http["method"] == request.method:
                path = {name: urllib.parse.unquote(value) for name, value in match.groupdict().items()}
                sent = {**path, **_query(request), **json.loads(body or b"{}")}
                return operation, _renamed(operation.input_shape, sent, to_wire=False)
        raise web.HTTPNotImplemented(text=f"{request.method} {request.path}")

    def _named(self, name: str) -> OperationModel:
        return self._operations[name]


async def _raw(request: web.Request, answer: Raw) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(answer.body)
    await response.prepare(request)
    size = len(answer.body) // 10 + 1
    for begin in range(0, len(answer.body), size):
        await response.write(answer.body[begin : begin + size])
        await asyncio.sleep(answer.pause_s)
    return response


def _is_xml(operation: OperationModel) -> bool:
    return operation.service_model.metadata["protocol"] in ("query", "ec2", "rest-xml")


def _is_ec2(operation: OperationModel) -> bool:
    return bool(operation.service_model.metadata["protocol"] == "ec2")


def _from_form(shape: Shape, form: Mapping[str, str], prefix: str) -> Any:
    """What a query's or EC2's form says of this shape; None where it says nothing."""
    if prefix and not any(key == prefix or key.startswith(f"{prefix}.") for key in form):
        return None
    if isinstance(shape, StructureShape):
        keys = {name: _form_name(member, name) for name, member in shape.members.items()}
        found = {
            name: _from_form(shape.members[name], form, f"{prefix}.{key}" if prefix else key)
            for name, key in keys.items()
        }
        return {name: value for name, value in found.items() if value is not None}
    if isinstance(shape, ListShape):
        name = shape.member.serialization.get("name", "member")
        base = prefix if f"{prefix}.1" in form or f"{prefix}.1.Name" in form else f"{prefix}.{name}"
        items = (_from_form(shape.member, form, f"{base}.{number}") for number in itertools.count(1))
        return [*itertools.takewhile(lambda item: item is not None, items)]
    return form.get(prefix)


def _form_name(member: Shape, name: str) -> str:
    found = str(member.serialization.get("queryName") or member.serialization.get("name") or name)
    return found[0].upper() + found[1:] if name[0].isupper() else found


def _query(request: web.Request) -> dict[str, Any]:
    return {key: values if len(values := request.query.getall(key)) > 1 else values[0] for key in request.query}


def _renamed(shape: Shape | None, value: Any, *, to_wire: bool) -> Any:
    """The same value under the names that the wire has for members, or back."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        names = {name: member.serialization.get("name", name) for name, member in shape.members.items()}
        wires = names if to_wire else {wire: name for name, wire in names.items()}
        shapes = {**shape.members, **{wire: shape.members[name] for name, wire in names.items()}}
        return {wires.get(key, key): _renamed(shapes.get(key), item, to_wire=to_wire) for key, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_renamed(shape.member, item, to_wire=to_wire) for item in value]
    return value


def _fault(operation: OperationModel, fault: Fault) -> web.Response:
    if _is_ec2(operation):
        error = f"<Error><Code>{fault.code}</Code><Message>{escape(fault.message)}</Message></Error>"
        text, kind = f"<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>", "text/xml"
    elif _is_xml(operation):
        error = f"<Error><Code>{fault.code}</Code><Message>{escape(fault.message)}</Message></Error>"
        text, kind = f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>", "text/xml"
    else:
        text, kind = (
            json.dumps({"__type": fault.code, "message": fault.message, **fault.more}),
            "application/x-amz-json-1.1",
        )
    return web.Response(text=text, status=fault.status, content_type=kind, headers=dict(fault.headers))


def _answer(operation: OperationModel, answer: Mapping[str, Any]) -> web.Response:
    if _is_xml(operation):
        shape = operation.output_shape
        inner = _xml(shape, answer) if shape is not None else ""
        name = operation.name
        inner = inner if _is_ec2(operation) else f"<{name}Result>{inner}</{name}Result>"
        text = f"<{name}Response>{inner}</{name}Response>"
        return web.Response(text=text, content_type="text/xml")
    sent = _renamed(operation.output_shape, answer, to_wire=True)
    return web.Response(text=json.dumps(sent), content_type="application/x-amz-json-1.1")


def _xml(shape: Shape, value: Any) -> str:
    if isinstance(shape, StructureShape):
        parts = []
        for name, item in value.items():
            member = shape.members[name]
            tag = member.serialization.get("name", name)
            parts.append(f"<{tag}>{_xml(member, item)}</{tag}>")
        return "".join(parts)
    if isinstance(shape, ListShape):
        tag = shape.member.serialization.get("name", "member")
        return "".join(f"<{tag}>{_xml(shape.member, item)}</{tag}>" for item in value)
    return escape(str(value).lower() if isinstance(value, bool) else str(value))
