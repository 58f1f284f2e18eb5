"""What both S3 triggers ask of S3, and how they name places in it."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from triggerd.errors import AwsCallError
from triggerd.trigger import AwsContext

_ABSENT = ("404", "NoSuchKey", "NotFound")
_URL = re.compile(r"s3[an]?://([^/]+)/+(.+)", re.DOTALL | re.IGNORECASE)
_PATH_STYLE = re.compile(r"https://s3[.-][^/]+/([^/]+)/(.+)", re.DOTALL)
_VIRTUAL_HOST = re.compile(r"https://([^/]+)\.s3[.-][^/]+/(.+)", re.DOTALL)
_MAX_KEY_CHARS = 1024  # S3's own limit, in bytes
_NESTED = 20


class Place(NamedTuple):
    """A key, or a pattern of keys, of a bucket."""

    bucket: str
    key: str


def place(bucket: str | None, key: object) -> Place:
    """Of a key beside its bucket's name, or of an ``s3://`` (or S3's ``https://``) URL without one."""
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY_CHARS:
        raise ValueError(f"bucket_key = {key!r:.100}: a key, a pattern or a URL of 1 to {_MAX_KEY_CHARS} characters")
    url = _URL.fullmatch(key) or _PATH_STYLE.fullmatch(key) or _VIRTUAL_HOST.fullmatch(key)
    if bucket is None and url is None:
        raise ValueError(f"bucket_key = {key!r}: without a bucket_name, s3://bucket/key is expected")
    if bucket is not None and _URL.fullmatch(key):
        raise ValueError(f"bucket_key = {key!r}: beside bucket_name = {bucket!r} a key without s3:// is expected")
    return Place(url[1], url[2]) if bucket is None and url is not None else Place(str(bucket), key)


def pays(hook_params: object) -> dict[str, bool]:
    """What of Airflow's `hook_params` counts here: ``{"requester_pays": True}`` or nothing.

    Each time that Airflow serializes its trigger it wraps them once more; all the wrappings are taken off.
    """
    for _ in range(_NESTED):
        if hook_params is None:
            return {}
        if not isinstance(hook_params, Mapping):
            raise TypeError(f"hook_params must be a dict, as {{'requester_pays': True}}, not {hook_params!r:.100}")
        if hook_params.get("requester_pays") is True:
            return {"requester_pays": True}
        hook_params = hook_params.get("hook_params")
    raise ValueError(f"hook_params are nested more than {_NESTED} times")


class S3Reads:
    """The reads of one trigger; all go through the poll engine."""

    def __init__(
        self, aws: AwsContext, connection: str, region: str | None, hook_params: Mapping[str, Any] | None
    ) -> None:
        self._aws, self._connection, self._region = aws, connection, region
        self._extra = {"RequestPayer": "requester"} if hook_params else {}

    async def head(self, where: Place) -> dict[str, Any] | None:
        """HeadObject's answer, without what botocore adds; None where there is no such object."""
        try:
            answer = await self._poll("HeadObject", {"Bucket": where.bucket, "Key": where.key})
        except AwsCallError as error:
            if error.aws_code in _ABSENT:
                return None
            if error.aws_code == "403":
                error.add_note("S3 also says 403 for a key that is not there yet, where s3:ListBucket is not allowed")
            raise
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    async def pages(self, bucket: str, prefix: str) -> AsyncIterator[list[dict[str, Any]]]:
        """The objects whose keys begin with `prefix`, up to 1,000 at a time, as ListObjectsV2 describes them."""
        params = {"Bucket": bucket, "Prefix": prefix}
        while True:
            answer = await self._poll("ListObjectsV2", params)
            yield answer.get("Contents") or []
            if not (answer.get("IsTruncated") and answer.get("NextContinuationToken")):
                return
            params["ContinuationToken"] = answer["NextContinuationToken"]

    async def _poll(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return await self._aws.poll(
            "s3", operation, {**params, **self._extra}, connection=self._connection, region=self._region
        )
