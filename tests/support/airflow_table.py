"""The table of Airflow's triggers in docs/from-airflow.md, as the alias table has them.

`python -m tests.support.airflow_table` writes it anew, after a change of `triggerd/airflow/aliases.json`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from triggerd.data import data_path

PAGE = data_path("docs") / "from-airflow.md"
BEGIN, END = "<!-- the table: python -m tests.support.airflow_table -->\n", "<!-- the table ends -->\n"


def table() -> str:
    """The lines of the table."""
    rows = json.loads((data_path("triggerd") / "airflow" / "aliases.json").read_text())
    head = ["| Airflow, `airflow.providers.amazon.aws.triggers.` | triggerd |", "|---|---|"]
    return "\n".join([*head, *(f"| `{name}` | {_here(row)} |" for name, row in sorted(rows.items()))]) + "\n"


def _here(row: Mapping[str, Any]) -> str:
    if "refused" in row:
        return "refused, see above"
    if "runs" in row:
        return f"`triggerd.triggers.{row['runs']}`"
    waits = [row["waits"]] if "waits" in row else [case["waits"] for case in row["cases"]]
    return "`AwsWaiterTrigger`: " + " or ".join(waits)


def written() -> str:
    """What the page has between the marks."""
    _, _, rest = PAGE.read_text().partition(BEGIN)
    return rest.partition(END)[0]


def classes_of_differences() -> Iterator[str]:
    """The first column of the page's last table."""
    for line in PAGE.read_text().partition("## Where Airflow's triggers are wrong")[2].splitlines():
        if line.startswith("| ") and not line.startswith("| trigger |"):
            yield line.split("|")[1].strip()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
