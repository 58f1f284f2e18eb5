"""What a merged answer says to one of its requests: the single call's answer, rebuilt from the items that are its own.

Nothing here changes the merged answer: other waits read it, too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import msgspec

from triggerd.aws.acceptors import compiled

Path = tuple[str, ...]
_MISSING: tuple[Any, ...] = ()


@dataclass(slots=True)
class Page:
    """What has been read of a merged answer in one round, by id.

    Attributes:
        found: The item that an id names; None where it could be one or another.
        listed: The entries of the list that names the missing ids, by id.
        token: Where the answer goes on; None: this was all.
    """

    found: dict[str, tuple[Any, ...] | None]
    listed: dict[str, Any]
    metadata: Mapping[str, Any]
    token: str | None = None


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True, eq=False):
    """How a merged answer is read, and how the single call's answer is rebuilt from it.

    Attributes:
        list: Where the items are; ``Reservations[].Instances`` are items within items, whose outer ones are kept.
        key: The item's field that holds its id. also: other fields by which it may be asked for.
        tail: What follows the last ``/`` of the key, an ARN, names it as well. fold: the service ignores case in ids.
        into: The member of the single answer that is the item, ``Stacks[]`` a list of it; empty: the item's fields are
            the answer; None: the single answer is the same list.
        covers: The item's fields that say what the single answer's say; the rest is left out. None: all of them.
        missing: What the single call says to an id that is in no item: ``absent`` the list is without it, ``error``
            the code and message below, ``listed`` its entry in another list, ``single`` is not known.
        listed: That other list, and ``listed_key`` the id's field in its entries; empty: the entry is the id.
        error: That code. message: its text, with ``{ids}``. status: its HTTP status.
        why: Where the code is known from, if no model and no waiter names it.
    """

    list: str
    key: str
    also: tuple[str, ...] = ()
    tail: bool = False
    fold: bool = False
    into: str | None = None
    covers: frozenset[str] | None = None
    missing: Literal["absent", "error", "listed", "single"] = "single"
    listed: str = ""
    listed_key: str = ""
    error: str = ""
    message: str = ""
    status: int = 400
    why: str = ""

    @cached_property
    def path(self) -> Path:
        """The names of the lists, outer first."""
        return tuple(self.list.split("[]."))

    @cached_property
    def prefix(self) -> Path:
        """Where an item stands in the single answer."""
        if self.into is None:
            return self.path
        return (self.into.removesuffix("[]"),) if self.into else ()

    def covers_all(self, reads: Iterable[str]) -> bool:
        """Whether these expressions find on the rebuilt answer what they find on the single one, as far as is known."""
        if self.covers is None:
            return True
        depth = len(self.prefix)
        for expression in reads:
            for path in paths_read(expression):
                if path[:depth] != self.prefix or len(path) <= depth or path[depth] not in self.covers:
                    return False
        return True

    def name(self, value: str) -> str:
        """How an id is compared."""
        return value.lower() if self.fold else value

    def read(self, response: Mapping[str, Any], token: str | None, before: Page | None) -> Page:
        """The items by id, joined with those of the pages `before`, which is spent."""
        page = before or Page({}, {}, {})
        page.metadata, page.token = response.get("ResponseMetadata") or {}, token
        for item in self._items(response):
            key = item[-1].get(self.key)
            for name in self._names(key, *(item[-1].get(field) for field in self.also)):
                known = page.found.setdefault(
                    name, item
                )  # a page may repeat what moved while it was read: the last holds
                page.found[name] = item if known is not None and known[-1].get(self.key) == key else None
        for entry in response.get(self.listed) or () if self.listed else ():
            for name in self._names(entry.get(self.listed_key) if self.listed_key else entry):
                page.listed[name] = entry
        return page

    def project(self, page: Page, ids: Sequence[str]) -> Mapping[str, Any] | None:
        """See `Form.project`."""
        names = [self.name(one) for one in ids]
        found = [page.found.get(name, _MISSING) for name in names]
        missing = [one for one, item in zip(ids, found, strict=True) if item is _MISSING]
        if None in found or (missing and (page.token or not self._answers(page, missing))):
            return None
        if missing and self.missing == "error":
            error = {"Code": self.error, "Message": self.message.format(ids=", ".join(missing))}
            return {"Error": error, "ResponseMetadata": {**page.metadata, "HTTPStatusCode": self.status}}
        answer = self._rebuilt([item for item in found if item])
        if self.missing == "listed":
            answer[self.listed] = [page.listed[self.name(one)] for one in missing]
        answer["ResponseMetadata"] = page.metadata
        return answer

    def _answers(self, page: Page, missing: Sequence[str]) -> bool:
        if self.missing == "listed":
            return all(self.name(one) in page.listed for one in missing)
        return self.missing != "single"

    def _items(self, response: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Each item, behind the one that it is in, if any."""
        outer, *inner = self.path
        for item in response.get(outer) or ():
            if inner:
                yield from ((item, part) for part in item.get(inner[0]) or ())
            else:
                yield (item,)

    def _names(self, key: str | None, *others: str | None) -> Iterator[str]:
        for value in (key, *others):
            if value:
                yield self.name(value)
        if self.tail and key:
            yield self.name(key.rpartition("/")[2])

    def _rebuilt(self, items: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
        if self.into is not None:
            item = self._covered(items[0][-1])
            if self.into.endswith("[]"):
                return {self.prefix[0]: [item]}
            return {self.into: item} if self.into else dict(item)
        outer, *inner = self.path
        if not inner:
            return {outer: [item for (item,) in items]}
        around: dict[int, dict[str, Any]] = {}
        for holder, item in items:
            around.setdefault(id(holder), {**holder, inner[0]: []})[inner[0]].append(item)
        return {outer: [*around.values()]}

    def _covered(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.covers is None:
            return item
        return {name: value for name, value in item.items() if name in self.covers}


# --- what an expression reads -----------------------------------------------------------------------------------------

_CHAINS = frozenset({"subexpression", "index_expression", "pipe", "flatten", "projection", "filter_projection"})
_STAYS = frozenset({"current", "identity", "index", "slice"})
_COMPUTES = frozenset({
    "comparator", "and_expression", "or_expression", "not_expression", "function_expression", "literal",
    "multi_select_list", "multi_select_dict", "key_val_pair",
})  # fmt: skip
_WHOLE: frozenset[Path] = frozenset({()})


class _NotKnownError(Exception):
    """The expression reads something that its syntax does not tell."""


@lru_cache(maxsize=4096)
def paths_read(expression: str) -> frozenset[Path]:
    """The paths on which an expression's value depends, lists left out; the whole, `()`, where that is unclear."""
    read: set[Path] = set()
    try:
        result = _follow(compiled(expression).parsed, (), read)
    except _NotKnownError:
        return _WHOLE
    return frozenset(read if result is None else {*read, result})


def _follow(node: Mapping[str, Any], at: Path | None, read: set[Path]) -> Path | None:
    """The path that a node finds, None where it computes something; what it computes from is added to `read`."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        if at is None:
            raise _NotKnownError
        return (*at, str(node["value"]))
    if kind in _STAYS:
        return at
    if kind in _COMPUTES:
        read.update(found for child in children if (found := _follow(child, at, read)) is not None)
        return None
    if kind not in _CHAINS:
        raise _NotKnownError
    conditions = children[2:] if kind == "filter_projection" else []
    for child in children[: len(children) - len(conditions)]:
        at = _follow(child, at, read)
        if conditions and child is children[0]:
            _follow({"type": "not_expression", "children": conditions}, at, read)
    return at
