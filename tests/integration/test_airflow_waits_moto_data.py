"""Airflow's pairs, end to end on moto: databases, warehouses, stores and streams."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.moto_work import Account, Start, Wait, outcome_of
from tests.support.servers import MotoServer

DONE = {"status": "success", "value": None}
SECRET = {"MasterUsername": "admin", "MasterUserPassword": "Passw0rd"}
DWH = {"ClusterIdentifier": "dwh"}
FOUND = {"status": "success"}


# --- RDS and Neptune ---


def _instance(account: Account) -> None:
    account("rds").create_db_instance(
        DBInstanceIdentifier="db", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=10, **SECRET
    )


def _cluster(account: Account) -> None:
    account("rds").create_db_cluster(DBClusterIdentifier="db", Engine="aurora-postgresql", **SECRET)


def _of_db(kind: str, move: Callable[[Any], Any] | None = None) -> Start:
    """A wait for the database `db` of this kind, which `move` moves."""

    def start(account: Account) -> Wait:
        (_instance if kind == "instance" else _cluster)(account)
        kwargs = {"db_identifier": "db", "db_type": kind, "response": {"of": ["the", 1]}}
        payload = {"status": "success", "response": {"of": ["the", 1]}}
        return Wait(kwargs, payload, partial(move, account("rds")) if move else None)

    return start


def _no_db(account: Account) -> Wait:
    kwargs: dict[str, Any] = {"db_identifier": "nobodys", "db_type": "instance", "response": {}}
    return Wait(kwargs, {"status": "error", "message": "DBInstanceNotFound", "response": {}})


def _deleted_while_stopping(account: Account) -> Wait:
    _cluster(account)
    kwargs: dict[str, Any] = {"db_identifier": "db", "db_type": "cluster", "response": {}}
    payload = {"status": "error", "message": "DBClusterNotFoundFault", "response": {}}
    return Wait(kwargs, payload, lambda: account("rds").delete_db_cluster(DBClusterIdentifier="db"))


def _graph(account: Account) -> Wait:
    account("neptune").create_db_cluster(DBClusterIdentifier="n", Engine="neptune")
    return Wait({"db_cluster_id": "n"}, {"status": "success", "db_cluster_id": "n"})


def _stopped_graph(account: Account) -> Wait:
    wait = _graph(account)
    return Wait(wait.kwargs, wait.payload, lambda: account("neptune").stop_db_cluster(DBClusterIdentifier="n"))


def _graph_instances(account: Account) -> Wait:
    wait = _graph(account)
    for number in range(2):
        account("rds").create_db_instance(
            DBInstanceIdentifier=f"n{number}", DBInstanceClass="db.r5.large", Engine="neptune", DBClusterIdentifier="n"
        )
    return wait


def _no_graph(account: Account) -> Wait:
    payload = {"status": "error", "message": "DBClusterNotFoundFault", "db_cluster_id": "nobodys"}
    return Wait({"db_cluster_id": "nobodys"}, payload)


# --- Redshift ---


def _warehouse(account: Account) -> Any:
    account("redshift").create_cluster(NodeType="ra3.large", **SECRET, **DWH)
    return account("redshift")


def _of_dwh(
    payload: dict[str, Any] | str = DONE,
    before: Callable[[Any], Any] | None = None,
    move: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> Start:
    """A wait for the cluster `dwh`, after `before`; `move` moves it."""

    def start(account: Account) -> Wait:
        redshift = _warehouse(account)
        if before is not None:
            before(redshift)
        return Wait({"cluster_identifier": "dwh", **kwargs}, payload, partial(move, redshift) if move else None)

    return start


def _no_dwh(**kwargs: Any) -> Start:
    payload = {"status": "error", "message": "ClusterNotFound", "value": None}
    return lambda _: Wait({"cluster_identifier": "nobodys"}, {**payload, **kwargs})


def _pause(redshift: Any) -> Any:
    return redshift.pause_cluster(**DWH)


def _resume(redshift: Any) -> Any:
    return redshift.resume_cluster(**DWH)


def _delete(redshift: Any) -> Any:
    return redshift.delete_cluster(SkipFinalClusterSnapshot=True, **DWH)


def _snapshot(redshift: Any) -> Any:
    return redshift.create_cluster_snapshot(SnapshotIdentifier="s", **DWH)


def _aborted_statement(account: Account) -> Wait:
    data = account("redshift-data")
    statement = data.execute_statement(Database="dev", Sql="select 1")["Id"]
    kwargs = {"statement_id": statement, "task_id": "load"}
    payload = {"status": "error", "message": "ABORTED", "type": "ABORTED", "statement_id": statement}
    return Wait(kwargs, payload, lambda: data.cancel_statement(Id=statement))


# --- Glue and Athena ---


def _job_run(account: Account) -> Wait:
    account.slowly("glue::job_run")
    account("glue").create_job(Name="nightly", Role="r", Command={"Name": "glueetl"})
    run = account("glue").start_job_run(JobName="nightly")["JobRunId"]
    return Wait({"job_name": "nightly", "run_id": run}, {"status": "success", "run_id": run})


def _no_job_run(_: Account) -> Wait:
    payload = {"status": "error", "message": "EntityNotFoundException", "run_id": "nobodys"}
    return Wait({"job_name": "nobodys", "run_id": "nobodys"}, payload)


def _running_crawler(account: Account) -> Any:
    glue = account("glue")
    glue.create_crawler(Name="c", Role="r", DatabaseName="lake", Targets={"S3Targets": [{"Path": "s3://lake"}]})
    glue.start_crawler(Name="c")
    return glue


def _crawler(account: Account) -> Wait:
    glue = _running_crawler(account)
    # It is ListCrawls that moves a crawl of moto's; GetCrawler tells where it is.
    return Wait({"crawler_name": "c"}, DONE, lambda: glue.list_crawls(CrawlerName="c"))


def _deleted_crawler(account: Account) -> Wait:
    glue = _running_crawler(account)
    payload = {"status": "error", "message": "EntityNotFoundException", "value": None}
    return Wait({"crawler_name": "c"}, payload, lambda: glue.delete_crawler(Name="c"))


def _partition(account: Account) -> Wait:
    glue, names = account("glue"), {"DatabaseName": "lake", "TableName": "events"}
    glue.create_database(DatabaseInput={"Name": "lake"})
    table = {"Name": "events", "PartitionKeys": [{"Name": "ds", "Type": "string"}]}
    glue.create_table(DatabaseName="lake", TableInput=table)
    kwargs = {"database_name": "lake", "table_name": "events", "expression": "ds = '2026-01-02'"}
    return Wait(kwargs, FOUND, lambda: glue.create_partition(**names, PartitionInput={"Values": ["2026-01-02"]}))


def _athena_query(account: Account) -> str:
    started = account("athena").start_query_execution(
        QueryString="SELECT 1", ResultConfiguration={"OutputLocation": "s3://lake/"}
    )
    return str(started["QueryExecutionId"])


def _query(account: Account) -> Wait:
    account.slowly("athena::execution")
    query = _athena_query(account)
    return Wait({"query_execution_id": query}, {"status": "success", "value": query})


def _stopped_query(account: Account) -> Wait:
    account.slowly("athena::execution", 10_000)
    query, athena = _athena_query(account), account("athena")
    payload = {"status": "error", "message": "CANCELLED", "value": query}
    return Wait({"query_execution_id": query}, payload, lambda: athena.stop_query_execution(QueryExecutionId=query))


# --- stores and streams ---


def _item(account: Account) -> Wait:
    dynamodb = account("dynamodb")
    dynamodb.create_table(
        TableName="jobs", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )  # fmt: skip
    kwargs = {
        "table_name": "jobs", "partition_key_name": "id", "partition_key_value": "5",
        "attribute_name": "state", "attribute_value": ["done", "skipped"],
    }  # fmt: skip
    item = {"id": {"S": "5"}, "state": {"S": "done"}}
    return Wait(kwargs, FOUND, lambda: dynamodb.put_item(TableName="jobs", Item=item))


def _key(account: Account) -> Wait:
    s3 = account("s3")
    s3.create_bucket(Bucket="lake")
    kwargs = {"bucket_name": "lake", "bucket_key": "data/*.csv", "wildcard_match": True}
    return Wait(kwargs, FOUND, lambda: s3.put_object(Bucket="lake", Key="data/1.csv", Body=b"1"))


def _no_bucket(_: Account) -> Wait:
    kwargs = {"bucket_name": "nobodys", "bucket_key": "data/*.csv", "wildcard_match": True}
    return Wait(kwargs, {"status": "error", "message": "NoSuchBucket"})


def _keys_unchanged(account: Account) -> Wait:
    account("s3").create_bucket(Bucket="lake")
    account("s3").put_object(Bucket="lake", Key="data/1.csv", Body=b"1")
    kwargs = {"bucket_name": "lake", "prefix": "data/", "inactivity_period": 0.1, "polling_period_seconds": 0.05}
    return Wait(kwargs, {"status": "success", "message": "lake"})


def _collection(account: Account) -> Wait:
    serverless = account("opensearchserverless")
    rules = '{"Rules":[{"ResourceType":"collection","Resource":["collection/logs"]}],"KmsARN":"arn:key"}'
    kwargs = {"collection_name": "logs"}

    def create() -> None:
        serverless.create_security_policy(name="own", type="encryption", policy=rules)
        serverless.create_collection(name="logs", type="SEARCH")

    return Wait(kwargs, {"status": "success", "collection_name": "logs"}, create)


def _modified_task(account: Account) -> Wait:
    endpoint = {"EndpointType": "source", "EngineName": "mysql"}
    dms = account("dms")
    source = dms.create_endpoint(EndpointIdentifier="from", **endpoint)["Endpoint"]["EndpointArn"]
    instance = dms.create_replication_instance(
        ReplicationInstanceIdentifier="i", ReplicationInstanceClass="dms.t3.micro"
    )["ReplicationInstance"]["ReplicationInstanceArn"]
    task = dms.create_replication_task(
        ReplicationTaskIdentifier="t", SourceEndpointArn=source, TargetEndpointArn=source,
        ReplicationInstanceArn=instance, MigrationType="full-load", TableMappings="{}",
    )["ReplicationTask"]["ReplicationTaskArn"]  # fmt: skip
    dms.start_replication_task(ReplicationTaskArn=task, StartReplicationTaskType="start-replication")
    return Wait({"replication_task_arn": task}, {"status": "success", "replication_task_arn": task})


@pytest.mark.parametrize(("name", "start"), [
    ("rds.RdsDbAvailableTrigger", _of_db("instance")),
    ("rds.RdsDbAvailableTrigger", _of_db("cluster")),
    ("rds.RdsDbAvailableTrigger", _no_db),
    ("rds.RdsDbStoppedTrigger", _of_db("instance", lambda rds: rds.stop_db_instance(DBInstanceIdentifier="db"))),
    ("rds.RdsDbStoppedTrigger", _of_db("cluster", lambda rds: rds.stop_db_cluster(DBClusterIdentifier="db"))),
    ("rds.RdsDbStoppedTrigger", _deleted_while_stopping),
    ("rds.RdsDbDeletedTrigger", _of_db("instance", lambda rds: rds.delete_db_instance(DBInstanceIdentifier="db"))),
    ("rds.RdsDbDeletedTrigger", _of_db("cluster", lambda rds: rds.delete_db_cluster(DBClusterIdentifier="db"))),
    ("neptune.NeptuneClusterAvailableTrigger", _graph),
    ("neptune.NeptuneClusterAvailableTrigger", _no_graph),
    ("neptune.NeptuneClusterStoppedTrigger", _stopped_graph),
    ("neptune.NeptuneClusterInstancesAvailableTrigger", _graph_instances),
    ("redshift_cluster.RedshiftCreateClusterTrigger", _of_dwh()),
    ("redshift_cluster.RedshiftPauseClusterTrigger", _of_dwh(move=_pause)),
    ("redshift_cluster.RedshiftPauseClusterTrigger", _no_dwh()),
    ("redshift_cluster.RedshiftResumeClusterTrigger", _of_dwh(before=_pause, move=_resume)),
    ("redshift_cluster.RedshiftResumeClusterTrigger", _no_dwh()),
    ("redshift_cluster.RedshiftDeleteClusterTrigger", _of_dwh(move=_delete)),
    ("redshift_cluster.RedshiftCreateClusterSnapshotTrigger", _of_dwh(before=_snapshot)),
    ("redshift_cluster.RedshiftClusterSettledTrigger",
     _of_dwh({"status": "success", "cluster_identifier": "dwh"}, before=_pause)),
    ("redshift_cluster.RedshiftClusterTrigger",
     _of_dwh({"status": "success", "message": "target state met"}, move=_pause, target_status="paused")),
    ("redshift_data.RedshiftDataTrigger", _aborted_statement),
    ("glue.GlueJobCompleteTrigger", _job_run),
    ("glue.GlueJobCompleteTrigger", _no_job_run),
    ("glue.GlueCatalogPartitionTrigger", _partition),
    ("glue_crawler.GlueCrawlerCompleteTrigger", _crawler),
    ("glue_crawler.GlueCrawlerCompleteTrigger", _deleted_crawler),
    ("athena.AthenaTrigger", _query),
    ("athena.AthenaTrigger", _stopped_query),
    ("dynamodb.DynamoDBValueSensorTrigger", _item),
    ("s3.S3KeyTrigger", _key),
    ("s3.S3KeyTrigger", _no_bucket),
    ("s3.S3KeysUnchangedTrigger", _keys_unchanged),
    ("opensearch_serverless.OpenSearchServerlessCollectionActiveTrigger", _collection),
    ("dms.DmsTaskModifyCompleteTrigger", _modified_task),
])  # fmt: skip
async def test_an_airflow_pair_ends_as_its_data_does(moto: MotoServer, name: str, start: Start) -> None:
    outcome, expected = await outcome_of(moto, name, start)
    assert outcome == expected
