"""Where Redis is: one URL for a single server, a Cluster or a Sentinel group, with or without TLS.

    redis://  rediss://  unix://                               one server
    redis+cluster://     rediss+cluster://HOST:PORT[,HOST:PORT]            some nodes of a Cluster
    redis+sentinel://    rediss+sentinel://HOST:PORT[,HOST:PORT]/NAME[/DB]  the Sentinels that watch the master NAME

`user:password@` before the first host, and redis-py's options after `?` (such as `ssl_ca_certs=`), work in all of them. Sentinels
that want a password of their own get it by `sentinel_username=` and `sentinel_password=`.
"""

from pathlib import Path
from typing import Any, Literal, Never
from urllib.parse import urlsplit, urlunsplit

import msgspec
from redis.asyncio.connection import parse_url

from service.errors import BadSetting
from service.settings import variable

Kind = Literal["single", "cluster", "sentinel"]
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_PORT = 26379
_CLUSTER_PORT = 6379


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A URL taken apart. `hosts` is empty for a single server, whose address is among the `options` of its connections.

    `master` and `sentinel_options` (user name and password) are for Sentinel only. Never logged: the options hold passwords.
    """

    kind: Kind
    options: dict[str, Any]
    hosts: tuple[tuple[str, int], ...] = ()
    tls: bool = False
    master: str = ""
    sentinel_options: dict[str, Any] = {}


def parse(url: str) -> Address:
    """The address; raises BadSetting, quoting nothing of the URL, for it may hold a password."""
    scheme, plus, kind = url.partition("://")[0].partition("+")
    if not plus:
        return Address(kind="single", options=_options(url), tls=scheme == "rediss")
    if scheme not in ("redis", "rediss") or kind not in ("cluster", "sentinel"):
        _refuse("its scheme is none of redis, rediss, unix, redis+cluster, rediss+cluster, redis+sentinel, rediss+sentinel")
    parts = _split(url)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    path = parts.path.strip("/").split("/")
    default_port = _CLUSTER_PORT if kind == "cluster" else _SENTINEL_PORT
    pairs = tuple(_host(f"{scheme}://{host}", default_port) for host in hosts.split(","))
    one = urlunsplit((scheme, f"{userinfo}{at}{hosts.split(',')[0]}", "", parts.query, ""))
    options = _options(one)
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    if kind == "cluster":
        if path != [""] and path != ["0"]:
            _refuse("a Cluster has only the database 0")
        return Address(kind="cluster", options=options, hosts=pairs, tls=scheme == "rediss")
    if not path[0] or len(path) > 2:
        _refuse("a Sentinel URL ends with the master's name, and perhaps a database: /NAME or /NAME/DB")
    sentinel = {name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options}
    if len(path) == 2:
        options["db"] = _number(path[1])
    return Address(
        kind="sentinel", options=options, hosts=pairs, tls=scheme == "rediss", master=path[0], sentinel_options=sentinel
    )


def _options(url: str) -> dict[str, Any]:
    try:
        options = dict(parse_url(url))
    except ValueError:  # its text quotes what it took for a port, which may be half a password
        _refuse("it is no URL of Redis: scheme, port or an option is wrong")
    for name in _FILES:
        if name in options and not Path(str(options[name])).is_file():
            _refuse(f"{name} names no file")
    if not options.get("host") and not options.get("path"):
        _refuse("it names no host, or no socket")
    return options


def _split(url: str) -> Any:
    try:
        return urlsplit(url)
    except ValueError:
        _refuse("it is no URL")


def _host(url: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        _refuse("a port is no number")
    if not host:
        _refuse("a host is missing")
    return host, port or default_port


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        _refuse("the database is no number")
    return int(text)


def _refuse(why: str) -> Never:
    raise BadSetting(f"{variable('redis_url')} cannot be used: {why}") from None
