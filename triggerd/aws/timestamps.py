"""Times in AWS's answers: a page of a thousand S3 keys has as many, and botocore's way takes 33 us each on the loop."""

from datetime import datetime
from typing import Any

from botocore.utils import parse_timestamp as botocores


def parse_timestamp(value: Any) -> datetime:
    """As botocore's, for whatever it takes; ISO 8601 with an offset, as most services write it, by Python itself."""
    if isinstance(value, str) and value[10:11] == "T":
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            if found.tzinfo is not None:
                return found
    parsed: datetime = botocores(value)
    return parsed
