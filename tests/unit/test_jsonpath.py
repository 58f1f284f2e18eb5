"""The JSONPath of message filters: what jsonpath-ng finds, without what a hostile expression or body could do."""

import json
import warnings
from typing import Any

import jsonpath_ng.ext.parser
import jsonpath_ng.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerd.triggers.jsonpath import MAX_EXPRESSION_CHARS, BodyTooLargeError, JsonPath

BODY = {
    "a": {"b": [1, 2, {"c": 3}], "x y": 1, "0": "z"},
    "l": [[1], [2]],
    "s": "text",
    "d": [{"t": "x", "n": 1}, {"t": "y", "n": 2.5}, {"n": "3"}, {"n": True}, 5, None],
}
PLAIN = [
    "$", "a.b", "$.a.b", "a .b", "a.b[*]", "a.b[0]", "a.b[ -1 ]", "a.b.[0]", "a[*]", "$.*", "$[*]", "*", "l[*][*]",
    "a..c", "$..b", "$..*", "$..[0]", "$..b[0]", "$..b.[2].c", "$..['c']", "a.b[0:2]", "a.b[::2]", "a.b[-2:]",
    "a.b[:]", "a.b[::-1]", "a['x y']", "a.'x y'", 'a["x y"]', "$['a', 's']", "a,s", "$.a.0", "s[*]", "s[0]", "s.x",
    "[0]", "['a']", "a.b[0,1]", "a.b[5]", "b_c-d",
]  # fmt: skip
FILTERS = [
    "d[?(@.t == 'x')]", "d[?@.t=='x'].n", "$.d[?(@.n > 1)]", "$.d[?n>1]", "d[?(@.t)]", "d[?(!@.t)]", "a[?(@[0]==1)]",
    "d[?(@.t=='x' & @.n==1)]", "d[?(@.t=='x' && @.n==1)]", "d[?(@.t=='x' || @.n>2)].n", "$..[?(@.n>1)]",
    "d[?(@.n!=1)]", "d[?(@==5)]", "d[?(@.t=x)]", "d[?(@.n==1.0)]", "d[?(@.n==true)]", "d[?(@.t!=null)]",
    "d[?(@==null)]", "d[?(@.n>=true)]", "d[?(@.n<5 && (@.t=='x' || @.t=='y'))]", "$[?(@.b[0] == 1)]",
]  # fmt: skip


@pytest.mark.parametrize("expression", PLAIN)
def test_an_expression_finds_what_jsonpath_ng_finds(expression: str) -> None:
    assert JsonPath(expression).find(BODY) == _theirs(jsonpath_ng.parser.parse, expression, BODY)


@pytest.mark.parametrize("expression", [*PLAIN, *FILTERS])
def test_with_filters_it_finds_what_jsonpath_ng_ext_finds(expression: str) -> None:
    assert JsonPath(expression, filters=True).find(BODY) == _theirs(jsonpath_ng.ext.parser.parse, expression, BODY)


def _theirs(parse: Any, expression: str, body: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of syntax that its next version drops
        return [found.value for found in parse(expression).find(body)]


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "y", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
_steps = st.sampled_from(
    [".a", ".b", "..a", ".*", "[*]", "[0]", "[-1]", "[1:]", "..[0]", "['a','b']", "[?(@.a)]", "[?(@.b > 0)]",
     "[?(@==1)]"]
)  # fmt: skip


@given(_values, st.lists(_steps, min_size=1, max_size=4))
def test_any_expression_of_any_body_agrees(body: Any, steps: list[str]) -> None:
    expression = "$" + "".join(steps)
    theirs = _theirs(jsonpath_ng.ext.parser.parse, expression, body)
    assert JsonPath(expression, filters=True).find(body) == theirs


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("a.`parent`", "not understood at '`parent`'"),
        ("a where b", "not understood at 'where'"),
        ("$.a|$.s", r"not understood at '\|"),
        ("(a).b", "a name is expected"),
        ("a.", "a name is expected at 'the end'"),
        ("", "a name is expected"),
        ("$..", "a name is expected"),
        ("a[", "is expected"),
        ("a[0", "']' is expected"),
        ("a[]", "an index, a slice or a name"),
        ("a[1:2:0]", "an index, a slice or a name"),
        ("a[0.5]", "is no index"),
        ("a[99999999999999999999]", "not understood"),
        ("d[?(@.n =~ 'x.*')]", "not understood at .=~"),
        ("d[?(@.n + 1 == 2)]", "not understood at '+"),
        ("d[?(@.n == $.a)]", "a number, a quoted text"),
        ("d[?($.n == 1)]", "a name is expected"),
        (r"d[\n]", "not understood"),
        ("d[/n]", "not understood"),
        ("a" * (MAX_EXPRESSION_CHARS + 1), "the limit is"),
        ("a[?" + "(" * 400, "nested too deeply|is expected"),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        JsonPath(expression, filters=True)


def test_a_filter_needs_jsonpath_ext() -> None:
    with pytest.raises(ValueError, match="jsonpath-ext"):
        JsonPath("d[?(@.n)]")


def test_a_body_that_makes_a_search_explode_stops_it() -> None:
    body: Any = 1
    for _ in range(300):
        body = [body, 1]
    with pytest.raises(BodyTooLargeError):
        JsonPath("$..*..*..*").find(body)
    wide = json.loads("[" + ",".join(["1"] * 250_000) + "]")
    with pytest.raises(BodyTooLargeError):
        JsonPath("$[?(@ > 0)]", filters=True).find(wide)


def test_a_body_nested_deeper_than_pythons_stack_is_searched() -> None:
    body: Any = {"found": 1}
    for _ in range(5_000):
        body = [body]
    assert JsonPath("$..found").find(body) == [1]
