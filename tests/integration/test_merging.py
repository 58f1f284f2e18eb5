"""Promises of merging over real clients: whatever the protocol, one call for many says what the single calls say."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.fake_aws import FakeAws
from tests.support.merge_world import (
    MODELS,
    World,
    ids_for,
    ids_in,
    serve,
    single_params,
    states_of,
    takes_many,
    waiters_of,
)  # fmt: skip
from triggerd.aws.forms import Form, Forms, read_forms
from triggerd.aws.verdicts import decide
from triggerd.aws.waits import method_name

BY_SERVICE = {
    service: [*forms] for service, forms in itertools.groupby(
        sorted(read_forms(), key=lambda form: form.service), key=lambda form: form.service
    )
}  # fmt: skip


@pytest.mark.parametrize("service", BY_SERVICE)
async def test_a_merged_call_says_what_the_single_calls_say(service: str) -> None:
    async with FakeAws(service) as fake, get_session().create_client(
        service, region_name="us-east-1", endpoint_url=fake.url, config=Config(signature_version=UNSIGNED)
    ) as client:  # fmt: skip
        for form in BY_SERVICE[service]:
            await _compare(form, fake, client)


async def _compare(form: Form, fake: FakeAws, client: Any) -> None:
    ids = [*itertools.islice(ids_for(form), 4)]
    here, states = ids[:3], itertools.cycle(states_of(form)[1:] or [{}])
    world = World(form, {one: next(states) for one in here})
    serve(fake, world)
    asked = [[one] for one in ids] + ([[ids[2], ids[0]]] if takes_many(form) else [])
    places = [Forms(MODELS).find(form.service, form.single, single_params(form, mine)) for mine in asked]
    first = places[0]
    assert first is not None
    fake.seen.clear()
    page = form.read(await _call(client, form.merged, form.request(first.common, ids)))
    if form.ids:
        assert ids_in(fake.seen[-1].params, form.ids) == ids, "all of them have reached the server"
    for mine, place in zip(asked, places, strict=True):
        assert place is not None
        projected = form.project(page, place)
        if world.single(mine) is None:
            assert projected is None
            continue
        assert projected is not None
        _assert_equal(form, projected, await _call(client, form.single, single_params(form, mine)))


async def _call(client: Any, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer = await getattr(client, method_name(operation))(**params)
    except ClientError as error:
        answer = error.response
    return {**answer, "ResponseMetadata": {"HTTPStatusCode": answer["ResponseMetadata"]["HTTPStatusCode"]}}


def _assert_equal(form: Form, projected: Mapping[str, Any], single: Mapping[str, Any]) -> None:
    if "Error" in single:
        assert projected["Error"]["Code"] == single["Error"]["Code"]
        assert projected["Error"]["Message"] == single["Error"]["Message"]
        assert projected["ResponseMetadata"] == single["ResponseMetadata"]
    elif not form.partial:
        assert projected == single
    for waiter in waiters_of(form):
        assert str(decide(waiter, projected)) == str(decide(waiter, single))
        assert waiter.acceptors.status_in(projected) == waiter.acceptors.status_in(single)
