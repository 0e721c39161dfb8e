"""Which servers a command talks to: those its settings name, or the private pair, held for as long as the command runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from service.cli.output import say
from service.embedded.lease import join
from service.errors import BadSetting
from service.settings import Settings


@contextmanager
def with_servers(settings: Settings, redis: bool = True) -> Iterator[Settings]:
    """The settings with the URLs filled in; the private pair is joined or started when one that is needed is unset."""
    if settings.database_url and (settings.redis_url or not redis):
        yield settings
        return
    lease = join(settings.home_path, report=say)
    try:
        yield msgspec.structs.replace(
            settings,
            database_url=settings.database_url or lease.database_url,
            redis_url=settings.redis_url or lease.redis_url,
        )
    finally:
        lease.release()


def require_urls(settings: Settings) -> Settings:
    """For production: both URLs, or a clear refusal."""
    missing = [name for name in ("database_url", "redis_url") if not getattr(settings, name)]
    if missing:
        names = " and ".join(f"AMITY_{name.upper()}" for name in missing)
        raise BadSetting(f"{names} must be set; `amity serve --embedded` uses private servers instead")
    return settings
