"""The cheap way to send the same kind of request again.

The first request of a shape (client, operation, which parameters are there) is an ordinary botocore call; what it put
on the wire is kept as a `Recipe`, if the recipe makes the very same bytes from the same parameters. Later requests run
botocore's serializer only and are signed here. Every answer but a plain 200 is handed to botocore's own call as if it
had just come in, so errors are botocore's, at no second request. What is not understood stays an ordinary call.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.httpsession import AIOHTTPSession
from botocore import xform_name
from botocore.exceptions import ClientError

from triggerd.aws.recipe import Recipe, UnusualError
from triggerd.aws.reply import Reader, Reply
from triggerd.aws.wire import Answer, Pool, WireSettings

log = logging.getLogger(__name__)

# The signature or the clock was at fault: botocore makes this call anew, and its next success teaches us again.
_SIGNATURE_CODES = frozenset({
    "AuthFailure", "AuthorizationHeaderMalformed", "IncompleteSignature", "IncompleteSignatureException",
    "InvalidSignature", "InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
})  # fmt: skip
_EVENTS = (
    "provide-client-params", "before-parameter-build", "before-endpoint-resolution", "before-call", "request-created",
    "choose-signer", "before-sign", "before-send", "before-parse", "response-received", "needs-retry", "after-call",
)  # fmt: skip
# What botocore registers for everybody. On the way out their work is in the first request, and all they go by is the
# shape; on the way in they look at errors only. Anything else may do anything.
_HARMLESS = frozenset({
    "Prepared._before_send", "ParameterAlias.alias_parameter_in_call", "generate_idempotent_uuid",
    "_handle_request_validation_mode_member", "add_recursion_detection_header",
    "inject_api_version_header_if_needed", "AioRequestSigner.handler",
    "UserAgentString.rebuild_and_replace_user_agent_handler", "add_retry_headers", "set_operation_specific_signer",
    "_set_auth_scheme_preference_signer", "AioRetryHandler.needs_retry", "RetryQuotaChecker.release_retry_quota",
    "_handle_sqs_compatible_error",
})  # fmt: skip
_OF_THE_CALL = ("RetryAttempts", "MaxAttemptsReached")
_PROTOCOLS = frozenset({"query", "ec2", "json", "rest-json", "rest-xml"})

_Shape = tuple[str, frozenset[str]]


class _Passage:
    """One ordinary call on its way through botocore: what to answer in place of the network, and what it sent."""

    __slots__ = ("answer", "request")

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.request: Any = None


_passage: ContextVar[_Passage | None] = ContextVar("triggerd_aws_passage", default=None)


class Prepared:
    """What is known of one client's requests. The client stays its owner's."""

    def __init__(self, client: Any, keepalive_s: float) -> None:
        self._client = client
        self._credentials = client._request_signer._credentials  # noqa: SLF001 - botocore shows them nowhere else
        self._serializer = client._serializer  # noqa: SLF001 - with the client's own options
        self._session = client._endpoint.http_session  # noqa: SLF001 - knows verify, bundle, certificate, proxies
        config = client.meta.config
        self._settings = WireSettings(config.connect_timeout, config.read_timeout, keepalive_s, self._tls)
        self._context: asyncio.Task[tuple[ssl.SSLContext, Any]] | None = None
        self._pools: dict[str, Pool] = {}
        self._recipes: dict[_Shape, Recipe | None] = {}  # None: unusual, never prepared
        client.meta.events.register("before-send", self._before_send)

    def close(self) -> None:
        if self._context is not None:
            self._context.cancel()
        for pool in self._pools.values():
            pool.close()

    async def call(self, operation: str, params: Mapping[str, Any]) -> Reply | Mapping[str, Any]:
        """The answer of AWS. Raises what the client's own method would have raised."""
        shape = operation, frozenset(params)
        if shape not in self._recipes:
            return await self._learn(shape, params)
        recipe = self._recipes[shape]
        if recipe is not None and await self._credentials.get_frozen_credentials() != recipe.credentials:
            return await self._learn(shape, params)  # the endpoint may go by the account, too
        request = None if recipe is None else recipe.request(params)
        if recipe is None or request is None:
            return await self._ordinary(operation, params, _Passage(None))
        answer = await self._pool(recipe.origin).exchange(*request)
        return recipe.reader.read(answer) or await self._judged(shape, params, answer)

    async def _judged(self, shape: _Shape, params: Mapping[str, Any], answer: Answer) -> Mapping[str, Any]:
        """What botocore makes of an unusual answer. A redirect it has to follow itself."""
        redirected = 300 <= answer.status < 400
        try:
            return await self._ordinary(shape[0], params, _Passage(None if redirected else answer))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _SIGNATURE_CODES:
                raise
        self._recipes.pop(shape, None)
        return await self._learn(shape, params)

    async def _learn(self, shape: _Shape, params: Mapping[str, Any]) -> Mapping[str, Any]:
        operation, passage = shape[0], _Passage(None)
        answer = await self._ordinary(operation, params, passage)
        # Only a request that AWS accepted is worth repeating.
        try:
            recipe = await self._recipe(operation, params, passage.request, answer)
        except Exception as error:  # noqa: BLE001 - a botocore that is not the one we know: it goes on as it is
            log.debug("%s with %s is not prepared: %r", operation, sorted(params), error)
            recipe = None
        self._recipes[shape] = recipe
        return answer

    async def _recipe(self, operation: str, params: Mapping[str, Any], request: Any, answer: Any) -> Recipe:
        model = self._client.meta.service_model.operation_model(operation)
        if model.service_model.resolved_protocol not in _PROTOCOLS:
            raise UnusualError(f"protocol {model.service_model.resolved_protocol}")
        if model.has_streaming_input or model.has_streaming_output or model.has_event_stream_output:
            raise UnusualError("it streams")
        if model.operation_context_parameters or any(given.name in params for given in model.context_parameters):
            raise UnusualError("its endpoint depends on a parameter")
        if "{" in (model.endpoint or {}).get("hostPrefix", ""):
            raise UnusualError("its host depends on a parameter")
        for handler in self._handlers(operation):
            if handler not in _HARMLESS:
                raise UnusualError(f"the handler {handler} may change it")
        if type(self._session) is not AIOHTTPSession:
            raise UnusualError("an HTTP client of its own")
        if self._session._proxy_config.proxy_url_for(request.url):  # noqa: SLF001 - settings and environment
            raise UnusualError("a proxy")
        credentials = await self._credentials.get_frozen_credentials()
        metadata = {name: value for name, value in answer["ResponseMetadata"].items() if name in _OF_THE_CALL}
        recipe = Recipe(model, self._serializer, request, credentials, Reader(model, metadata))
        recipe.check(params, request)
        return recipe

    def _handlers(self, operation: str) -> list[str]:
        emitter = self._client.meta.events
        emitter = getattr(emitter, "_emitter", emitter)  # botocore wraps it in one that knows aliases
        service = self._client.meta.service_model.service_id.hyphenize()
        search = emitter._handlers.prefix_search  # noqa: SLF001 - nobody else tells who listens
        found = [each for event in _EVENTS for each in search(f"{event}.{service}.{operation}")]
        return [getattr(each, "__qualname__", type(each).__qualname__) for each in found]

    async def _ordinary(self, operation: str, params: Mapping[str, Any], passage: _Passage) -> Mapping[str, Any]:
        token = _passage.set(passage)
        try:
            answer: Mapping[str, Any] = await getattr(self._client, xform_name(operation))(**params)
            return answer
        finally:
            _passage.reset(token)

    def _before_send(self, request: Any, **_: Any) -> Any:
        """A handler of botocore's: sees each request at the last moment, and may answer it."""
        passage = _passage.get()
        if passage is None:
            return None
        passage.request = request
        answer, passage.answer = passage.answer, None  # given once: should botocore send again, it does
        if answer is None:
            return None
        return AioAWSResponse(request.url, answer.status, answer.headers(), _Body(answer.body))

    def _pool(self, origin: str) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._settings)
        return pool

    async def _tls(self) -> ssl.SSLContext:
        """As botocore's settings say (verify, CA bundle, client certificate), read from disk off the loop, once."""
        made = self._context
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            read = asyncio.to_thread(self._session._build_ssl_contexts, None)  # noqa: SLF001 - see above
            made = self._context = asyncio.create_task(read, name="aws tls context")
        return (await asyncio.shield(made))[0]


class _Body:
    """What aiobotocore reads a body from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body
