"""Keys and scopes, and where a service without keys may listen."""

import hashlib

import pytest

from service.controllers.keys import parse_keys, require_safe_bind
from service.errors import BadSetting, Forbidden, Unauthorized
from service.settings import Settings

DIGEST = hashlib.sha256(b"s3cret").hexdigest()
KEYS = f"reader:read:{DIGEST}, boss:read+admin:{hashlib.sha256(b'b0ss').hexdigest()}"


def test_a_key_with_the_scope_is_let_in_by_name() -> None:
    keys = parse_keys(KEYS)
    assert keys.require("Bearer s3cret", "read") == "reader"
    assert keys.require("bearer b0ss", "admin") == "boss"


@pytest.mark.parametrize(
    "sent", [None, "", "s3cret", "Basic s3cret", "Bearer wrong", "Bearer ", "Bearer s3cret x", "Bearer \xff"]
)
def test_anything_else_is_unauthorized(sent: str | None) -> None:
    with pytest.raises(Unauthorized):
        parse_keys(KEYS).require(sent, "read")


def test_a_key_without_the_scope_is_forbidden_by_its_name() -> None:
    with pytest.raises(Forbidden, match="'write'"):
        parse_keys(KEYS).require("Bearer b0ss", "write")


def test_without_keys_everyone_is_let_in() -> None:
    assert parse_keys("").require(None, "admin") is None


@pytest.mark.parametrize(
    "text",
    [
        "reader:read",
        f"reader:rule:{DIGEST}",
        f"reader::{DIGEST}",
        f"a b:read:{DIGEST}",
        "reader:read:abc",
        f"same:read:{DIGEST},same:write:{DIGEST}",
    ],
)
def test_an_entry_that_cannot_be_read_is_refused_without_repeating_the_digest(text: str) -> None:
    with pytest.raises(BadSetting) as caught:
        parse_keys(text)
    assert "AMITY_API_KEYS" in str(caught.value)
    assert DIGEST not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_without_keys_loopback_is_served(host: str) -> None:
    require_safe_bind(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_without_keys_any_other_address_is_refused(host: str) -> None:
    with pytest.raises(BadSetting, match="AMITY_API_KEYS"):
        require_safe_bind(Settings(host=host))


def test_other_addresses_are_served_with_keys_or_when_told_to() -> None:
    require_safe_bind(Settings(host="0.0.0.0", api_keys=KEYS))
    require_safe_bind(Settings(host="0.0.0.0", allow_keyless_bind=True))
