"""The trigger that waits for a notebook run of SageMaker Unified Studio, which is Amazon DataZone's API."""

import sys
from collections.abc import Mapping
from math import ceil
from typing import Any

from triggerd.triggers.arguments import changed, mapping, number, text
from triggerd.triggers.aws import AwsWaiterTrigger

_HALF_A_DAY_MIN = 12 * 60


class SageMakerUnifiedStudioNotebookTrigger(AwsWaiterTrigger):
    """Waits until a notebook run has succeeded.

    Fires ``{"status": "success", "notebook_run_id": ...}``, or ``{"status": "error", "message": ...,
    "notebook_run_id": ...}``.

    Args:
        owning_project_identifier: The project of the run; AWS does not ask for it.
        timeout_configuration: ``{"runTimeoutInMinutes": 720}``: the budget of time. None: 12 hours.
        delay: Seconds between polls.
    """

    failure_message: str = "the notebook run failed"

    def __init__(
        self,
        notebook_run_id: str,
        domain_identifier: str,
        owning_project_identifier: str | None = None,
        *,
        timeout_configuration: Mapping[str, float] | None = None,
        delay: float = 10,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        timeout = mapping("timeout_configuration", timeout_configuration or {})
        minutes = number("timeout_configuration: runTimeoutInMinutes", timeout.get("runTimeoutInMinutes"))
        arguments = {
            "domainIdentifier": text("domain_identifier", domain_identifier),
            "identifier": text("notebook_run_id", notebook_run_id),
        }
        super().__init__(
            "datazone", "notebook_run_complete", arguments, return_key="notebook_run_id", return_value=notebook_run_id,
            delay=delay, max_attempts=_attempts(minutes or _HALF_A_DAY_MIN, number("delay", delay) or 10),
            connection=connection, region=region,
        )  # fmt: skip
        self.notebook_run_id, self.domain_identifier = notebook_run_id, domain_identifier
        project = owning_project_identifier
        self.owning_project_identifier = project if project is None else text("owning_project_identifier", project)
        self.timeout_configuration = timeout or None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.datazone.SageMakerUnifiedStudioNotebookTrigger", changed(self)


def _attempts(minutes: float, delay: float) -> int:
    return ceil(min(minutes * 60 / delay, sys.maxsize))
