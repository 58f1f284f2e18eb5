"""Times are what botocore makes of them, whichever way they are read."""

from datetime import datetime, timedelta, timezone

import pytest
from botocore.utils import parse_timestamp as botocores
from hypothesis import given
from hypothesis import strategies as st

from triggerd.aws.timestamps import parse_timestamp

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=OFFSETS), st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_an_instant_with_an_offset_is_read_as_botocore_reads_it(instant: datetime, precision: str) -> None:
    text = instant.isoformat(timespec=precision)
    assert parse_timestamp(text) == botocores(text)


@pytest.mark.parametrize("value", [
    "2026-11-24T20:00:00.000Z", "2026-11-24T20:00:00Z", "2026-11-24T20:00:00+0100", "20261124T200000Z", "2026-11-24",
    "2026-11-24T20:00:00", "Tue, 24 Nov 2026 20:00:00 GMT", 1764014400, 1764014400.5, "1764014400", "1764014400.25",
])  # fmt: skip
def test_whatever_else_aws_writes_is_read_as_botocore_reads_it(value: object) -> None:
    found, theirs = parse_timestamp(value), botocores(value)
    assert found == theirs
    assert found.utcoffset() == theirs.utcoffset()


@pytest.mark.parametrize("value", ["2026-11-24Tlater", "", "soon"])
def test_what_is_no_time_is_refused_as_botocore_refuses_it(value: str) -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        parse_timestamp(value)
