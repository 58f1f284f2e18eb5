"""How to make the bytes of a request: what botocore sent once, with other parameters and a new signature."""

import hmac
import random
import re
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from botocore.utils import normalize_url_path, percent_encode_sequence

from triggerd.aws.reply import Reader
from triggerd.clock import wall_ms

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{64}"
)
_NOT_QUOTED = re.compile(r"[A-Za-z0-9_.~-]*")
_CHANGING = frozenset({"x-amz-date", "authorization", "amz-sdk-invocation-id", "content-length"})


class UnusualError(Exception):
    """This kind of request is left to botocore; says why."""


class Recipe:
    """One shape of request, for one set of credentials."""

    def __init__(self, model: Any, serializer: Any, sent: Any, credentials: Any, reader: Reader) -> None:
        """`sent` is botocore's prepared request, signed with these credentials. Raises UnusualError."""
        self.credentials = credentials
        self.reader = reader
        # Without its validation: botocore validated the first request, and each wait's parameters when it began.
        self._model, self._serializer = model, getattr(serializer, "_serializer", serializer)
        headers = {name.lower(): _text(value) for name, value in sent.headers.items()}
        signed = _SIGNED.fullmatch(headers.get("authorization", ""))
        if signed is None:
            raise UnusualError("its authorization is not signature version 4")
        url = urlsplit(sent.url)
        self.origin = f"{url.scheme}://{url.netloc}"
        self._method = sent.method
        if self._method == "HEAD":
            raise UnusualError("its answer has a length and no body")
        self._has_length = "content-length" in headers
        self._scope = f"{signed['region']}/{signed['service']}/aws4_request"
        self._names = signed["names"]
        known = {**headers, "host": _host(url), "x-amz-date": "%s"}
        values = ((name, " ".join(known[name].replace("%", "%%").split())) for name in self._names.split(";"))
        lines = (f"{name}:%s" if name == "x-amz-date" else f"{name}:{value}" for name, value in values)
        self._canonical = "\n".join(lines)
        fixed = [(name, _text(value)) for name, value in sent.headers.items() if name.lower() not in _CHANGING]
        fixed = [("Host", _host(url)), *fixed, ("Accept", "*/*"), ("Accept-Encoding", "identity")]
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in fixed)
        self._serialized: dict[str, Any] | None = None  # the headers that the serializer wrote for what was sent
        self._target = _split("/")
        self._day, self._key = "", b""
        self._second, self._stamp = 0, ""

    def request(self, params: Mapping[str, Any]) -> tuple[bytes, str] | None:
        """The bytes of a signed request, and its URL. None: with these parameters botocore has to make it."""
        second = wall_ms() // 1000
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._make(params, self._stamp, _invocation())

    def check(self, params: Mapping[str, Any], sent: Any) -> None:
        """Compare byte by byte with what botocore sent. Raises UnusualError."""
        headers = {name.lower(): _text(value) for name, value in sent.headers.items()}
        self._serialized = self._serializer.serialize_to_request(params, self._model)["headers"]
        made = self._make(params, headers["x-amz-date"], headers["amz-sdk-invocation-id"])
        body = sent.body or b""
        length = int(headers["content-length"]) if self._has_length else 0
        url = urlsplit(sent.url)
        target = url.path + (f"?{url.query}" if url.query else "")
        whole = self._write(target, headers["x-amz-date"], headers["authorization"], headers["amz-sdk-invocation-id"])
        expected = self._finish(whole, body.encode() if isinstance(body, str) else body)
        if made != (expected, sent.url) or (self._has_length and length != len(body)):
            raise UnusualError("what it would send is not what botocore sends")

    def _make(self, params: Mapping[str, Any], stamp: str, invocation: str) -> tuple[bytes, str] | None:
        parts = self._serializer.serialize_to_request(params, self._model)
        if parts["headers"] != self._serialized:
            return None  # a parameter that travels in a header
        body = parts["body"]
        if isinstance(body, dict):
            body = _form(body)
        if isinstance(body, str):
            body = body.encode()
        target = parts["url_path"] or "/"
        if parts["query_string"]:
            target += ("&" if "?" in target else "?") + percent_encode_sequence(parts["query_string"])
        if target != self._target[0]:
            self._target = _split(target)
        _, path, query = self._target
        canonical = (
            f"{self._method}\n{path}\n{query}\n{self._canonical % stamp}\n\n{self._names}\n{sha256(body).hexdigest()}"
        )
        authorization = self._authorization(canonical, stamp)
        return self._finish(self._write(target, stamp, authorization, invocation), body), self.origin + target

    def _authorization(self, canonical: str, stamp: str) -> str:
        day = stamp[:8]
        if day != self._day:
            key = f"AWS4{self.credentials.secret_key}".encode()
            for part in (day, *self._scope.split("/")):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        scope = f"{day}/{self._scope}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return (
            f"AWS4-HMAC-SHA256 Credential={self.credentials.access_key}/{scope}, "
            f"SignedHeaders={self._names}, Signature={signature}"
        )

    def _write(self, target: str, stamp: str, authorization: str, invocation: str) -> str:
        return (
            f"{self._method} {target} HTTP/1.1\r\n{self._fixed}X-Amz-Date: {stamp}\r\n"
            f"Authorization: {authorization}\r\namz-sdk-invocation-id: {invocation}\r\n"
        )

    def _finish(self, head: str, body: bytes) -> bytes:
        length = f"Content-Length: {len(body)}\r\n\r\n" if self._has_length else "\r\n"
        return (head + length).encode() + body


def _invocation() -> str:
    """An id of one call, for AWS's logs: a random UUID, without the system call of uuid4()."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _form(fields: Mapping[str, Any]) -> str:
    """The body of a form. urlencode(), which looks at each letter, takes as long as all else of such a request."""
    if all(type(value) is str for value in fields.values()):
        return "&".join([f"{_quoted(name)}={_quoted(value)}" for name, value in fields.items()])
    return urlencode(fields, doseq=True)


def _quoted(text: str) -> str:
    return text if _NOT_QUOTED.fullmatch(text) else quote_plus(text)


def _split(target: str) -> tuple[str, str, str]:
    """The target of the request line, and its canonical path and query as signature version 4 has them."""
    path, _, query = target.partition("?")
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&")) if query else []
    canonical = "&".join(f"{name}={value}" for name, value in pairs)
    return target, quote(normalize_url_path(path), safe="/~"), canonical


def _host(url: Any) -> str:
    """As botocore signs it and aiohttp sends it: without the port where that goes without saying."""
    default = {"http": 80, "https": 443}[url.scheme]
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return host if url.port in (None, default) else f"{host}:{url.port}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
