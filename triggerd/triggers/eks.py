"""The triggers of EKS clusters that no plain waiter describes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError, WaiterExhaustedError, WaitError
from triggerd.trigger import BaseTrigger, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import attempts, changed, flag, name, number, text
from triggerd.triggers.aws import AwsWaiterTrigger, failure_details, success_details
from triggerd.triggers.client_calls import send
from triggerd.triggers.kept import Kept
from triggerd.triggers.paced import paced
from triggerd.triggers.together import together
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_GONE, _IN_USE = "ResourceNotFoundException", "ResourceInUseException"


class EksCreateClusterTrigger(AwsWaiterTrigger):
    """Waits until a cluster is active.

    Fires ``{"status": "success"}`` or ``{"status": "failed"}``; the reason is in the log and in the event's details.

    Args:
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time; None: the waiter's own.
    """

    def __init__(
        self,
        cluster_name: str,
        *,
        delay: float = 30,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        arguments = {"name": text("cluster_name", cluster_name)}
        super().__init__(
            "eks", "cluster_active", arguments,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.cluster_name = cluster_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.eks.EksCreateClusterTrigger", changed(self)

    def _success(self, response: WaitResponse) -> TriggerEvent:
        return TriggerEvent({"status": "success"}, success_details(response))

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        self.context.log.warning("the EKS cluster is not active", cluster=self.cluster_name, error=str(error))
        return TriggerEvent({"status": "failed"}, failure_details(error))


class _Kind(NamedTuple):
    """How a kind of thing is looked at, deleted and waited for."""

    member: str
    describe: str
    delete: str
    waiter: str


_CLUSTER = _Kind("cluster", "DescribeCluster", "delete_cluster", "cluster_deleted")
_NODEGROUP = _Kind("nodegroup", "DescribeNodegroup", "delete_nodegroup", "nodegroup_deleted")
_PROFILE = _Kind("fargateProfile", "DescribeFargateProfile", "delete_fargate_profile", "fargate_profile_deleted")

Names = Mapping[str, str]


class EksDeleteClusterTrigger(BaseTrigger):
    """Deletes a cluster, with `force_delete_compute` its node groups and Fargate profiles before it, and waits.

    It is the one bundled trigger that changes AWS by running. Each step looks first how AWS stands, and what is gone
    or going already is no error: a run that moves to another daemon in the middle, or a second one, goes on from
    there; a new cluster of the same name, made meanwhile, it leaves alone. What is in use (still being created, or
    another deletion goes first) is asked again, `max_attempts` times.

    Fires ``{"status": "deleted"}``. Fails with AWS's error, or where a step does not end within its budget. A cancel
    ends the waiting; what AWS has begun to delete it goes on deleting.

    Args:
        force_delete_compute: Node groups are deleted all at the same time, Fargate profiles one after the other, as
            AWS has it. Without it a cluster that has some is in use, and stays.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time of each step.
    """

    def __init__(
        self,
        cluster_name: str,
        *,
        force_delete_compute: bool = False,
        delay: float = 30,
        max_attempts: int = 40,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        self.cluster_name = text("cluster_name", cluster_name)
        self.force_delete_compute = flag("force_delete_compute", force_delete_compute)
        self.delay, self.max_attempts = number("delay", delay) or 30, attempts(max_attempts) or 40
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.eks.EksDeleteClusterTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.context = context = Kept(self.context, int)
        checkpoints = WaitCheckpoints(context, "the EKS cluster is being deleted")
        clear = self._delete_compute if self.force_delete_compute else None
        try:
            response = await self._delete(_CLUSTER, {"name": self.cluster_name}, clear, checkpoints)
        except asyncio.CancelledError:
            await checkpoints.stop()
            raise
        finally:
            await checkpoints.close()
        yield TriggerEvent({"status": "deleted"}, success_details(response) if response else {})

    async def _delete_compute(self) -> None:
        groups = await self._list("ListNodegroups", "nodegroups")
        await together(
            {each: self._delete(_NODEGROUP, self._of_cluster(nodegroupName=each)) for each in groups}
        )  # fmt: skip
        for profile in await self._list("ListFargateProfiles", "fargateProfileNames"):
            await self._delete(_PROFILE, self._of_cluster(fargateProfileName=profile))

    async def _delete(
        self,
        kind: _Kind,
        names: Names,
        clear: Callable[[], Awaitable[None]] | None = None,
        checkpoints: WaitCheckpoints | None = None,
    ) -> WaitResponse | None:
        """Delete one thing, after `clear` has deleted what is in it, and wait; None where it is gone already."""
        in_use = None
        async for _ in paced(self.delay, self.max_attempts):
            status = await self._status(kind, names)
            if status is None:
                return None
            if clear is not None and status != "DELETING":
                await clear()
            in_use = None if status == "DELETING" else await self._ask(kind, names)
            if in_use is None:
                return await self._gone(kind, names, checkpoints)
            self.context.log.info("not deleted yet", **names, why=in_use)
        raise WaiterExhaustedError(f"eks {kind.delete} {' '.join(names.values())}: {in_use}")

    async def _ask(self, kind: _Kind, names: Names) -> str | None:
        """Have AWS delete it, and wait through throttles and outages. What AWS says where it is in use."""
        async with self.context.aws.client("eks", connection=self.connection, region=self.region) as client:
            async for _ in paced(self.delay):
                try:
                    if await send(self.context.aws, client, kind.delete, **names) is not None:
                        break
                except AwsCallError as error:
                    if error.aws_code == _IN_USE:
                        return str(error)
                    if error.aws_code == _GONE:
                        break
                    raise
        return None

    async def _gone(self, kind: _Kind, names: Names, checkpoints: WaitCheckpoints | None) -> WaitResponse:
        return await self.context.aws.wait(
            "eks", kind.waiter, names, delay=self.delay, max_attempts=self.max_attempts, connection=self.connection,
            region=self.region, on_poll=checkpoints, restored=checkpoints.restored() if checkpoints else None,
        )  # fmt: skip

    async def _status(self, kind: _Kind, names: Names) -> str | None:
        """None where it is gone."""
        answer = await self._read(kind.describe, names)
        if answer is None or (kind is _CLUSTER and await self._is_another(answer[kind.member].get("createdAt"))):
            return None
        return str(answer[kind.member]["status"])

    async def _is_another(self, created: datetime | None) -> bool:
        """Whether this is not the cluster that the trigger has seen first, on whatever daemon: that one is gone."""
        if created is None:
            return False
        kept: Any = self.context
        created_ms = int(created.timestamp() * 1000)
        if kept.value is None:
            await kept.keep(created_ms)
        return bool(kept.value != created_ms)

    async def _list(self, operation: str, member: str) -> list[str]:
        """All pages; nothing where the cluster is gone."""
        found: list[str] = []
        token: dict[str, str] = {}
        while (answer := await self._read(operation, self._of_cluster(**token))) is not None:
            found += answer.get(member) or []
            if not answer.get("nextToken"):
                break
            token = {"nextToken": answer["nextToken"]}
        return found

    async def _read(self, operation: str, params: Names) -> dict[str, Any] | None:
        """None where AWS knows no such thing (any more)."""
        try:
            return await self.context.aws.poll("eks", operation, params, connection=self.connection, region=self.region)
        except AwsCallError as error:
            if error.aws_code != _GONE:
                raise
            return None

    def _of_cluster(self, **names: str) -> dict[str, str]:
        return {"clusterName": self.cluster_name, **names}
