"""Decisions in the waiters of services, and of waits, that Airflow's provider lacks."""

import pytest
from botocore import xform_name
from botocore.loaders import Loader

from triggerd.aws.waiters import ServiceModels, Waiters, compile_waiter

MODELS = ServiceModels(Loader())


def _decide(service: str, name: str, response: dict[str, object]) -> str | None:
    found = Waiters((), MODELS).find(service, name).acceptors.decide(response)
    return found.state if found else None


def _error(code: str) -> dict[str, object]:
    return {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 400}}


def _workflow(status: str, **statistics: int) -> dict[str, object]:
    return {"Run": {"Status": status, "Statistics": statistics}}


def _stopped(reason: str) -> dict[str, object]:
    return {"ReplicationTasks": [{"Status": "stopped", "StopReason": f"Stop Reason {reason}"}]}


def _campaign(update: str) -> dict[str, object]:
    return {"campaign": {"status": "ACTIVE", "latestCampaignUpdate": {"status": update}}}


@pytest.mark.parametrize(("service", "name"), [
    ("datasync", "task_execution_complete"),
    ("redshift-serverless", "workgroup_available"), ("redshift-serverless", "snapshot_available"),
    ("codebuild", "build_complete"), ("codebuild", "build_batch_complete"),
    ("codepipeline", "pipeline_execution_complete"),
    ("mediaconvert", "job_complete"),
    ("textract", "document_analysis_complete"), ("textract", "document_text_detection_complete"),
    ("transcribe", "transcription_job_completed"),  # botocore's own knows every final status
    ("cloudformation", "change_set_create_complete"), ("cloudformation", "change_set_execute_complete"),
    ("ssm", "automation_execution_complete"),
    ("emr-serverless", "job_complete"),
    ("lambda", "function_updated_v2"), ("lambda", "provisioned_concurrency_ready"),
    ("opensearch", "domain_active"),
    ("elasticache", "replication_group_available"), ("elasticache", "serverless_cache_available"),
    ("kafka", "cluster_active"),
    ("appflow", "run_complete"),
])  # fmt: skip
def test_services_that_data_and_ops_teams_wait_on_have_their_waits(service: str, name: str) -> None:
    assert Waiters((), MODELS).find(service, name).label


@pytest.mark.parametrize(("service", "name", "response", "state"), [
    # done in part is not done
    ("textract", "document_analysis_complete", {"JobStatus": "PARTIAL_SUCCESS"}, "failure"),
    ("translate", "text_translation_job_complete",
     {"TextTranslationJobProperties": {"JobStatus": "COMPLETED_WITH_ERROR"}}, "failure"),
    ("backup", "backup_job_complete", {"State": "PARTIAL"}, "failure"),
    ("timestream-write", "batch_load_task_complete",
     {"BatchLoadTaskDescription": {"TaskStatus": "PROGRESS_STOPPED"}}, "failure"),
    # done by nobody
    ("ssm", "maintenance_window_execution_complete", {"Status": "SKIPPED_OVERLAPPING"}, "failure"),
    ("codepipeline", "pipeline_execution_complete", {"pipelineExecution": {"status": "Superseded"}}, "failure"),
    # waits for people, not failed
    ("ssm", "automation_execution_complete",
     {"AutomationExecution": {"AutomationExecutionStatus": "PendingApproval"}}, "retry"),
    ("ssm", "automation_execution_complete",
     {"AutomationExecution": {"AutomationExecutionStatus": "Rejected"}}, "failure"),
    ("s3control", "job_complete", {"Job": {"Status": "Suspended"}}, "retry"),
    # one of several, and one that is not known
    ("codebuild", "build_complete",
     {"builds": [{"buildStatus": "SUCCEEDED"}, {"buildStatus": "IN_PROGRESS"}], "buildsNotFound": []}, "retry"),
    ("codebuild", "build_complete", {"builds": [{"buildStatus": "SUCCEEDED"}]}, "success"),
    ("codebuild", "build_complete",
     {"builds": [{"buildStatus": "SUCCEEDED"}], "buildsNotFound": ["etl:1"]}, "failure"),
    ("codebuild", "build_batch_complete", {"buildBatches": [], "buildBatchesNotFound": ["etl:1"]}, "failure"),
    ("ecs", "service_deployment_successful",
     {"serviceDeployments": [], "failures": [{"reason": "MISSING"}]}, "failure"),
    # rolled back as soon as that begins; one that is asked to stop is not over
    ("ecs", "service_deployment_successful", {"serviceDeployments": [{"status": "ROLLBACK_IN_PROGRESS"}]}, "failure"),
    ("ecs", "service_deployment_successful", {"serviceDeployments": [{"status": "STOP_REQUESTED"}]}, "retry"),
    # a replication task that begins is on its way to 'stopped', which may have another reason than its end
    ("dms", "replication_task_complete", {"ReplicationTasks": [{"Status": "starting"}]}, "retry"),
    ("dms", "replication_task_complete", {"ReplicationTasks": [{"Status": "ready"}]}, "retry"),
    ("dms", "replication_task_complete", _stopped("FULL_LOAD_ONLY_FINISHED"), "success"),
    ("dms", "replication_task_complete", _stopped("NORMAL"), "success"),
    ("dms", "replication_task_complete", {"ReplicationTasks": [{"Status": "stopped"}]}, "success"),
    ("dms", "replication_task_complete", _stopped("FATAL_ERROR"), "failure"),
    ("dms", "replication_task_complete", _stopped("STOPPED_DUE_TO_LOW_DISK"), "failure"),
    # AWS's COMPLETED with actions that failed
    ("glue", "workflow_run_complete", _workflow("COMPLETED", TotalActions=3, SucceededActions=3), "success"),
    ("glue", "workflow_run_complete", _workflow("COMPLETED", TotalActions=3, FailedActions=1), "failure"),
    ("glue", "workflow_run_complete", _workflow("COMPLETED", FailedActions=0, TimeoutActions=1), "failure"),
    ("glue", "workflow_run_complete", _workflow("RUNNING", FailedActions=1), "retry"),
    # code that raised: Glue writes small what its model writes large
    ("glue", "statement_complete", {"Statement": {"State": "AVAILABLE", "Output": {"Status": "ok"}}}, "success"),
    ("glue", "statement_complete", {"Statement": {"State": "AVAILABLE", "Output": {"Status": "AVAILABLE"}}}, "success"),
    ("glue", "statement_complete", {"Statement": {"State": "AVAILABLE", "Output": {"Status": "error"}}}, "failure"),
    ("glue", "statement_complete", {"Statement": {"State": "AVAILABLE", "Output": {"Status": "ERROR"}}}, "failure"),
    ("glue", "statement_complete", {"Statement": {"State": "AVAILABLE"}}, "success"),
    ("glue", "statement_complete", {"Statement": {"State": "RUNNING"}}, "retry"),
    # the status from before the call
    ("cloudformation", "change_set_execute_complete", {"ExecutionStatus": "AVAILABLE"}, "retry"),
    ("cloudformation", "change_set_execute_complete", {"ExecutionStatus": "OBSOLETE"}, "failure"),
    ("lambda", "event_source_mapping_enabled", {"State": "Disabled"}, "retry"),
    ("lambda", "event_source_mapping_disabled", {"State": "Enabled"}, "retry"),
    ("osis", "pipeline_stopped", {"Pipeline": {"Status": "ACTIVE"}}, "retry"),
    ("apprunner", "service_running", {"Service": {"Status": "PAUSED"}}, "retry"),
    ("efs", "mount_target_deleted", {"MountTargets": [{"LifeCycleState": "error"}]}, "retry"),
    ("efs", "file_system_deleted", {"FileSystems": [{"LifeCycleState": "error"}]}, "retry"),
    # the campaign serves as before, while its update is under way or failed
    ("personalize", "campaign_active", {"campaign": {"status": "ACTIVE"}}, "success"),
    ("personalize", "campaign_active", _campaign("ACTIVE"), "success"),
    ("personalize", "campaign_active", _campaign("CREATE PENDING"), "retry"),
    ("personalize", "campaign_active", _campaign("CREATE IN_PROGRESS"), "retry"),
    ("personalize", "campaign_active", _campaign("CREATE FAILED"), "failure"),
    # not known yet, right after the start
    ("lambda", "durable_execution_complete", _error("ResourceNotFoundException"), "retry"),
    ("ecr", "image_scan_complete", _error("ScanNotFoundException"), "retry"),
    # gone
    ("redshift-serverless", "workgroup_deleted", {"workgroup": {"status": "AVAILABLE"}}, "retry"),
    ("redshift-serverless", "workgroup_deleted", _error("ResourceNotFoundException"), "success"),
    ("opensearch", "domain_deleted", _error("ResourceNotFoundException"), "success"),
    ("opensearch", "domain_active",
     {"DomainStatus": {"DomainProcessingStatus": "Active", "Deleted": True}}, "failure"),
    # an answer without the processing status, which came to the service late
    ("opensearch", "domain_active", {"DomainStatus": {"Created": True, "Processing": False}}, "success"),
    ("opensearch", "domain_active", {"DomainStatus": {"Created": True, "Processing": True}}, None),
    ("opensearch", "domain_active", {"DomainStatus": {"Created": True, "UpgradeProcessing": True}}, None),
    ("opensearch", "domain_active", {"DomainStatus": {"Created": False, "Processing": False}}, None),
    ("opensearch", "domain_active",
     {"DomainStatus": {"DomainProcessingStatus": "Modifying", "Created": True, "Processing": False}}, "retry"),
    ("kafka", "cluster_deleted", _error("NotFoundException"), "success"),
    ("efs", "mount_target_deleted", _error("MountTargetNotFound"), "success"),
    # gone, all that a list is asked for
    ("efs", "mount_target_deleted", {"MountTargets": []}, "success"),
    ("efs", "mount_target_deleted", _error("FileSystemNotFound"), "success"),
    ("efs", "file_system_deleted", {"FileSystems": []}, "success"),
    # AWS's documentation writes large what AWS answers small
    ("elasticache", "serverless_cache_available", {"ServerlessCaches": [{"Status": "available"}]}, "success"),
    ("elasticache", "serverless_cache_available", {"ServerlessCaches": [{"Status": "AVAILABLE"}]}, "success"),
    # what botocore's waiters wait for to the end
    ("cloudformation", "change_set_create_complete", {"Status": "DELETE_COMPLETE"}, "failure"),
    ("elasticache", "replication_group_available", {"ReplicationGroups": [{"Status": "create-failed"}]}, "failure"),
    ("ecr", "image_scan_complete", {"imageScanStatus": {"status": "UNSUPPORTED_IMAGE"}}, "failure"),
    ("ecr", "image_scan_complete", {"imageScanStatus": {"status": "ACTIVE"}}, "success"),
    ("omics", "run_completed", {"status": "CANCELLED"}, "failure"),
    ("healthlake", "fhir_import_job_completed", {"ImportJobProperties": {"JobStatus": "CANCEL_COMPLETED"}}, "failure"),
])  # fmt: skip
def test_what_is_final_ends_the_wait_and_what_is_on_its_way_does_not(
    service: str, name: str, response: dict[str, object], state: str | None
) -> None:
    assert _decide(service, name, response) == state


@pytest.mark.parametrize(("service", "names"), [
    ("cloudformation", "change_set_create_complete"),
    ("ecr", "image_scan_complete"),
    ("elasticache", "replication_group_available"),
    ("healthlake", "fhir_import_job_completed"),
    ("omics", "run_completed task_completed"),
])  # fmt: skip
def test_where_botocores_waiter_decides_ours_of_the_same_name_says_the_same(service: str, names: str) -> None:
    for name in names.split():
        ours = Waiters((), MODELS).find(service, name)
        raw = next(raw for known, raw in MODELS.waiters(service).items() if xform_name(known) == name)
        theirs = compile_waiter(MODELS, service, name, raw, source="botocore", file=None)
        assert (ours.source, ours.operation) == ("shipped", theirs.operation)
        stated = {(rule.argument, rule.expected): rule.state for rule in ours.acceptors.rules}
        for rule in theirs.acceptors.rules:
            if isinstance(rule.expected, str) and rule.matcher != "error":
                assert stated[(rule.argument, rule.expected)] == rule.state, f"{ours.label}: {rule}"
