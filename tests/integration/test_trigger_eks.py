"""Promises of the EKS triggers on a small scripted EKS that minds what AWS minds."""

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.support.fake_aws import FakeAws, Fault
from tests.support.waiting import eventually
from triggerd.aws.local import open_aws
from triggerd.event import Event
from triggerd.testing import LocalContext, run_trigger
from triggerd.triggers.eks import EksCreateClusterTrigger, EksDeleteClusterTrigger

GONE = Fault("ResourceNotFoundException", "no such thing", status=404)
Params = dict[str, Any]


class Eks:
    """One cluster. What is being deleted is gone after it was looked at `looks` times."""

    def __init__(self, fake: FakeAws, *, groups: int = 0, profiles: int = 0, looks: int = 2) -> None:
        self.fake, self.looks = fake, looks
        self.things = {"c": "ACTIVE"}
        self.created_s = 1_700_000_000
        self.things |= {f"ng{number}": "ACTIVE" for number in range(groups)}
        self.things |= {f"fp{number}": "ACTIVE" for number in range(profiles)}
        self.most_deleting = {"ng": 0, "fp": 0}
        self._seen: dict[str, int] = {}
        for kind, member, plural, name in (
            ("Nodegroup", "nodegroup", "nodegroups", "nodegroupName"),
            ("FargateProfile", "fargateProfile", "fargateProfileNames", "fargateProfileName"),
        ):
            self._play(kind, member, name)
            fake.script(f"List{kind}s", partial(self._list, name[0], plural))
        self._play("Cluster", "cluster", "name")

    def _play(self, kind: str, member: str, name: str) -> None:
        self.fake.script(f"Describe{kind}", lambda asked: self._describe(asked[name], member))
        self.fake.script(f"Delete{kind}", lambda asked: self._delete(asked[name], member))

    def of(self, prefix: str) -> list[str]:
        return [name for name in self.things if name.startswith(prefix)]

    def _list(self, prefix: str, plural: str, asked: Params) -> Any:
        """Pages of two."""
        if "c" not in self.things:
            return GONE
        names, start = self.of(prefix), int(asked.get("nextToken", 0))
        more = {"nextToken": str(start + 2)} if len(names) > start + 2 else {}
        return {plural: names[start : start + 2], **more}

    def _describe(self, name: str, member: str) -> Any:
        if self.things.get(name) == "DELETING":
            self._seen[name] = self._seen.get(name, 0) + 1
            if self._seen[name] > self.looks:
                del self.things[name]
        about = {"createdAt": self.created_s} if name == "c" else {}
        return {member: {"status": self.things[name], **about}} if name in self.things else GONE

    def _delete(self, name: str, member: str) -> Any:
        if name not in self.things:
            return GONE
        in_its_way = {"c": self.of("ng") + self.of("fp"), "f": self.deleting("fp")}.get(name[0], [])
        if self.things[name] in ("DELETING", "CREATING") or in_its_way:
            return Fault("ResourceInUseException", f"{name} is in use by {in_its_way}", status=409)
        self.things[name] = "DELETING"
        for prefix in self.most_deleting:
            self.most_deleting[prefix] = max(self.most_deleting[prefix], len(self.deleting(prefix)))
        return {member: {"status": "DELETING"}}

    def deleting(self, prefix: str) -> list[str]:
        return [name for name in self.of(prefix) if self.things[name] == "DELETING"]


def _trigger(**more: Any) -> EksDeleteClusterTrigger:
    return EksDeleteClusterTrigger("c", **{"force_delete_compute": True, "delay": 0.02, "max_attempts": 30, **more})


async def _fired(fake: FakeAws, trigger: Any) -> Event:
    async with open_aws(fake.settings()) as aws:
        return await run_trigger(trigger, aws=aws, timeout=20)


@pytest.mark.parametrize(("last", "status"), [("ACTIVE", "success"), ("FAILED", "failed"), ("DELETING", "failed")])
async def test_a_cluster_is_created_or_not(last: str, status: str) -> None:
    async with FakeAws("eks") as fake:
        fake.script("DescribeCluster", *({"cluster": {"status": state}} for state in ("CREATING", last)))
        event = await _fired(fake, EksCreateClusterTrigger("c", delay=0.02))
    assert event.payload == {"status": status}
    assert event.details["last_status"] == last


async def test_node_groups_go_together_profiles_one_by_one_all_pages_of_them_and_the_cluster_last() -> None:
    async with FakeAws("eks") as fake:
        eks = Eks(fake, groups=5, profiles=3)
        event = await _fired(fake, _trigger())
        assert event.payload == {"status": "deleted"}
        assert not eks.things
        assert eks.most_deleting == {"ng": 5, "fp": 1}
        assert [seen.operation for seen in fake.mutations] == [
            *(["DeleteNodegroup"] * 5), *(["DeleteFargateProfile"] * 3), "DeleteCluster",
        ]  # fmt: skip


async def test_a_cluster_without_force_is_deleted_and_nothing_else_is_looked_at() -> None:
    async with FakeAws("eks") as fake:
        Eks(fake)
        event = await _fired(fake, _trigger(force_delete_compute=False))
        assert event.payload == {"status": "deleted"}
        assert set(fake.calls) == {"DescribeCluster", "DeleteCluster"}


async def test_a_cluster_that_is_gone_is_deleted() -> None:
    async with FakeAws("eks") as fake:
        Eks(fake).things.clear()
        assert (await _fired(fake, _trigger())).payload == {"status": "deleted"}
        assert fake.mutating == 0


async def test_a_run_on_another_daemon_goes_on_where_aws_stands_and_a_stop_touches_nothing() -> None:
    async with FakeAws("eks") as fake, open_aws(fake.settings()) as aws:
        eks = Eks(fake, groups=3, profiles=1, looks=10_000)
        run = asyncio.create_task(run_trigger(_trigger(), aws=aws))
        await eventually(lambda: len(eks.deleting("ng")) == 3)
        run.cancel()
        await asyncio.wait({run})
        assert run.cancelled()
        assert fake.mutating == 3

        eks.looks = 0
        assert (await run_trigger(_trigger(), aws=aws)).payload == {"status": "deleted"}
        assert fake.calls["DeleteNodegroup"] == 3, "they were going already"

        eks.things["c"] = "DELETING"  # as a run finds it that moves once more
        assert (await run_trigger(_trigger(), aws=aws)).payload == {"status": "deleted"}
        assert fake.calls["DeleteCluster"] == 1


async def test_the_last_step_keeps_its_budget_on_another_daemon() -> None:
    async with FakeAws("eks") as fake, open_aws(fake.settings()) as aws:
        Eks(fake, looks=10_000).things["c"] = "DELETING"
        event = await run_trigger(
            _trigger(delay=30), aws=aws, restored=[1_700_000_000_000, [1_000, 2_000, 7, "DELETING"]]
        )
        assert event.error is not None
        assert event.error.code == "waiter_exhausted"


async def test_a_new_cluster_of_the_same_name_is_not_deleted_by_a_run_that_moves() -> None:
    async with FakeAws("eks") as fake, open_aws(fake.settings()) as aws:
        eks = Eks(fake, groups=1, looks=10_000)
        trigger = _trigger(force_delete_compute=True)
        trigger.context = context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
        run: Any = trigger.run()
        first = asyncio.create_task(anext(run))
        await eventually(lambda: eks.deleting("ng"))
        first.cancel()
        await asyncio.wait({first})
        eks.things = {"c": "ACTIVE", "ng0": "ACTIVE"}  # the old one was deleted by hand while no daemon ran
        eks.created_s += 3_600
        event = await run_trigger(_trigger(force_delete_compute=True), aws=aws, restored=context.checkpoints[-1])
        assert event.payload == {"status": "deleted"}
        assert eks.things == {"c": "ACTIVE", "ng0": "ACTIVE"}


async def test_what_is_in_use_is_asked_again_until_it_is_not() -> None:
    async with FakeAws("eks") as fake, open_aws(fake.settings()) as aws:
        eks = Eks(fake, groups=1)
        eks.things["ng0"] = "CREATING"
        run = asyncio.create_task(run_trigger(_trigger(max_attempts=1_000), aws=aws))
        await eventually(lambda: fake.calls["DeleteNodegroup"] >= 3)
        eks.things["ng0"] = "ACTIVE"
        assert (await run).payload == {"status": "deleted"}


async def test_what_stays_in_use_is_asked_so_many_times_and_no_more() -> None:
    async with FakeAws("eks") as fake:
        eks = Eks(fake, groups=1)
        event = await _fired(fake, _trigger(force_delete_compute=False, max_attempts=3))
        assert event.outcome == "failed"
        assert event.error is not None
        assert event.error.code == "waiter_exhausted"
        assert "c is in use by ['ng0']" in event.error.message
        assert fake.calls["DeleteCluster"] == 3
        assert eks.things == {"c": "ACTIVE", "ng0": "ACTIVE"}


async def test_a_node_group_that_comes_meanwhile_is_deleted_too() -> None:
    def comes(asked: Params) -> Any:
        if fake.calls["DeleteCluster"] == 1:
            eks.things["ng9"] = "ACTIVE"
        return eks._delete(asked["name"], "cluster")

    async with FakeAws("eks") as fake:
        eks = Eks(fake)
        fake.script("DeleteCluster", comes)
        assert (await _fired(fake, _trigger())).payload == {"status": "deleted"}
        assert not eks.things


async def test_a_node_group_that_cannot_be_deleted_fails_at_once_and_the_cluster_stays() -> None:
    async with FakeAws("eks") as fake:
        eks = Eks(fake, groups=2, looks=0)
        fake.script("DescribeNodegroup", *({"nodegroup": {"status": state}} for state in ("ACTIVE", "DELETE_FAILED")))
        event = await _fired(fake, _trigger())
        assert event.error is not None
        assert "DELETE_FAILED" in event.error.message
        assert fake.calls["DeleteCluster"] == 0
        assert "c" in eks.things


async def test_a_denied_deletion_fails_with_awss_own_words() -> None:
    async with FakeAws("eks") as fake:
        Eks(fake)
        fake.script("DeleteCluster", Fault("AccessDeniedException", "not you", status=403))
        event = await _fired(fake, _trigger())
        assert event.outcome == "failed"
        assert event.error is not None
        assert "not you" in event.error.message


async def test_a_throttled_deletion_is_sent_again_and_counts_for_nothing() -> None:
    async with FakeAws("eks") as fake:
        eks = Eks(fake)
        delete = fake._scripts["DeleteCluster"][0]
        fake.script("DeleteCluster", *[Fault("ThrottlingException", status=429)] * 4, delete)
        event = await _fired(fake, _trigger(max_attempts=3, delay=0.05))
        assert event.payload == {"status": "deleted"}
        assert fake.calls["DeleteCluster"] == 5
        assert not eks.things
