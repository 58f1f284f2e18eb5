"""What `make_airflow_pairs.py` asks of Airflow's triggers: their arguments, and what AWS answers them.

An answer is a dict, or an error as ``{"!": code}``, perhaps with its HTTP status. Where a class waits by a waiter, the
script reads the first success and the first failure out of its rules; what stands here is the rest. `ours` is what
triggerd answers where Airflow is wrong, and `defect` says in which way it is.
"""

import datetime as dt
from typing import Any

Sample = dict[str, Any]

PACE = {"waiter_delay": 1, "waiter_max_attempts": 3}
CONN = {"aws_conn_id": "aws_default"}
ACCOUNT = "123456789012"
COMMAND = "01234567-0123-0123-0123-0123456789ab"
NO_RIGHT = {"!": "AccessDeniedException"}
ARN = "arn:aws:x:us-east-1:123456789012:y/z"
RECORD = {"SequenceNumber": "7", "PartitionKey": "p", "Data": "aGVsbG8=", "ApproximateArrivalTimestamp": 1767323045.0}
MESSAGE = {"MessageId": "m-1", "ReceiptHandle": "r-1", "MD5OfBody": "5d41402abc4b2a76b9719d911017c592", "Body": "hello"}


def case(name: str, answers: dict[str, Any], ours: Any = None, defect: str = "", gap: bool = False) -> Sample:
    """One scripted run; an operation's single answer may stand without its list.

    `gap`: Airflow polls on, to its last attempt, in a state from which nothing comes; triggerd ends at once.
    """
    listed = {operation: each if isinstance(each, list) else [each] for operation, each in answers.items()}
    return (
        {"name": name, "answers": listed}
        | ({"ours": ours, "defect": defect} if defect else {})
        | ({"gap": True} if gap else {})
    )


def waits(*cases: Sample, **kwargs: Any) -> Sample:
    """A class whose success and failure the script finds out; `cases` come on top."""
    return {"kwargs": kwargs, "cases": list(cases), "waiter": True}


def runs(service: str, *cases: Sample, **kwargs: Any) -> Sample:
    """A class that goes its own way."""
    return {"service": service, "kwargs": kwargs, "cases": list(cases)}


def failed(key: str, value: Any) -> Sample:
    return {"payload": {"status": "error", "message": "*", key: value}}


def _state(*path: str, value: Any) -> Any:
    for name in reversed(path):
        value = [value] if name == "[]" else {name: value}
    return value


def _ec2(state: str) -> Any:
    instance = {"InstanceId": "i-1", "State": {"Name": state}}
    return {"DescribeInstances": {"Reservations": [{"Instances": [instance]}]}}


def _redshift(state: str) -> Any:
    return {"DescribeClusters": {"Clusters": [{"ClusterIdentifier": "dwh", "ClusterStatus": state}]}}


def _crawler(state: str) -> Any:
    return {"GetCrawler": {"Crawler": {"State": "READY", "LastCrawl": {"Status": state}}}}


def _ssm(status: str, code: int, command: str = "Success") -> Any:
    invocation = {"CommandId": COMMAND, "InstanceId": "i-0123456789abcdef0", "Status": status}
    return {
        "ListCommands": {"Commands": [{"CommandId": COMMAND, "Status": command, "TargetCount": 1}]},
        "ListCommandInvocations": {"CommandInvocations": [invocation | {"CommandPlugins": [{"ResponseCode": code}]}]},
        "GetCommandInvocation": invocation | {"ResponseCode": code},
    }


_NODEGROUP = {"cluster_name": "c", "nodegroup_name": "n", **PACE, **CONN}
_PROFILE = {"cluster_name": "c", "fargate_profile_name": "f", **PACE, **CONN}
_NOT_FOUND = {"!": "ResourceNotFoundException", "status": 404}
_RDS = {"db_identifier": "db", **PACE, **CONN, "region_name": "eu-west-1"}
_RDS_ANSWER = {
    "DBInstance": {"DBInstanceIdentifier": "db", "InstanceCreateTime": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}
}
_DMS = {"replication_config_arn": ARN, **PACE}
_TABLES = [{"SchemaName": "s", "TableName": "t"}]
_STATEMENT = {"statement_id": "s-1", "task_id": "t", "poll_interval": 1}

_OBJECT = {"create_bucket": {"Bucket": "bucket"}, "put_object": {"Bucket": "bucket", "Key": "k/1.csv", "Body": "x"}}

SAMPLES: dict[str, Sample] = {
    "athena.AthenaTrigger": waits(query_execution_id="q-1", **PACE, **CONN),
    "batch.BatchCreateComputeEnvironmentTrigger": waits(compute_env_arn=ARN),
    "batch.BatchJobTrigger": waits(job_id="j-1", region_name="eu-west-1"),
    "bedrock.BedrockAgentRuntimeDeletedTrigger": waits(
        case("failure", {"GetAgentRuntime": {"status": "DELETE_FAILED"}}, gap=True), agent_runtime_id="a-1", **PACE
    ),
    "bedrock.BedrockAgentRuntimeReadyTrigger": waits(
        case("its deletion has failed", {"GetAgentRuntime": {"status": "DELETE_FAILED"}}, gap=True),
        agent_runtime_id="a-1", agent_runtime_version="1", agent_runtime_arn=ARN, **PACE,
    ),
    "bedrock.BedrockBatchInferenceCompletedTrigger": waits(job_arn=ARN),
    "bedrock.BedrockBatchInferenceScheduledTrigger": waits(
        case("past scheduled", {"GetModelInvocationJob": {"status": "InProgress"}},
             {"payload": {"status": "success", "job_arn": ARN}}, "it waits for what is over"),
        job_arn=ARN, **PACE,
    ),
    "bedrock.BedrockCustomizeModelCompletedTrigger": waits(job_name="j"),
    "bedrock.BedrockIngestionJobTrigger": waits(
        case("stopped", {"GetIngestionJob": {"ingestionJob": {"status": "STOPPED"}}}, gap=True),
        knowledge_base_id="k", data_source_id="d", ingestion_job_id="i", **PACE,
    ),
    "bedrock.BedrockKnowledgeBaseActiveTrigger": waits(
        case("not deleted", {"GetKnowledgeBase": {"knowledgeBase": {"status": "DELETE_UNSUCCESSFUL"}}}, gap=True),
        knowledge_base_id="k", **PACE,
    ),
    "bedrock.BedrockProvisionModelThroughputCompletedTrigger": waits(provisioned_model_id="p"),
    "comprehend.ComprehendCreateDocumentClassifierCompletedTrigger": waits(document_classifier_arn=ARN),
    "comprehend.ComprehendPiiEntitiesDetectionJobCompletedTrigger": waits(job_id="j"),
    "dms.DmsReplicationCompleteTrigger": waits(**_DMS),
    "dms.DmsReplicationConfigDeletedTrigger": waits(**_DMS),
    "dms.DmsReplicationDeprovisionedTrigger": waits(**_DMS),
    "dms.DmsReplicationStoppedTrigger": waits(
        case("failed", {"DescribeReplications": {"Replications": [{"Status": "failed"}]}}, gap=True), **_DMS
    ),
    "dms.DmsReplicationTerminalStatusTrigger": waits(**_DMS),
    "dms.DmsTableReloadCompleteTrigger": runs(
        "dms",
        case("success", {"DescribeTableStatistics": {"TableStatistics": [
            {"SchemaName": "s", "TableName": "t", "TableState": "Table completed"}]}}),
        case("failure", {"DescribeTableStatistics": {"TableStatistics": [
            {"SchemaName": "s", "TableName": "t", "TableState": "Table error"}]}}),
        replication_task_arn=ARN, tables_to_reload=_TABLES, **PACE,
    ),
    "dms.DmsTaskModifyCompleteTrigger": waits(replication_task_arn=ARN),
    "dynamodb.DynamoDBValueSensorTrigger": runs(
        "dynamodb",
        case("success", {"GetItem": {"Item": {"state": {"S": "done"}}}}),
        case("a denied read", {"GetItem": NO_RIGHT}, {"payload": {"status": "error", "message": "*"}},
             "polls for ever"),
        case("a number", {"GetItem": {"Item": {"state": {"N": "7"}}}}, {"payload": {"status": "success"}},
             "polls for ever"),
        table_name="t", partition_key_name="id", partition_key_value="1", attribute_name="state",
        attribute_value=["done", "7"], sort_key_name="at", sort_key_value="2",
    ),
    "ec2.EC2StateSensorTrigger": runs(
        "ec2",
        case("success", _ec2("running")),
        case("terminated", _ec2("terminated"), {"raises": True}, "polls for ever"),
        instance_id="i-1", target_state="running", poll_interval=1,
    ),
    "ecs.ClusterActiveTrigger": waits(cluster_arn=ARN, **PACE, **CONN),
    "ecs.ClusterInactiveTrigger": waits(cluster_arn=ARN, **PACE, **CONN),
    "ecs.TaskDoneTrigger": runs(
        "ecs",
        case("success", {"DescribeTasks": {"tasks": [{"taskArn": ARN, "lastStatus": "STOPPED"}]}}),
        case("vanished", {"DescribeTasks": [{"tasks": [{"taskArn": ARN, "lastStatus": "RUNNING"}]},
                                            {"tasks": [], "failures": [{"arn": ARN, "reason": "MISSING"}]}]}),
        cluster="c", task_arn=ARN, **PACE, **CONN,
    ),
    "eks.EksCreateClusterTrigger": runs(
        "eks",
        case("success", {"DescribeCluster": {"cluster": {"status": "ACTIVE"}}}),
        case("failure", {"DescribeCluster": {"cluster": {"status": "FAILED"}}}),
        cluster_name="c", **PACE, **CONN,
    ),
    "eks.EksCreateFargateProfileTrigger": waits(**_PROFILE),
    "eks.EksCreateNodegroupTrigger": waits(**_NODEGROUP, region_name="eu-west-1"),
    "eks.EksDeleteClusterTrigger": runs(
        "eks",
        case("success", {"DeleteCluster": {}, "DescribeCluster": _NOT_FOUND,
                         "ListNodegroups": {"nodegroups": []}, "ListFargateProfiles": {"fargateProfileNames": []}}),
        case("failure", {"DeleteCluster": {}, "DescribeCluster": {"cluster": {"status": "ACTIVE"}},
                         "ListNodegroups": {"nodegroups": []}, "ListFargateProfiles": {"fargateProfileNames": []}}),
        cluster_name="c", **PACE, **CONN, region_name="us-east-1", force_delete_compute=True,
    ),
    "eks.EksDeleteFargateProfileTrigger": waits(**_PROFILE),
    "eks.EksDeleteNodegroupTrigger": waits(**_NODEGROUP),
    "emr.EmrAddStepsTrigger": waits(job_flow_id="f", step_ids=["s-1"], **PACE),
    "emr.EmrContainerTrigger": waits(virtual_cluster_id="v", job_id="j"),
    "emr.EmrCreateJobFlowTrigger": waits(job_flow_id="f"),
    "emr.EmrServerlessCancelJobsTrigger": runs(
        "emr-serverless",
        case("success", {"ListJobRuns": {"jobRuns": []}}),
        case("failure", {"ListJobRuns": NO_RIGHT}),
        application_id="a", **PACE, **CONN,
    ),
    "emr.EmrServerlessCreateApplicationTrigger": waits(
        case("past created", {"GetApplication": {"application": {"state": "STARTED"}}},
             {"payload": {"status": "success", "application_id": "a"}}, "it waits for what is over"),
        application_id="a", **PACE,
    ),
    "emr.EmrServerlessDeleteApplicationTrigger": waits(application_id="a"),
    "emr.EmrServerlessJobSensorTrigger": runs(
        "emr-serverless",
        case("success", {"GetJobRun": {"jobRun": {"state": "SUCCESS"}}}),
        case("failure", {"GetJobRun": {"jobRun": {"state": "FAILED"}}}),
        application_id="a", job_run_id="j", target_states={"SUCCESS"},
    ),
    "emr.EmrServerlessSessionTrigger": waits(application_id="a", session_id="s"),
    "emr.EmrServerlessStartApplicationTrigger": waits(application_id="a"),
    "emr.EmrServerlessStartJobTrigger": runs(
        "emr-serverless",
        case("success", {"GetJobRun": {"jobRun": {"state": "SUCCESS"}}}),
        case("failure", {"GetJobRun": {"jobRun": {"state": "FAILED"}}}),
        application_id="a", job_id="j",
    ),
    "emr.EmrServerlessStopApplicationTrigger": waits(application_id="a"),
    "emr.EmrServerlessStopSessionTrigger": waits(application_id="a", session_id="s"),
    "emr.EmrStepSensorTrigger": waits(job_flow_id="f", step_id="s"),
    "emr.EmrTerminateJobFlowTrigger": waits(job_flow_id="f"),
    "glue.GlueCatalogPartitionTrigger": runs(
        "glue",
        case("success", {"GetPartitions": {"Partitions": [{"Values": ["1"]}]}}),
        case("failure", {"GetPartitions": NO_RIGHT}),
        database_name="d", table_name="t", expression="ds='1'", waiter_delay=1,
    ),
    "glue.GlueDataQualityRuleRecommendationRunCompleteTrigger": waits(recommendation_run_id="r"),
    "glue.GlueDataQualityRuleSetEvaluationRunCompleteTrigger": waits(evaluation_run_id="r"),
    "glue.GlueJobCompleteTrigger": waits(
        case("expired", {"GetJobRun": {"JobRun": {"JobRunState": "EXPIRED"}}}, gap=True),
        job_name="j", run_id="r", **PACE,
    ),
    "glue_crawler.GlueCrawlerCompleteTrigger": runs(
        "glue", case("success", _crawler("SUCCEEDED")), case("failure", _crawler("FAILED")), crawler_name="c"
    ),
    "glue_databrew.GlueDataBrewJobCompleteTrigger": waits(
        case("failed", {"DescribeJobRun": {"State": "FAILED"}}, failed("run_id", "r"), "FAILED is success"),
        job_name="j", run_id="r",
    ),
    "kinesis.KinesisTrigger": runs(
        "kinesis",
        case("success", {
            "ListShards": {"Shards": [{"ShardId": "s-0", "SequenceNumberRange": {"StartingSequenceNumber": "0"}}]},
            "GetShardIterator": {"ShardIterator": "i-0"},
            "GetRecords": [{"Records": [RECORD], "NextShardIterator": "i-1", "MillisBehindLatest": 0},
                           {"Records": [], "NextShardIterator": "i-1", "MillisBehindLatest": 0}]}),
        case("failure", {"ListShards": {"!": "ResourceNotFoundException"}}),
        stream_name="s", shard_iterator_type="TRIM_HORIZON",
    ),
    "kinesis_analytics.KinesisAnalyticsV2ApplicationOperationCompleteTrigger": waits(
        application_name="a", waiter_name="application_stop_complete"
    ),
    "lambda_function.LambdaCreateFunctionCompleteTrigger": waits(function_name="f", function_arn=ARN),
    "mwaa.MwaaDagRunCompletedTrigger": runs(
        "mwaa",
        case("success", {"InvokeRestApi": {"RestApiResponse": {"state": "success"}, "RestApiStatusCode": 200}}),
        case("failure", {"InvokeRestApi": {"RestApiResponse": {"state": "failed"}, "RestApiStatusCode": 200}}),
        external_env_name="env", external_dag_id="d", external_dag_run_id="r", success_states={"success"},
    ),
    "mwaa.MwaaTaskCompletedTrigger": runs(
        "mwaa",
        case("success", {"InvokeRestApi": {"RestApiResponse": {"state": "success"}, "RestApiStatusCode": 200}}),
        case("failure", {"InvokeRestApi": {"RestApiResponse": {"state": "failed"}, "RestApiStatusCode": 200}}),
        external_env_name="env", external_dag_id="d", external_dag_run_id="r", external_task_id="t",
    ),
    "neptune.NeptuneClusterAvailableTrigger": waits(db_cluster_id="n"),
    "neptune.NeptuneClusterInstancesAvailableTrigger": waits(db_cluster_id="n"),
    "neptune.NeptuneClusterStoppedTrigger": waits(db_cluster_id="n"),
    "neptune_analytics.NeptuneGraphAvailableTrigger": waits(graph_id="g"),
    "neptune_analytics.NeptuneGraphDeletedTrigger": waits(graph_id="g"),
    "neptune_analytics.NeptuneGraphPrivateEndpointAvailableTrigger": waits(graph_id="g", vpc_id="v"),
    "neptune_analytics.NeptuneGraphPrivateEndpointDeletedTrigger": waits(graph_id="g", vpc_id="v", endpoint_id="e"),
    "neptune_analytics.NeptuneImportTaskCancelledTrigger": waits(task_identifier="t"),
    "neptune_analytics.NeptuneImportTaskCompleteTrigger": waits(import_task_id="t"),
    "opensearch_serverless.OpenSearchServerlessCollectionActiveTrigger": waits(collection_name="logs"),
    "quicksight.QuickSightIngestionCompletedTrigger": waits(data_set_id="d", ingestion_id="i", aws_account_id=ACCOUNT),
    "rds.RdsDbAvailableTrigger": waits(**_RDS, response=_RDS_ANSWER, db_type="instance"),
    "rds.RdsDbDeletedTrigger": waits(**_RDS, response=_RDS_ANSWER, db_type="cluster"),
    "rds.RdsDbStoppedTrigger": waits(
        case("deleting", {"DescribeDBClusters": {"DBClusters": [{"Status": "deleting"}]}}, gap=True),
        **_RDS, response={}, db_type="cluster",
    ),
    "redshift_cluster.RedshiftClusterSettledTrigger": waits(cluster_identifier="dwh"),
    "redshift_cluster.RedshiftClusterTrigger": runs(
        "redshift",
        case("success", _redshift("available")),
        case("failure", {"DescribeClusters": {"!": "AccessDenied"}}),
        cluster_identifier="dwh", target_status="available", poke_interval=1, **CONN,
    ),
    "redshift_cluster.RedshiftCreateClusterSnapshotTrigger": waits(
        case("an old one has failed", {"DescribeClusterSnapshots": {"Snapshots": [
            {"Status": "available"}, {"Status": "failed"}]}},
            {"payload": {"status": "success", "value": None}}, "an older snapshot that failed ends it"),
        cluster_identifier="dwh",
    ),
    "redshift_cluster.RedshiftCreateClusterTrigger": waits(cluster_identifier="dwh"),
    "redshift_cluster.RedshiftDeleteClusterTrigger": waits(cluster_identifier="dwh"),
    "redshift_cluster.RedshiftPauseClusterTrigger": waits(cluster_identifier="dwh"),
    "redshift_cluster.RedshiftResumeClusterTrigger": waits(cluster_identifier="dwh"),
    "redshift_data.RedshiftDataTrigger": runs(
        "redshift-data",
        case("success", {"DescribeStatement": {"Id": "s-1", "Status": "FINISHED"}}),
        case("failure", {"DescribeStatement": {"Id": "s-1", "Status": "FAILED", "Error": "syntax", "QueryString": ""}}),
        case("aborted", {"DescribeStatement": {"Id": "s-1", "Status": "ABORTED", "QueryString": ""}}),
        **_STATEMENT,
    ),
    "s3.S3KeyTrigger": runs(
        "s3",
        case("success", _OBJECT),
        case("failure", {}),
        bucket_name="bucket", bucket_key="k/*.csv", wildcard_match=True,
    ),
    "s3.S3KeysUnchangedTrigger": runs(
        "s3",
        case("success", _OBJECT),
        case("failure", {}),
        bucket_name="bucket", prefix="k/", inactivity_period=1, previous_objects={"k/1.csv"}, inactivity_seconds=2,
        last_activity_time=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    ),
    "sagemaker.SageMakerPipelineTrigger": runs(
        "sagemaker",
        case("success", {"DescribePipelineExecution": {"PipelineExecutionStatus": "Succeeded"}}),
        case("failure", {"DescribePipelineExecution": {"PipelineExecutionStatus": "Failed"}}),
        case("completed with failures", {
            "DescribePipelineExecution": {"PipelineExecutionStatus": "CompletedWithFailures"},
            "ListPipelineExecutionSteps": {"PipelineExecutionSteps": []}}),
        waiter_type=1, pipeline_execution_arn=ARN, **PACE, **CONN,
    ),
    "sagemaker.SageMakerTrigger": runs(
        "sagemaker",
        case("success", {"DescribeTrainingJob": {"TrainingJobStatus": "Completed"}}),
        case("failure", {"DescribeTrainingJob": {"TrainingJobStatus": "Failed", "FailureReason": "why"}}),
        case("stopped", {"DescribeTrainingJob": {"TrainingJobStatus": "Stopped"}}),
        job_name="j", job_type="training",
    ),
    "sagemaker_unified_studio_notebook.SageMakerUnifiedStudioNotebookTrigger": waits(
        notebook_run_id="n", domain_identifier="d", owning_project_identifier="p",
        timeout_configuration={"runTimeoutInMinutes": 60},
    ),
    "sqs.SqsSensorTrigger": runs(
        "sqs",
        case("success", {"ReceiveMessage": [{"Messages": [MESSAGE]}, {}],
                         "DeleteMessageBatch": {"Successful": [{"Id": "m-1"}], "Failed": []}}),
        case("failure", {"ReceiveMessage": NO_RIGHT}),
        sqs_queue="https://sqs.us-east-1.amazonaws.com/123456789012/q", waiter_delay=1,
    ),
    "ssm.SsmRunCommandTrigger": runs(
        "ssm",
        case("success", _ssm("Success", 0)),
        case("failure", _ssm("Failed", 3, "Failed")),
        case("undeliverable", _ssm("Undeliverable", -1, "Failed")),
        command_id=COMMAND, **PACE,
    ),
    "step_function.StepFunctionsExecutionCompleteTrigger": waits(
        case("timed out", {"DescribeExecution": {"status": "TIMED_OUT"}}, gap=True), execution_arn=ARN, **PACE
    ),
}  # fmt: skip
