"""Every revision, ours and the example of a next version's, keeps the rules of docs/upgrading.md."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event

from service.repositories import migrate, revisions
from tests.embedded import ROOT
from tests.migrations.revision_rules import Sent, complaints
from tests.next_version import write_revisions


@contextmanager
def heard() -> Iterator[list[Sent]]:
    """All statements of the process meanwhile."""
    said: list[Sent] = []

    def hear(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(Sent(statement, connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def by_revision(said: list[Sent]) -> list[list[Sent]]:
    """Each ends with the mark that it leaves."""
    parts: list[list[Sent]] = [[]]
    for sent in said:
        if "insert into facts" in sent.sql:
            parts.append([])
        elif "alembic_version" not in sent.sql:
            parts[-1].append(sent)
    return parts[:-1]


async def test_every_revision_keeps_the_rules(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copytree(ROOT / "migrations", tmp_path / "migrations")
    write_revisions(tmp_path / "migrations" / "versions")
    monkeypatch.setattr(revisions, "folder", lambda: tmp_path / "migrations")
    with heard() as said:
        await migrate.upgrade(empty_database_url)
    known = revisions.history()
    parts = by_revision(said)
    assert len(parts) == len(known.revisions)
    found = {
        revision.name: wrong
        for revision, part in zip(known.revisions, parts, strict=True)
        if (wrong := complaints(part, revision.contracts))
    }
    assert found == {}


def test_revisions_stand_in_one_row_and_are_named_by_their_place() -> None:
    """Two that come after the same one, as two branches of work make them, have no order; names are told to PostgreSQL, in few
    letters."""
    scripts = list(ScriptDirectory.from_config(revisions.configuration()).walk_revisions())[::-1]
    names = [script.revision for script in scripts]
    assert names == [f"{place:04}" for place in range(1, len(names) + 1)]
    assert [script.down_revision for script in scripts] == [None, *names[:-1]]


def test_what_contracts_names_an_earlier_revision_that_expands() -> None:
    known = revisions.history()
    expanding = [revision.name for revision in known.revisions if not revision.contracts]
    for revision in known.revisions:
        if revision.oldest is not None:
            assert revision.oldest in expanding
            assert known.is_before(revision.oldest, revision.name)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("drop table matches", "takes something away"),
        ("ALTER TABLE users DROP COLUMN bio", "takes something away"),
        ("drop index interactions_received", "takes something away"),
        ("truncate market_figures", "takes something away"),
        ("alter table users drop constraint users_age", "takes something away"),
        ("alter table users rename column bio to about", "takes something away"),
        ("alter table users rename to people", "takes something away"),
        ("ALTER TABLE users ALTER COLUMN bio SET NOT NULL", "set not null"),
        ("ALTER TABLE users ALTER COLUMN age TYPE INTEGER", "another type"),
        ("ALTER TABLE users ADD COLUMN about TEXT NOT NULL", "must be given"),
        ("alter table users add constraint one_name unique (name)", "a unique constraint"),
        ("ALTER TABLE users ADD COLUMN code INTEGER UNIQUE", "a unique constraint"),
        ("ALTER TABLE users ADD COLUMN token UUID DEFAULT gen_random_uuid()", "rewrites the whole table"),
        ("alter table users add column born int generated always as (2026 - age) stored", "rewrites the whole table"),
        ("alter table users add constraint old check (age > 30)", "not valid"),
        ("CREATE INDEX users_by_age ON users (age)", "holds up all writers"),
        ("create unique index concurrently users_by_name on users (name)", "a unique index"),
        ("update users set bio = ''", "go by batches"),
    ],
)
def test_what_would_harm_those_who_are_there_is_found_out(sql: str, reason: str) -> None:
    assert any(reason in wrong for wrong in complaints([Sent(sql)], contracts=False))


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE users ADD COLUMN about TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE users ADD COLUMN about TEXT",
        "ALTER TABLE users ADD COLUMN told_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL",
        "alter table users add constraint old check (age > 30) not valid",
        "alter table users validate constraint old",
        "create table new (id bigint not null); create index new_by_id on new (id)",
        "update facts set value = '1'",
    ],
)
def test_what_harms_nobody_is_let_pass(sql: str) -> None:
    assert complaints([Sent(one) for one in sql.split(";")], contracts=False) == []


def test_batches_come_before_the_transaction_that_cannot_be_done_again() -> None:
    batch, column = Sent("update users set bio = '' where id < 9", alone=True), Sent("alter table users add column x int")
    assert complaints([batch, column], contracts=False) == []
    assert "cannot be done again" in complaints([column, batch], contracts=False)[0]


def test_what_contracts_may_take_away() -> None:
    assert complaints([Sent("alter table users drop column bio")], contracts=True) == []
