"""What Airflow writes for values that JSON has no word for, read without Airflow, and what hostile bytes get."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from triggerd.airflow.encoding import MAX_DEPTH, MAX_PARTS, decode

UTC = dt.UTC
# As Airflow 3.3.2's task runner sends them.
BERLIN = ["Europe/Berlin", "pendulum.tz.timezone.Timezone", 1, True]


def told(name: Any, data: Any, version: int = 1) -> dict[str, Any]:
    return {"__classname__": name, "__version__": version, "__data__": data}


def told_of_old(name: str, data: Any) -> dict[str, Any]:
    return {"__type": name, "__var": data}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (told("builtins.set", [1, 2]), {1, 2}),
        (told("builtins.frozenset", ["a"]), frozenset({"a"})),
        (told("builtins.tuple", [1, told("builtins.set", ["x"])]), (1, {"x"})),
        (
            told("datetime.datetime", {"timestamp": 1767323045.0, "tz": None}, 2),
            dt.datetime(2026, 1, 2, 3, 4, 5, 0, UTC),
        ),
        (
            told("pendulum.datetime.DateTime", {"timestamp": 1767308400.0, "tz": told("builtins.tuple", BERLIN)}, 2),
            dt.datetime(2026, 1, 1, 23, tzinfo=UTC),
        ),
        (
            told("datetime.datetime", {"timestamp": -0.5, "tz": "UTC"}),
            dt.datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC),
        ),
        (told("datetime.timedelta", 90.0, 2), dt.timedelta(seconds=90)),
        (told("datetime.date", "2026-01-01", 2), dt.date(2026, 1, 1)),
        (told("decimal.Decimal", 1.5), Decimal("1.5")),
        (told("uuid.UUID", "0-1"), "0-1"),
        (told_of_old("set", ["a"]), {"a"}),
        (told_of_old("tuple", [told_of_old("set", [])]), (set(),)),
        (told_of_old("datetime", 1767323045.0), dt.datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        (told_of_old("timedelta", 90.0), dt.timedelta(seconds=90)),
        (told_of_old("dict", {"a": told_of_old("set", ["b"])}), {"a": {"b"}}),
        ({"job": [{"ids": told("builtins.set", ["b"])}]}, {"job": [{"ids": {"b"}}]}),
        (9223372036854775807, 9223372036854775807),
        ({"a": {"b"}, "c": (1, b"x", None)}, {"a": {"b"}, "c": (1, b"x", None)}),
    ],
)
def test_a_value_comes_back_as_it_was_meant(written: Any, meant: Any) -> None:
    found = decode(written)
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"job": told("os.system", "rm")}, ["kwargs['job']", "'os.system'", "builtins.set"]),
        (told_of_old("dag", {}), ["'dag'"]),
        (told([], 1), ["no meaning"]),
        ({"ids": [told("builtins.set", {"a": 1})]}, ["kwargs['ids'][0]", "a list is expected"]),
        (told("builtins.set", [["unhashable"]]), ["no builtins.set"]),
        (told("datetime.datetime", {"timestamp": 1e300, "tz": None}), ["no datetime.datetime"]),
        (told("datetime.datetime", "yesterday"), ["a number is expected"]),
        (told("datetime.datetime", None), ["a number is expected"]),
        (told("datetime.timedelta", float("nan")), ["no datetime.timedelta"]),
        (told("datetime.timedelta", True), ["a number is expected"]),
        (told("datetime.date", 7), ["no datetime.date"]),
        (told("decimal.Decimal", "1" * 101), ["a number is expected"]),
        (told("decimal.Decimal", "x"), ["no decimal.Decimal"]),
        (told("uuid.UUID", 7), ["a text is expected"]),
        (told_of_old("dict", []), ["a dict is expected"]),
        (told("builtins.set", [*range(1_001)]), ["no texts"]),
        ([[]] * MAX_PARTS, ["more than 10,000"]),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(written: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are checked
        decode(written)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    "wrap", [lambda value: [value], lambda value: {"a": value}, lambda value: told("builtins.tuple", [value])]
)
def test_a_value_nested_too_deep_is_refused(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH + 2):
        value = wrap(value)
    with pytest.raises(ValueError, match="nested deeper than 32"):
        decode(value)


def test_a_set_of_many_keys_is_read() -> None:
    keys = [f"data/{number}.csv" for number in range(20_000)]
    assert decode(told("builtins.set", keys)) == set(keys)


def test_sets_of_no_texts_are_counted_together() -> None:
    """Four times 1,000 numbers with one hash, all that fits into an envelope, took 66 ms of the loop."""
    odd = [told("builtins.set", [told("decimal.Decimal", str(each * (2**61 - 1))) for each in range(400)])] * 4
    with pytest.raises(ValueError, match="no texts"):
        decode(odd)


def test_the_place_of_a_value_is_short_whatever_the_keys_are() -> None:
    with pytest.raises(ValueError, match="has no meaning here") as refused:
        decode({"k" * 100_000: [{"j" * 100_000: told("x", 1)}]})
    assert len(str(refused.value)) < 600
    assert "kwargs['kkk" in str(refused.value)
