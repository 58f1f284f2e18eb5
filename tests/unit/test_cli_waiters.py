"""Promises of `triggerd waiters` at a shell: what is listed, how one is explained, what a broken file does."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from triggerd.cli.main import main

NO_JSON = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"


def waiters(*arguments: str, folder: Path | None = None) -> Result:
    env = {"TRIGGERD_AWS__WAITER_FOLDERS": str(folder)} if folder is not None else {}
    return CliRunner().invoke(main, ["waiters", *arguments], env=env, prog_name="triggerd")


def listed(*arguments: str, folder: Path | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(waiters("ls", "--json", *arguments, folder=folder).stdout)
    return found


def user_file(folder: Path, service: str, **found: Any) -> None:
    whole = {name: {"operation": "GetJobRun", "delay": 5, "maxAttempts": 3, **raw} for name, raw in found.items()}
    (folder / f"{service}.json").write_text(json.dumps({"version": 2, "waiters": whole}))


def test_every_waiter_is_listed_with_operation_needs_delay_and_the_statuses_of_each_state() -> None:
    rows = {(row["service"], row["waiter"]): row for row in listed()}
    assert len(rows) >= 392 + 30
    row = rows["eks", "nodegroup_deleted"]
    assert (row["operation"], row["needs"]) == ("DescribeNodegroup", ["clusterName", "nodegroupName"])
    assert (row["delay"], row["max_attempts"]) == (30, 40)
    assert rows["ec2", "instance_running"]["states"] == {
        "success": ["running"],
        "failure": ["shutting-down", "terminated", "stopping"],
        "retry": ["error InvalidInstanceID.NotFound"],
        "none": ["pending", "stopped"],
    }
    assert rows["s3", "object_exists"]["states"]["retry"] == ["HTTP 404"]
    for row in rows.values():
        assert row["states"]["success"] or row["service"] == "mwaa", row
        assert row["source"] == "botocore" or not row["states"]["none"], row


def test_a_list_is_narrowed_by_service_and_by_text() -> None:
    assert {row["service"] for row in listed("redshift")} == {"redshift"}
    assert {row["waiter"] for row in listed("--text", "snapshot", "--text", "Completed", "rds")} >= {
        "db_snapshot_completed"
    }
    assert all("snapshot" in json.dumps(row).lower() for row in listed("--text", "SNAPSHOT"))
    none = waiters("ls", "glue", "--text", "no such thing")
    assert (none.exit_code, none.stdout) == (0, "no waiter of glue has 'no such thing' in it\n")


def test_the_values_that_nobody_expects_stand_below_the_rules() -> None:
    shown = waiters("show", "ec2", "instance_running").stdout
    assert 'none     -        Reservations[].Instances[].State.Name  "pending", "stopped"\n' in shown


def test_a_templated_waiter_says_what_a_wait_must_bring(tmp_path: Path) -> None:
    rule = {"state": "success", "matcher": "path", "argument": 'JobRun.Arguments."{{ KEY }}"', "expected": "x"}
    user_file(tmp_path, "glue", templated={"acceptors": [rule]}, bare={})
    shown = waiters("show", "glue", "templated", folder=tmp_path).stdout
    assert "parameters KEY, for the acceptors\n" in shown
    assert shown.endswith("triggerd wait glue templated JobName=... RunId=... --parameter KEY=...\n")
    assert waiters("show", "glue", "bare", folder=tmp_path).stdout.endswith(
        "It has no acceptors: the wait must bring them (acceptors=[...]).\n"
    )


def test_a_broken_waiter_of_the_user_hides_no_other(tmp_path: Path) -> None:
    user_file(tmp_path, "glue", broken={"delay": 0}, fine={"description": ["not", "a", "text"]})
    (tmp_path / "ecs.json").write_text("{")
    (tmp_path / "no-service.json").write_text("{}")
    done = waiters("ls", "--json", folder=tmp_path)
    names = {(row["service"], row["waiter"]) for row in json.loads(done.stdout)}
    assert {("glue", "fine"), ("glue", "job_complete"), ("redshift", "cluster_paused")} <= names
    assert not {service for service, _ in names} & {"ecs", "no-service"}
    assert done.stderr.splitlines() == [
        f"left out: {tmp_path}/ecs.json: not JSON: {NO_JSON}",
        f"left out: {tmp_path}/glue.json: waiter broken: delay = 0: must be a number of seconds above 0",
    ]


def test_the_check_is_for_scripts_too(tmp_path: Path) -> None:
    user_file(tmp_path, "glue", broken={"delay": 0})
    done = waiters("check", "--json", str(tmp_path))
    assert (done.exit_code, json.loads(done.stdout)) == (
        1,
        [
            {
                "file": f"{tmp_path}/glue.json",
                "severity": "unusable",
                "waiter": "broken",
                "key": "delay",
                "value": 0,
                "problem": "must be a number of seconds above 0",
            }
        ],
    )
