"""The trigger that waits for a value in a DynamoDB item."""

from collections.abc import AsyncIterator, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import BaseTrigger, TriggerEvent
from triggerd.triggers.arguments import attempts, changed, name, number, text
from triggerd.triggers.aws import failure_details
from triggerd.triggers.looks import gave_up, looks
from triggerd.triggers.wait_checkpoints import stored

_DELAY_S = 60.0
_MAX_VALUES = 1_000

Key = str | int | float | Decimal | bytes


class DynamoDBValueSensorTrigger(BaseTrigger):
    """Waits until an attribute of an item has a value, or one of several.

    Fires ``{"status": "success"}``, on an error of AWS (no such table, a denied read, a key of the wrong type)
    ``{"status": "error", "message": ...}``. An item or attribute that is not there is waited for, a throttle or an
    outage is waited through.

    Args:
        partition_key_value: A text is a key of type S, a number one of type N, bytes one of type B.
        attribute_name: Of the item itself; a dot in it is no path.
        attribute_value: A value, or a list or set of which one is enough. Numbers are compared by value; an attribute
            of type N also has the value of a text that reads as that number, as ``"5"``.
        sort_key_name: With `sort_key_value`, where the table has a sort key; without a value it is passed over.
        delay: Seconds between looks. max_attempts: with `delay` a budget of time; None: until the deadline.
    """

    def __init__(
        self,
        table_name: str,
        partition_key_name: str,
        partition_key_value: Key,
        attribute_name: str,
        attribute_value: Any,
        *,
        sort_key_name: str | None = None,
        sort_key_value: Key | None = None,
        delay: float = _DELAY_S,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        self.table_name = name("table_name", table_name)
        self.partition_key_name = name("partition_key_name", partition_key_name)
        self.partition_key_value = partition_key_value
        self.attribute_name = name("attribute_name", attribute_name)
        self.attribute_value = _values(attribute_value)
        self.sort_key_name = sort_key_name if sort_key_name is None else text("sort_key_name", sort_key_name)
        self.sort_key_value = sort_key_value
        self.delay = number("delay", delay) or _DELAY_S
        self.max_attempts = attempts(max_attempts)
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)
        if sort_key_name is None and sort_key_value is not None:
            raise ValueError("sort_key_name must be given with sort_key_value")
        self._key = {self.partition_key_name: _typed("partition_key_value", partition_key_value)}
        if self.sort_key_name is not None and sort_key_value not in (None, ""):
            self._key[self.sort_key_name] = _typed("sort_key_value", sort_key_value)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.dynamodb.DynamoDBValueSensorTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            event = await self._wait()
        except (WaitError, WaiterDefinitionError, ConfigError) as error:
            event = TriggerEvent({"status": "error", "message": str(error)}, failure_details(error))
        yield event

    async def _wait(self) -> TriggerEvent:
        params = {
            "TableName": self.table_name,
            "Key": self._key,
            "ProjectionExpression": "#a",
            "ExpressionAttributeNames": {"#a": self.attribute_name},
        }
        polls, seen = 0, ""
        async for polls in looks(self.delay, self.max_attempts, stored(self.context), self.context.checkpoint):
            answer = await self.context.aws.poll(
                "dynamodb", "GetItem", params, connection=self.connection, region=self.region
            )
            found = (answer.get("Item") or {}).get(self.attribute_name)
            plain = None if found is None else _plain(found)  # once: it may be 400 KB
            seen = "not there" if found is None else f"{plain!r:.100}"
            self.context.log.debug("looked at an item", attribute=self.attribute_name, seen=seen, look=polls)
            if found is not None and any(_is(plain, value) for value in self.attribute_value):
                return TriggerEvent({"status": "success"}, {"polls": polls})
        return gave_up(f"{self.attribute_name} was {seen} after {polls} looks")


def _values(value: object) -> list[Any]:
    values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if value is None or not 0 < len(values) <= _MAX_VALUES:
        raise ValueError(f"attribute_value = {value!r:.100}: a value, or a list of at least one, at most 1,000")
    return values


def _typed(label: str, value: object) -> dict[str, Any]:
    """A key as DynamoDB's protocol has it."""
    if isinstance(value, str):
        return {"S": text(label, value)}
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and Decimal(str(value)).is_finite():
        return {"N": str(value)}
    raise TypeError(f"{label} = {value!r:.100}: a text, a number or bytes is expected")


def _plain(attribute: dict[str, Any]) -> Any:
    """An attribute as DynamoDB's protocol has it, as a Python value; numbers are Decimals."""
    ((kind, value),) = attribute.items()
    return _MAKERS[kind](value) if kind in _MAKERS else value


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "N": Decimal,
    "NS": lambda members: {Decimal(member) for member in members},
    "SS": set,
    "BS": set,
    "L": lambda members: [_plain(member) for member in members],
    "M": lambda members: {key: _plain(member) for key, member in members.items()},
    "NULL": lambda _: None,
}


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(value, Decimal):
        return value == _decimal(wanted)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, set) and isinstance(wanted, list | tuple):
        try:
            return value == set(wanted)
        except TypeError:  # a list in it
            return False
    return bool(value == wanted)


def _decimal(value: object) -> Decimal | None:
    """A number, or a text that reads as one; None is equal to no number."""
    try:
        found = Decimal(str(value).strip()) if isinstance(value, str | int | float | Decimal) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() and not isinstance(value, bool) else None
