"""What of the settings' sources is doubtful, though usable: said by the doctor, and by the daemon at its start."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from triggerd.airflow_connections import airflow_connections
from triggerd.cli.config import secret_for_all
from triggerd.daemon.finding import Finding


def doubts(config_file: Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Secrets that all can read, and what of Airflow's connections is not used. Call it after `load`, which checks."""
    if config_file is not None and (key := secret_for_all(config_file)):
        yield Finding("warn", "config file", f"everybody can read {key} in {config_file}", "chmod o-r")
    for note in airflow_connections(environ)[1]:
        yield Finding("warn", "connections", note)
