"""A queue that names region after region does not fill the memory with clients."""

import pytest
from botocore.loaders import Loader

from triggerd.aws.regions import OTHERS, Regions
from triggerd.errors import ConfigError


def test_regions_that_botocore_knows_and_some_that_are_newer_are_free_to_name() -> None:
    regions = Regions(Loader())
    for number in range(OTHERS):
        regions.check(f"eu-new-{number}")
    with pytest.raises(ConfigError, match=r"^region = 'eu-new-99': botocore does not know it, and 16 such") as caught:
        regions.check("eu-new-99")
    assert "set it as a connection's region" in str(caught.value)
    for region in ("eu-new-0", "us-east-1", "eu-central-2", "cn-north-1", "us-gov-west-1"):
        regions.check(region)
