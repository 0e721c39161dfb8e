"""URLs of Redis: what is understood, and that a refusal tells no secret."""

from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from service.errors import BadSetting
from service.fleet.address import parse
from service.fleet.links import open_link


def test_one_server_is_reached_as_redis_py_would() -> None:
    address = parse("redis://reader:s3cret@cache:6380/2?socket_keepalive=yes")
    assert (address.kind, address.hosts, address.tls) == ("single", (), False)
    assert address.options == {
        "host": "cache",
        "port": 6380,
        "db": 2,
        "username": "reader",
        "password": "s3cret",
        "socket_keepalive": True,
    }


def test_a_socket_and_tls_choose_their_connections() -> None:
    assert parse("unix:///run/valkey.sock?db=3").options["connection_class"] is UnixDomainSocketConnection
    assert parse("rediss://cache").options["connection_class"] is SSLConnection


def test_a_cluster_has_hosts_and_what_all_its_connections_share() -> None:
    address = parse("rediss+cluster://u:p%40ss@one:7000,two,[::1]:7002?ssl_check_hostname=no")
    assert (address.kind, address.tls) == ("cluster", True)
    assert address.hosts == (("one", 7000), ("two", 6379), ("::1", 7002))
    assert address.options == {"username": "u", "password": "p@ss", "ssl_check_hostname": False}


def test_a_sentinel_group_has_a_master_a_database_and_a_password_of_its_own() -> None:
    address = parse("redis+sentinel://:pw@a:26379,b/people/4?sentinel_password=other")
    assert (address.kind, address.hosts, address.master) == ("sentinel", (("a", 26379), ("b", 26379)), "people")
    assert address.options == {"password": "pw", "db": 4}
    assert address.sentinel_options == {"password": "other"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache:6379",
        "redis://",
        "unix://",
        "http://cache",
        "redis://u:SECRET/x@cache:6379",
        "redis://cache:SECRET",
        "redis://cache?db=SECRET",
        "redis://:SECRET@cache?speed=11",
        "redis+ring://:SECRET@cache",
        "unix+cluster://:SECRET@cache",
        "redis+cluster://:SECRET@",
        "redis+cluster://:SECRET@one,,two",
        "redis+cluster://:SECRET@one:port",
        "redis+cluster://:SECRET@one/1",
        "redis+cluster://:SECRET@one?speed=11",
        "redis+sentinel://:SECRET@one",
        "redis+sentinel://:SECRET@one/people/first",
        "redis+sentinel://:SECRET@one/people/1/2",
        "redis+sentinel://:SECRET@one/people?speed=11",
        "rediss://:SECRET@cache?ssl_ca_certs=/nowhere/ca.pem",
        "redis://[SECRET",
        "redis+cluster://[SECRET",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(BadSetting, match="AMITY_REDIS_URL cannot be used: ") as refused:
        open_link(url, 0.1)
    assert "SECRET" not in refused.value.message
    assert refused.value.__suppress_context__  # a traceback would show what redis-py quoted


def test_files_of_certificates_are_looked_for_at_the_start(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    assert parse(f"rediss://cache?ssl_ca_certs={authority}").options["ssl_ca_certs"] == str(authority)
