"""The trigger that waits for the status of a Redshift cluster."""

import sys
from functools import lru_cache
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, text
from triggerd.triggers.aws import AwsWaiterTrigger, failure_details, success_details

_GONE = "cluster_not_found"
_BROKEN = ("incompatible-hsm", "incompatible-network", "incompatible-parameters", "incompatible-restore")
# Redshift replaces a node of several by itself; the data of a single one are gone with it.
_LOST = "Clusters[?ClusterStatus == 'hardware-failure' && NumberOfNodes == `1`] | length(@) > `0`"
_AVAILABLE = ("available", "available, prep-for-resize", "available, resize-cleanup")
_ENDING = {_GONE: (), "deleting": (), "final-snapshot": ("deleting",)}
"""Statuses on the way to the end, by the one that is waited for; where another is, they are the end of the wait."""


@lru_cache(maxsize=64)
def _acceptors(target: str) -> list[dict[str, Any]]:
    met = _AVAILABLE if target == "available" else (target,)
    missed = _ENDING.get(target, ("final-snapshot", "deleting", *_BROKEN))
    states = {**dict.fromkeys(missed, "failure"), **dict.fromkeys(met, "success")}
    rules: list[dict[str, Any]] = [
        {"state": end, "matcher": "pathAll", "argument": "Clusters[].ClusterStatus", "expected": status}
        for status, end in states.items()
    ]
    if target != "hardware-failure" and target not in _ENDING:
        rules.append({"state": "failure", "matcher": "path", "argument": _LOST, "expected": True})
    gone = "success" if target == _GONE else "failure"
    return [*rules, {"state": gone, "matcher": "error", "expected": "ClusterNotFound"}]


class RedshiftClusterTrigger(AwsWaiterTrigger):
    """Waits until a Redshift cluster has a status.

    Fires ``{"status": "success", "message": "target state met"}``, or ``{"status": "error", "message": ...}`` where
    that cannot come: the cluster is being deleted, is gone, or is in a state that only people mend.

    Args:
        target_status: ``available`` (also while a resize begins or is cleaned up), ``paused``, ``deleting``, any
            other of AWS's, or ``cluster_not_found``.
        delay: Seconds between polls. max_attempts: with `delay` a budget of time; as it is: until the deadline.
    """

    max_attempts: int | None = sys.maxsize
    failure_message: str = "the Redshift cluster will not come to the wanted status"

    def __init__(
        self,
        cluster_identifier: str,
        target_status: str,
        *,
        delay: float = 60,
        max_attempts: int | None = sys.maxsize,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        arguments = {"ClusterIdentifier": text("cluster_identifier", cluster_identifier)}
        super().__init__(
            "redshift", "cluster_available", arguments,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.cluster_identifier, self.target_status = cluster_identifier, text("target_status", target_status)
        self.acceptors = _acceptors(target_status)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.redshift_cluster.RedshiftClusterTrigger", changed(self)

    def _success(self, response: WaitResponse) -> TriggerEvent:
        return TriggerEvent({"status": "success", "message": "target state met"}, success_details(response))

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        message = f"{self.failure_message}, {self.target_status}: {error}"
        return TriggerEvent({"status": "error", "message": message}, failure_details(error))
