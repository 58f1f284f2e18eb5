"""A world that answers the single and the merged operation of any merge form from one state, by botocore's models.

It is written without the code under test: what it knows of a form are its facts, and how AWS answers to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, Shape, StructureShape

from tests.support.fake_aws import Answer, FakeAws, Fault
from triggerd.aws.acceptors import PATH_MATCHERS
from triggerd.aws.forms import Form
from triggerd.aws.projection import paths_read
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters

MODELS = ServiceModels(Loader())
WAITERS = Waiters((), MODELS)
OK = {"HTTPStatusCode": 200}


def waiters_of(form: Form) -> list[WaiterDefinition]:
    """Every waiter, botocore's and ours, that polls the single operation and that the form may answer."""
    if form.service not in WAITERS.services():
        return []
    return [
        waiter for waiter in WAITERS.all(form.service)
        if waiter.operation == form.single and form.answer.covers_all(reads_of(waiter))
    ]  # fmt: skip


def reads_of(waiter: WaiterDefinition) -> set[str]:
    return {rule.argument for rule in waiter.acceptors.rules if rule.matcher in PATH_MATCHERS and rule.argument}


def output_of(service: str, operation: str) -> StructureShape:
    return MODELS.get(service).operation_model(operation).output_shape


def item_shape(form: Form) -> StructureShape:
    """An item of the merged answer."""
    shape: Any = output_of(form.service, form.merged)
    for name in form.answer.list.split("[]."):
        shape = shape.members[name].member
    return shape


def single_item_shape(form: Form) -> StructureShape:
    """The same in the single answer."""
    output, into = output_of(form.service, form.single), form.answer.into
    if into is None:
        return item_shape(form)
    if into.endswith("[]"):
        return output.members[into[:-2]].member
    return output.members[into] if into else output


def states_of(form: Form) -> list[dict[str, Any]]:
    """Items without an id, in every state that some waiter of the form tells apart."""
    found: list[dict[str, Any]] = [{}]
    for waiter in waiters_of(form):
        for rule in waiter.acceptors.rules:
            for path in paths_read(rule.argument) if rule.argument else ():
                below = path[len(form.answer.prefix) :]
                for value in _values(_at(single_item_shape(form), below), rule.expected):
                    state = _nested(single_item_shape(form), below, value)
                    if state not in found:
                        found.append(state)
    return found


def _values(shape: Shape | None, expected: Any) -> list[Any]:
    if shape is not None and shape.type_name == "string":
        return [*(shape.enum or ()), *([expected] if isinstance(expected, str) else [])]
    if shape is not None and shape.type_name in ("integer", "long"):
        return [0, 1]
    return [[]] if isinstance(shape, ListShape) else []


def _at(shape: Any, path: Sequence[str]) -> Shape | None:
    for name in path:
        shape = shape.member if isinstance(shape, ListShape) else shape
        shape = shape.members.get(name) if isinstance(shape, StructureShape) else None
    return shape


def _nested(shape: Any, path: Sequence[str], value: Any) -> Any:
    if isinstance(shape, ListShape):
        return [_nested(shape.member, path, value)] if path else value
    if isinstance(shape, StructureShape) and path:
        return {path[0]: _nested(shape.members[path[0]], path[1:], value)}
    return value


class World:
    """Resources of one form's kind: by id, the state of each. What is asked for and is not here is missing."""

    def __init__(self, form: Form, states: Mapping[str, Mapping[str, Any]]) -> None:
        self.form = form
        self.items = {one: {**state, form.answer.key: one} for one, state in states.items()}

    def single(self, ids: Sequence[str]) -> Mapping[str, Any] | Fault | None:
        """What the single call answers; None where that is not known."""
        answer, here = self.form.answer, [self.items[one] for one in ids if one in self.items]
        gone = [one for one in ids if one not in self.items]
        if gone and answer.missing == "error":
            return Fault(answer.error, answer.message.format(ids=", ".join(gone)), answer.status)
        if gone and answer.missing == "single":
            return None
        if answer.into is None:
            return {**self._listing(here), **self._listed(gone)}
        if answer.into.endswith("[]"):
            return {answer.into[:-2]: here}
        return {answer.into: here[0]} if answer.into else here[0]

    def merged(self, ids: Sequence[str] | None, token: str | None = None, page: int = 1000) -> dict[str, Any]:
        """What the merged call answers to these ids; None: to no ids at all, with everything, page by page."""
        names = [one for one in (self.items if ids is None else ids) if one in self.items]
        start = int(token or 0)
        items = [self._summary(self.items[one]) for one in names[start : start + page]]
        listed = self._listed([one for one in ids or () if one not in self.items])
        more = {self.form.token: str(start + page)} if start + page < len(names) else {}
        return {**self._listing(items), **listed, **more}

    def _listing(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        outer, _, inner = self.form.answer.list.partition("[].")
        return {outer: [{"ReservationId": "r-1", inner: [item]} for item in items] if inner else [*items]}

    def _listed(self, gone: Sequence[str]) -> dict[str, Any]:
        answer = self.form.answer
        if not answer.listed:
            return {}
        why = {"reason": "MISSING"} if answer.listed == "failures" else {}
        return {answer.listed: [{answer.listed_key: one, **why} if answer.listed_key else one for one in gone]}

    def _summary(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """The item as the merged call gives it: a summary has no other fields than its shape."""
        members = item_shape(self.form).members
        return {name: value for name, value in item.items() if name in members}


def ids_for(form: Form) -> Iterator[str]:
    """Ids as this form's resources have them."""
    shape = {
        "stepfunctions": "arn:aws:states:us-east-1:123456789012:execution:machine:{}",
        "datasync": "arn:aws:datasync:us-east-1:123456789012:task/task-0/execution/exec-{}",
        "DescribeExport": "arn:aws:dynamodb:us-east-1:123456789012:table/t/export/0-{}",
        "DescribeImport": "arn:aws:dynamodb:us-east-1:123456789012:table/t/import/0-{}",
    }
    template = shape.get(form.service) or shape.get(form.single) or "id-{}"
    return (template.format(f"{number:012d}") for number in range(10_000))


def single_params(form: Form, ids: Sequence[str]) -> dict[str, Any]:
    """The parameters of the single call."""
    members = MODELS.get(form.service).operation_model(form.single).input_shape.members
    name, _, filter_name = form.id.rstrip("]").partition("[")
    value: Any = [*ids] if isinstance(members[name], ListShape) else ids[0]
    if filter_name:
        value = [{"Name": filter_name, "Values": [*ids]}]
    return {**dict.fromkeys(form.needed, "parent-" + "0" * 29), name: value}


def takes_many(form: Form) -> bool:
    members = MODELS.get(form.service).operation_model(form.single).input_shape.members
    return isinstance(members[form.id.partition("[")[0]], ListShape)


def serve(fake: FakeAws, world: World) -> None:
    """Let the fake answer from this world, whichever of the two operations it is asked."""
    form = world.form

    def single(params: dict[str, Any]) -> Answer:
        answer = world.single(ids_in(params, form.id))
        assert answer is not None
        return answer

    def merged(params: dict[str, Any]) -> Answer:
        return world.merged(ids_in(params, form.ids) if form.ids else None)

    def either(params: dict[str, Any]) -> Answer:
        return merged(params) if form.ids == form.id or not ids_in(params, form.id) else single(params)

    fake.script(form.single, single)
    fake.script(form.merged, merged if form.merged != form.single else either)


def ids_in(params: Mapping[str, Any], parameter: str) -> list[str]:
    """The ids in a request; `parameter` as a form spells it."""
    name, _, filter_name = parameter.rstrip("]").partition("[")
    value: Any = params.get(name, [])
    if filter_name:
        value = value[0]["Values"] if value and value[0]["Name"] == filter_name else []
    return [value] if isinstance(value, str) else [*value]
