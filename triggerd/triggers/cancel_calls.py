"""Ready-made cancel calls: what stops the work behind a wait, by the operation that the wait polls.

Only work is stopped (a run, a query, a task), never infrastructure: no cluster, no session, no schedule.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

REASON = "cancelled in triggerd"
"""What AWS shows as the reason, where it takes one."""

# service: {polled operation: (the client's method, its parameters)}. A parameter is written as
#     Name            the wait's parameter of the same name
#     Name?           the same, left out where the wait has none
#     Name=Other      the wait's parameter Other
#     Name=[Other]    a list of that one
#     Name=Other*     the wait's parameter Other is a list: one call for each
#     Name!           REASON
# Where the wait lacks a parameter that is not marked with ?, there is no ready-made call.
CANCEL_CALLS: dict[str, dict[str, tuple[str, str]]] = {
    "amplify": {"GetJob": ("stop_job", "appId branchName jobId")},
    "athena": {
        "GetQueryExecution": ("stop_query_execution", "QueryExecutionId"),
        "GetCalculationExecution": ("stop_calculation_execution", "CalculationExecutionId"),
        "GetCalculationExecutionStatus": ("stop_calculation_execution", "CalculationExecutionId"),
    },
    "backup": {"DescribeBackupJob": ("stop_backup_job", "BackupJobId")},
    "batch": {"DescribeJobs": ("terminate_job", "jobId=jobs* reason!")},
    "bedrock": {
        "GetEvaluationJob": ("stop_evaluation_job", "jobIdentifier"),
        "GetModelCustomizationJob": ("stop_model_customization_job", "jobIdentifier"),
        "GetModelInvocationJob": ("stop_model_invocation_job", "jobIdentifier"),
    },
    "bedrock-agent": {"GetIngestionJob": ("stop_ingestion_job", "knowledgeBaseId dataSourceId ingestionJobId")},
    "cloudformation": {"DescribeStackSetOperation": ("stop_stack_set_operation", "StackSetName OperationId CallAs?")},
    "cloudtrail": {
        "DescribeQuery": ("cancel_query", "QueryId EventDataStoreOwnerAccountId?"),
        "GetImport": ("stop_import", "ImportId"),
    },
    "codebuild": {
        "BatchGetBuilds": ("stop_build", "id=ids*"),
        "BatchGetBuildBatches": ("stop_build_batch", "id=ids*"),
    },
    "codepipeline": {
        "GetPipelineExecution": ("stop_pipeline_execution", "pipelineName pipelineExecutionId reason!"),
    },
    "comprehend": {
        "DescribePiiEntitiesDetectionJob": ("stop_pii_entities_detection_job", "JobId"),
        "DescribeDocumentClassifier": ("stop_training_document_classifier", "DocumentClassifierArn"),
        "DescribeDominantLanguageDetectionJob": ("stop_dominant_language_detection_job", "JobId"),
        "DescribeEntitiesDetectionJob": ("stop_entities_detection_job", "JobId"),
        "DescribeEntityRecognizer": ("stop_training_entity_recognizer", "EntityRecognizerArn"),
        "DescribeEventsDetectionJob": ("stop_events_detection_job", "JobId"),
        "DescribeKeyPhrasesDetectionJob": ("stop_key_phrases_detection_job", "JobId"),
        "DescribeSentimentDetectionJob": ("stop_sentiment_detection_job", "JobId"),
        "DescribeTargetedSentimentDetectionJob": ("stop_targeted_sentiment_detection_job", "JobId"),
    },
    "databrew": {"DescribeJobRun": ("stop_job_run", "Name RunId")},
    "dataexchange": {"GetJob": ("cancel_job", "JobId")},
    "datasync": {"DescribeTaskExecution": ("cancel_task_execution", "TaskExecutionArn")},
    "datazone": {"GetNotebookRun": ("stop_notebook_run", "domainIdentifier identifier")},
    "ecs": {"DescribeTasks": ("stop_task", "cluster? task=tasks* reason!")},
    "emr": {
        "DescribeStep": ("cancel_steps", "ClusterId StepIds=[StepId]"),
        "ListSteps": ("cancel_steps", "ClusterId StepIds"),
        "DescribeNotebookExecution": ("stop_notebook_execution", "NotebookExecutionId"),
    },
    "emr-containers": {"DescribeJobRun": ("cancel_job_run", "id virtualClusterId")},
    "emr-serverless": {"GetJobRun": ("cancel_job_run", "applicationId jobRunId")},
    "fis": {"GetExperiment": ("stop_experiment", "id")},
    "forecast": {
        "DescribeAutoPredictor": ("stop_resource", "ResourceArn=PredictorArn"),
        "DescribeDatasetImportJob": ("stop_resource", "ResourceArn=DatasetImportJobArn"),
        "DescribeForecast": ("stop_resource", "ResourceArn=ForecastArn"),
        "DescribeForecastExportJob": ("stop_resource", "ResourceArn=ForecastExportJobArn"),
    },
    "fsx": {"DescribeDataRepositoryTasks": ("cancel_data_repository_task", "TaskId=TaskIds*")},
    "glue": {
        "GetJobRun": ("batch_stop_job_run", "JobName JobRunIds=[RunId]"),  # there is no StopJobRun
        "GetCrawler": ("stop_crawler", "Name"),
        "GetWorkflowRun": ("stop_workflow_run", "Name RunId"),
        "GetStatement": ("cancel_statement", "SessionId Id"),
        "GetMLTaskRun": ("cancel_ml_task_run", "TransformId TaskRunId"),
        "GetDataQualityRulesetEvaluationRun": ("cancel_data_quality_ruleset_evaluation_run", "RunId"),
        "GetDataQualityRuleRecommendationRun": ("cancel_data_quality_rule_recommendation_run", "RunId"),
    },
    "imagebuilder": {"GetImage": ("cancel_image_creation", "imageBuildVersionArn")},
    "inspector2": {"GetFindingsReportStatus": ("cancel_findings_report", "reportId")},
    "lambda": {"GetDurableExecution": ("stop_durable_execution", "DurableExecutionArn")},
    "logs": {
        "DescribeExportTasks": ("cancel_export_task", "taskId"),
        "GetQueryResults": ("stop_query", "queryId"),
    },
    "mediaconvert": {"GetJob": ("cancel_job", "Id")},
    "neptune-graph": {
        "GetImportTask": ("cancel_import_task", "taskIdentifier"),
        "GetExportTask": ("cancel_export_task", "taskIdentifier"),
    },
    "omics": {"GetRun": ("cancel_run", "id")},
    "personalize": {"DescribeSolutionVersion": ("stop_solution_version_creation", "solutionVersionArn")},
    "quicksight": {"DescribeIngestion": ("cancel_ingestion", "AwsAccountId DataSetId IngestionId")},
    "rds": {"DescribeExportTasks": ("cancel_export_task", "ExportTaskIdentifier")},
    "redshift-data": {"DescribeStatement": ("cancel_statement", "Id")},
    "sagemaker": {
        "DescribeTrainingJob": ("stop_training_job", "TrainingJobName"),
        "DescribeProcessingJob": ("stop_processing_job", "ProcessingJobName"),
        "DescribeTransformJob": ("stop_transform_job", "TransformJobName"),
        "DescribeHyperParameterTuningJob": ("stop_hyper_parameter_tuning_job", "HyperParameterTuningJobName"),
        "DescribePipelineExecution": ("stop_pipeline_execution", "PipelineExecutionArn"),
        "DescribeAutoMLJob": ("stop_auto_ml_job", "AutoMLJobName"),
        "DescribeAutoMLJobV2": ("stop_auto_ml_job", "AutoMLJobName"),
        "DescribeCompilationJob": ("stop_compilation_job", "CompilationJobName"),
        "DescribeLabelingJob": ("stop_labeling_job", "LabelingJobName"),
        "DescribeOptimizationJob": ("stop_optimization_job", "OptimizationJobName"),
        "DescribeEdgePackagingJob": ("stop_edge_packaging_job", "EdgePackagingJobName"),
        "DescribeInferenceRecommendationsJob": ("stop_inference_recommendations_job", "JobName"),
    },
    "ssm": {
        "GetCommandInvocation": ("cancel_command", "CommandId InstanceIds=[InstanceId]"),
        "ListCommands": ("cancel_command", "CommandId"),
        "GetAutomationExecution": ("stop_automation_execution", "AutomationExecutionId"),
        "GetMaintenanceWindowExecution": ("cancel_maintenance_window_execution", "WindowExecutionId"),
    },
    "stepfunctions": {"DescribeExecution": ("stop_execution", "executionArn cause!")},
    "translate": {"DescribeTextTranslationJob": ("stop_text_translation_job", "JobId")},
}

OVER_CODES = frozenset({
    "CrawlerNotRunningException", "CrawlerStoppingException", "DataRepositoryTaskEnded",
    "DuplicatedStopRequestException", "InactiveQueryException", "InvalidExportTaskStateFault",
    "PipelineExecutionNotStoppableException",
})  # fmt: skip
"""Errors of AWS which say that there is nothing left to stop."""

# The same, of services that say it by a ValidationException.
_OVER_MESSAGES = (
    "is in status Stop", "is in status Completed", "is in status Failed",  # SageMaker
    "already in FINISHED state", "already in ABORTED state", "already in FAILED state",  # Redshift Data
    "is not in a cancellable state",  # EMR on EKS
)  # fmt: skip


class CancelCall(NamedTuple):
    """One call of AWS: the client's method and its parameters."""

    method: str
    parameters: Mapping[str, Any]


def ready_made(service: str, operation: str, arguments: Mapping[str, Any]) -> list[CancelCall]:
    """The calls that stop what a wait with these arguments polls; empty where there is nothing ready-made."""
    method, parameters = CANCEL_CALLS.get(service, {}).get(operation, ("", ""))
    calls: list[dict[str, Any]] = [{}] if method else []
    for parameter in parameters.split():
        name, _, other = parameter.rstrip("?!").partition("=")
        value = REASON if parameter.endswith("!") else arguments.get((other or name).strip("[]*"))
        if value is None and parameter.endswith("?"):
            continue
        if value is None:
            return []
        values = value if other.endswith("*") else [[value] if other.startswith("[") else value]
        calls = [{**call, name: each} for call in calls for each in values]
    return [CancelCall(method, call) for call in calls]


def is_over(error: Exception) -> bool:
    """Whether AWS says that there is nothing left to stop."""
    response = getattr(error, "response", None)
    found = response.get("Error", {}) if isinstance(response, Mapping) else {}
    return found.get("Code") in OVER_CODES or any(text in found.get("Message", "") for text in _OVER_MESSAGES)


def refusals(answer: Mapping[str, Any]) -> Iterator[str]:
    """What an answer that is no error says was not stopped all the same."""
    for error in answer.get("Errors") or ():  # Glue BatchStopJobRun
        detail = error.get("ErrorDetail", {})
        yield f"{error.get('JobRunId')}: {detail.get('ErrorCode')}: {detail.get('ErrorMessage')}"
    for step in answer.get("CancelStepsInfoList") or ():  # EMR
        if step.get("Status") == "FAILED":
            yield f"{step.get('StepId')}: {step.get('Reason')}"
    if answer.get("Status") is False or answer.get("success") is False:  # Redshift Data, CloudWatch Logs
        yield "AWS did not stop it"
