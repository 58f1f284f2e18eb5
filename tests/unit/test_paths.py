"""Promises of compiled JMESPath expressions: they find what jmespath finds, in whatever AWS may answer."""

from typing import Any

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from triggerd.aws.paths import Expression
from triggerd.aws.waiters import ServiceModels, Waiters, new_loader

NAMES = ("a", "b", "c")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=25,
)
PARTS = st.lists(
    st.sampled_from([
        ".a", ".b", ".c", "[]", "[*]", "[0]", "[-1]", "[7]", " | @", " | a", " | [0]", ".*", "[?a == 'x']", "[?b]",
        "[1:]", ".[a, b]", ".{x: a, y: c}", " || b", " && c", "[].not_null(a, b)", " == 'x'", "[0][0]", "[[]]",
    ]), max_size=5,
)  # fmt: skip


def _found(search: Any, value: Any) -> Any:
    try:
        return search(value)
    except JMESPathError as error:
        return str(error)


@given(st.sampled_from(["a", "@", "[]", "length(a)", "!b", "a.b[].c"]), PARTS, VALUES)
@settings(max_examples=1500, deadline=None)
def test_an_expression_finds_what_jmespath_finds(first: str, parts: list[str], value: Any) -> None:
    text = first + "".join(parts)
    try:
        expected = jmespath.compile(text)
    except JMESPathError as error:
        with pytest.raises(type(error)):
            Expression(text)
        return
    found, wanted = _found(Expression(text).search, value), _found(expected.search, value)
    assert (found, repr(found)) == (wanted, repr(wanted))


def test_nearly_all_that_waiters_read_takes_no_interpreter() -> None:
    waiters = [*Waiters((), ServiceModels(new_loader())).all()]
    reads = {read for waiter in waiters for read in waiter.acceptors.reads}
    plain = [read for read in reads if Expression(read).search.__module__ == "triggerd.aws.paths"]
    assert len(plain) > 0.8 * len(reads)
