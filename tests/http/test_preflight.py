"""What keeps a replica from starting is one clear line."""

import re
from typing import Any

import msgspec
import pytest

from service.app import create_app, preflight
from service.errors import AmityError, BadSetting, DatabaseUnavailable, PluginBroken, SchemaOutdated
from service.settings import Settings


async def refusal(settings: Settings, **changes: Any) -> AmityError:
    with pytest.raises(AmityError) as caught:
        await preflight(msgspec.structs.replace(settings, **changes))
    assert "\n" not in caught.value.message
    return caught.value


async def test_all_in_order_passes(settings: Settings) -> None:
    await preflight(settings)


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"database_url": ""}, BadSetting, "AMITY_DATABASE_URL must be set"),
        ({"redis_url": ""}, BadSetting, "AMITY_REDIS_URL must be set"),
        ({"redis_url": "http://cache"}, BadSetting, "AMITY_REDIS_URL cannot be used"),
        ({"database_url": "mysql://x/y"}, BadSetting, "must begin with postgresql://"),
        ({"database_url": "postgresql://u:s3cret@127.0.0.1:1/x"}, DatabaseUnavailable, "cannot use PostgreSQL at 127.0.0.1:1"),
        ({"host": "0.0.0.0"}, BadSetting, "AMITY_API_KEYS"),
        ({"api_keys": "nonsense"}, BadSetting, "name:scope+scope:sha256"),
        ({"default_ranker": "v99"}, PluginBroken, "AMITY_DEFAULT_RANKER names 'v99'"),
        ({"sources": "nosuch"}, PluginBroken, "AMITY_SOURCES names 'nosuch'"),
    ],
)
async def test_each_obstacle_is_named(settings: Settings, changes: dict[str, Any], kind: type[AmityError], says: str) -> None:
    refused = await refusal(settings, **changes)
    assert isinstance(refused, kind)
    assert re.search(re.escape(says), refused.message)
    assert "s3cret" not in refused.message


async def test_an_absent_database_is_named(settings: Settings) -> None:
    refused = await refusal(settings, database_url=re.sub(r"/test_\w+", "/nosuch", settings.database_url))
    assert "there is no such database" in refused.message


async def test_a_database_without_the_schema_is_refused(settings: Settings, empty_database_url: str) -> None:
    assert isinstance(await refusal(settings, database_url=empty_database_url), SchemaOutdated)


async def test_a_service_that_cannot_load_its_people_does_not_start(settings: Settings, empty_database_url: str) -> None:
    app = create_app(msgspec.structs.replace(settings, database_url=empty_database_url))
    with pytest.raises(ExceptionGroup) as caught:  # Litestar wraps what a lifespan raises
        async with app.lifespan():
            pytest.fail("it started")
    assert isinstance(caught.value.exceptions[0], SchemaOutdated)
