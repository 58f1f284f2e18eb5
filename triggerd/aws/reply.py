"""Reads a plain answer: JSON as the model has it at once, XML where somebody looks, and all else as botocore does."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser

from triggerd.aws.wire import Answer
from triggerd.aws.xml_view import Structures, View, tree

# The request's own id, which differs in every answer. Only where the protocol puts it: a resource may have one, too.
_REQUEST_ID = {
    "ec2": re.compile(rb"<requestId>[^<]*</requestId>", re.ASCII),
    "query": re.compile(rb"<ResponseMetadata>\s*<RequestId>[^<]*</RequestId>", re.ASCII),
}


class Reader:
    """How the answers of one operation are read."""

    def __init__(self, model: Any, metadata: Mapping[str, Any] | None = None) -> None:
        """`metadata` is what botocore says of the call itself, beside the answer: it is the same for each call."""
        self.metadata = metadata or {}
        protocol = model.service_model.resolved_protocol
        self.operation: str = model.name
        self.shape = model.output_shape
        self.parser = create_parser(protocol)
        self.plain = protocol in ("json", "rest-json") and self.shape is not None and _is_plain(self.shape, set())
        self._request_id = _REQUEST_ID.get(protocol)
        self.ending = f"</{model.name}Response>".encode() if self._request_id else b""
        """Of an answer that is what it should be, and no page of a proxy's; empty where the answer's name varies."""
        self._outer = Structures(self.parser).of(self.shape) if self.ending and self.shape is not None else None
        self._in_body = not any("location" in each.serialization for each in _members(self.shape).values())

    def read(self, answer: Answer) -> "Reply | None":
        """None: not a plain 200, botocore has to say what this is. Raises what botocore's parser does."""
        if answer.status != 200 or b"\r\ncontent-encoding:" in answer.head.lower():
            return None
        reply = Reply(self, answer)
        reply.prepare()
        return reply

    def digest(self, body: bytes) -> int | None:
        if not self._in_body:
            return None  # a part of the answer is in its headers
        if self._request_id is not None:
            body = self._request_id.sub(b"", body, count=1)
        return hash(body)

    def parse(self, answer: Answer) -> dict[str, Any]:
        """What botocore gives, as it is or in views. Raises what its parser does."""
        parsed = self._view(answer.body)
        if parsed is None:
            parsed = self.parser.parse(
                {
                    "headers": HeadersDict(answer.headers()),
                    "status_code": answer.status,
                    "body": answer.body,
                    "context": {"operation_name": self.operation},
                },
                self.shape,
            )
        else:
            about = parsed.setdefault("ResponseMetadata", {})
            about["HTTPStatusCode"], about["HTTPHeaders"] = answer.status, answer.headers()
        parsed["ResponseMetadata"].update(self.metadata)
        return parsed

    def _view(self, body: bytes) -> dict[str, Any] | None:
        """Views of XML; None: botocore has to parse it."""
        if self._outer is None or not body.rstrip().endswith(self.ending):
            return None
        root = start = tree(body)
        if root is None:
            return None
        wrapper = self.shape.serialization.get("resultWrapper")
        if wrapper is not None:
            start = self.parser._find_result_wrapped_shape(wrapper, root)  # noqa: SLF001 - as its own parse does
        parsed = dict(View(self._outer, start))
        self.parser._inject_response_metadata(root, parsed)  # noqa: SLF001 - likewise
        return parsed


class Reply:
    """One answer."""

    __slots__ = ("_answer", "_full", "_light", "_reader")

    def __init__(self, reader: Reader, answer: Answer) -> None:
        self._reader, self._answer = reader, answer
        self._light: dict[str, Any] | None = None
        self._full: Mapping[str, Any] | None = None

    @property
    def digest(self) -> int | None:
        """Equal for equal answers to one request. None: not known."""
        return self._reader.digest(self._answer.body)

    def prepare(self) -> None:
        """Read JSON as the model has it. XML is dear and waits until somebody asks; what else there is, is read now."""
        light = None
        if self._reader.plain:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                light = msgspec.json.decode(self._answer.body)
        if isinstance(light, dict):
            light["ResponseMetadata"] = {"HTTPStatusCode": self._answer.status}
            self._light = light
        elif not self._reader.ending or not self._answer.body.rstrip().endswith(self._reader.ending):
            self.full()

    @property
    def response(self) -> Mapping[str, Any]:
        """What acceptors read. Times may be as AWS wrote them."""
        return self.full() if self._light is None else self._light

    def full(self) -> Mapping[str, Any]:
        """What botocore would have given; exactly that once it is copied deeply."""
        if self._full is None:
            self._full = self._reader.parse(self._answer)
        return self._full


def _members(shape: Any) -> dict[str, Any]:
    return {} if shape is None else dict(shape.members)


def _is_plain(shape: Any, seen: set[str]) -> bool:
    """Whether JSON as it came reads like botocore's parse of it, times and bytes aside."""
    if shape.name in seen:
        return True
    seen.add(shape.name)
    if shape.type_name == "list":
        return _is_plain(shape.member, seen)
    if shape.type_name == "map":
        return _is_plain(shape.value, seen)
    if shape.type_name != "structure":
        return not shape.serialization.get("jsonvalue")
    if shape.is_tagged_union or shape.serialization.get("payload") or shape.serialization.get("eventstream"):
        return False
    return all(
        member.serialization.get("name", name) == name
        and "location" not in member.serialization
        and not member.serialization.get("jsonvalue")
        and _is_plain(member, seen)
        for name, member in shape.members.items()
    )
