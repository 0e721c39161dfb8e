"""Every form of a PostgreSQL URL is taken, others are refused, and no message repeats a password."""

import pytest

from service.errors import BadSetting
from service.repositories.connections import dsn, place
from service.repositories.database import Database


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_all_three_schemes_are_one(scheme: str) -> None:
    assert dsn(f"{scheme}://user@host/name?host=/dir") == "postgresql://user@host/name?host=/dir"


@pytest.mark.parametrize(
    "url", ["", "amity", "mysql://u:secret@h/d", "postgresql:/u:secret@h", "postgresql://u:secret@h:99999/d"]
)
def test_what_is_no_url_of_postgresql_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(BadSetting) as raised:
        Database(url)

    assert "secret" not in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://user:secret@db.example:5433/amity", "db.example:5433, database amity"),
        ("postgresql://user:secret@/amity?host=/run/postgres", "/run/postgres, database amity"),
        ("postgresql://user:secret@db.example/amity?password=secret", "db.example, database amity"),
        ("postgresql:///", "localhost, database of the user"),
    ],
)
def test_a_place_is_told_without_user_or_password(url: str, told: str) -> None:
    assert place(url) == told
