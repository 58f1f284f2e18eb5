"""Merge forms: which requests one call can answer together. The forms are data (`merge_forms.json`), checked by tests
against botocore's models; how an answer is taken apart again is `projection`.
"""

import copy
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import msgspec

from triggerd.aws.projection import Answer, Page
from triggerd.aws.waiters import ServiceModels

_FILE = Path(__file__).parent / "merge_forms.json"
_UNBOUNDED = 1_000_000
# AWS reads these in the value of a filter as wildcards.
_WILDCARDS = frozenset("*?\\")


class Derived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter of the merged call that the id tells, as the state machine of an execution.

    Attributes:
        pattern: What the whole id must match. template: the value, with the pattern's groups.
    """

    pattern: str
    template: str


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True, eq=False):
    """One way to ask for many resources at once.

    Attributes:
        service: As botocore names it. single: the operation that asks for one.
        id: Its parameter that names the resource: ``RunId``, ``tasks``, or a filter's value, ``Filters[endpoint-arn]``.
        merged: The operation that asks for many. ids: its parameter, spelt likewise; empty: it lists them all.
        max: How many ids a call may carry.
        carried: Other parameters that the single call may have; they go along unchanged, and requests in which they
            differ are never merged. needed: those that it must have. Any further parameter: it is not merged.
        derived: Parameters of the merged call that follow from the id. fixed: that are always the same.
        token: The parameter, and the answer's field, that pages.
        pattern: What an id must match, where the merged call takes fewer than the single one.
        answer: How the answer is taken apart.
    """

    service: str
    single: str
    id: str
    merged: str
    answer: Answer
    ids: str = ""
    max: int = 0
    carried: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    derived: dict[str, Derived] = {}
    fixed: dict[str, Any] = {}
    token: str = ""
    pattern: str = ""

    @property
    def kind(self) -> Literal["ids", "filter", "parent", "page"]:
        if self.ids:
            return "filter" if "[" in self.ids else "ids"
        return "parent" if self.needed or self.derived else "page"

    @property
    def list_all(self) -> bool:
        """Whether one call answers every request that it could carry, however many."""
        return not self.ids

    @property
    def partial(self) -> bool:
        """Whether the answer lacks fields of the single one, so that the single call must confirm an ending."""
        return self.answer.covers is not None

    @property
    def max_ids(self) -> int:
        return self.max if self.ids else _UNBOUNDED

    def answers(self, service: str, operation: str) -> bool:
        """Whether it answers requests of this operation."""
        return self.service == service and self.single == operation

    def request(self, common: Mapping[str, Any], ids: Iterable[str], token: str | None = None) -> dict[str, Any]:
        """The parameters of the merged call for these ids; `token` leads to its next page."""
        params = {**self.fixed, **common}
        values = [*dict.fromkeys(ids)]
        name, filter_name = self._asks_many
        if filter_name:
            params[name] = [{"Name": filter_name, "Values": values}]
        elif name:
            params[name] = values
        if token is not None:
            params[self.token] = token
        return params

    def single_request(self, common: Mapping[str, Any], ids: Sequence[str], *, listed: bool) -> dict[str, Any]:
        """The parameters of the single call for these ids; `listed`: it takes a list of them."""
        name, filter_name = self._asks_one
        value: Any = [*ids] if listed else ids[0]
        params = {key: value for key, value in common.items() if key not in self.derived}
        return {**params, name: [{"Name": filter_name, "Values": [*ids]}] if filter_name else value}

    def read(self, response: Mapping[str, Any], before: Page | None = None) -> Page:
        """Index an answer by id, once for all its requests; together with the pages `before` it, which it uses up."""
        token = response.get(self.token) if self.token else None
        return self.answer.read(response, token or None, before)

    def project(self, page: Page, place: "Place") -> Mapping[str, Any] | None:
        """What the single call would have answered. Read it, do not change it: others read its parts, too.

        None: what was read does not say. The single call does; where the page has a token, reading on may.
        """
        return self.answer.project(page, place.ids)

    def ids_in(self, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The ids that a single request asks for; None where it asks for something else, or for more than they."""
        name, filter_name = self._asks_one
        if name not in params or not self.needed <= params.keys() <= self._known:
            return None
        value = params[name]
        if filter_name:
            value = _filter_values(value, filter_name)
        ids = (value,) if isinstance(value, str) else tuple(value or ())
        fits = ids and len(ids) <= self.max_ids and all(map(self._fits, ids))
        return ids if fits and len({*map(self.answer.name, ids)}) == len(ids) else None

    def takes_list(self, params: Mapping[str, Any]) -> bool:
        """Whether the single call takes a list of ids."""
        return not isinstance(params[self._asks_one[0]], str)

    def common_in(self, params: Mapping[str, Any], ids: Sequence[str]) -> Mapping[str, Any] | None:
        """The parameters that all requests of a merged call share; None where these ids do not share them."""
        name, _ = self._asks_one
        common = {key: value for key, value in params.items() if key != name}
        for key, derived in self.derived.items():
            matches = [re.fullmatch(derived.pattern, one) for one in ids]
            values = {match.expand(derived.template) for match in matches if match}
            if len(values) != 1 or None in matches:
                return None
            common[key] = values.pop()
        return common

    @cached_property
    def _asks_one(self) -> tuple[str, str]:
        return _spelt(self.id)

    @cached_property
    def _asks_many(self) -> tuple[str, str]:
        return _spelt(self.ids)

    @cached_property
    def _known(self) -> frozenset[str]:
        return self.carried | self.needed | {self._asks_one[0]}

    def _fits(self, one: object) -> bool:
        if not isinstance(one, str) or not one or (self.pattern and not re.fullmatch(self.pattern, one)):
            return False
        return not self._asks_many[1] or _WILDCARDS.isdisjoint(one)


def _spelt(parameter: str) -> tuple[str, str]:
    """``Filters[name]`` -> the parameter and the filter's name; the latter empty for a plain parameter."""
    name, _, rest = parameter.partition("[")
    return name, rest.rstrip("]")


def _filter_values(value: Any, filter_name: str) -> Any:
    """The values of this filter, where it is the only one."""
    only = value[0] if isinstance(value, list | tuple) and len(value) == 1 else {}
    return only.get("Values") if only.keys() == {"Name", "Values"} and only["Name"] == filter_name else None


class Siblings:
    """What the requests of one merged call share. The same object for all places with the same `key`."""

    __slots__ = ("__weakref__", "common", "form", "key", "listed")

    def __init__(self, form: Form, common: Mapping[str, Any], key: str, *, listed: bool) -> None:
        self.form = form
        self.common = common
        self.key = key
        self.listed = listed  # the single call takes a list of ids


class Place:
    """Where a request stands in a merged call: its siblings, and its own ids.

    Places with an equal `key` may share one call, within one client.
    """

    __slots__ = ("ids", "siblings")

    def __init__(self, siblings: Siblings, ids: tuple[str, ...]) -> None:
        self.siblings = siblings
        self.ids = ids

    @property
    def form(self) -> Form:
        return self.siblings.form

    @property
    def common(self) -> Mapping[str, Any]:
        return self.siblings.common

    @property
    def key(self) -> str:
        return self.siblings.key

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters of the single call, made anew: there are 100,000 requests, and they are hardly ever asked."""
        return self.form.single_request(self.common, self.ids, listed=self.siblings.listed)


@cache
def read_forms() -> tuple[Form, ...]:
    """The forms that ship. Reads a file."""
    return tuple(msgspec.json.decode(_FILE.read_bytes(), type=list[Form]))


class Forms:
    """Finds the place of a request in a merged call."""

    def __init__(self, models: ServiceModels) -> None:
        self._models = models
        self._by_operation: dict[tuple[str, str], list[Form]] = {}
        self._siblings_by_key: WeakValueDictionary[str, Siblings] = WeakValueDictionary()

    def find(
        self, service: str, operation: str, params: Mapping[str, Any], reads: Collection[str] = ()
    ) -> Place | None:
        """The place of a request that is read with the expressions `reads`; None where it is sent as it is."""
        for form in self._of(service, operation):
            ids = form.ids_in(params)
            if ids is None or not form.answer.covers_all(reads):
                continue
            common = form.common_in(params, ids)
            if common is not None:
                return Place(self._siblings(form, common, params), ids)
        return None

    def _of(self, service: str, operation: str) -> list[Form]:
        """Its forms, but for those whose merged operation the installed botocore does not have."""
        found = self._by_operation.get((service, operation))
        if found is None:
            known = self._models.get(service).operation_names
            found = [form for form in read_forms() if form.answers(service, operation) and form.merged in known]
            self._by_operation[(service, operation)] = found
        return found

    def _siblings(self, form: Form, common: Mapping[str, Any], params: Mapping[str, Any]) -> Siblings:
        text = json.dumps(common, sort_keys=True, default=repr) if common else ""
        key = f"{form.service} {form.single} {form.id} {text}"
        found = self._siblings_by_key.get(key)
        if found is None:
            listed = form.takes_list(params)
            # A copy: they last longer than the request that comes first, whose caller goes on with its own.
            found = self._siblings_by_key[key] = Siblings(form, copy.deepcopy(common), key, listed=listed)
        return found
