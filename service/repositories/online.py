"""Indexes on tables that replicas are writing to, and statistics of their columns, for the use of migrations.

A plain `create index` holds up every writer of its table until it has read all of it, and its transaction holds back the feed of
changes as long: about 25 s for 10 million slates. Built concurrently it holds up nobody.

It is no part of the migration's transaction, which it commits. So it comes first in a revision, and can be done again after it
was cut off: an index that is there stays, and one that is half built is built anew.
"""

from collections.abc import Callable, Sequence

from alembic import op
from sqlalchemy import Connection, text

_LOCK_TIMEOUT = text("select current_setting('lock_timeout')")
_STATE = text("select indisvalid from pg_index where indexrelid = to_regclass(:name)")
_IS_PARTITIONED = text("select relkind = 'p' from pg_class where oid = cast(:table as regclass)")
_NEXT_LACKING = text(
    """
    select partition.inhrelid::regclass::text from pg_inherits partition
    where partition.inhparent = cast(:table as regclass) and not exists (
        select from pg_inherits part join pg_index on indexrelid = part.inhrelid
        where part.inhparent = cast(:name as regclass) and indrelid = partition.inhrelid
    )
    order by 1 limit 1
    """
)
_NAME_LENGTH = 63
"""Of which PostgreSQL keeps the first bytes of a name."""


def create_index(name: str, table: str, what: str) -> None:
    """An index whose definition after the table's name is `what`: `(viewer_id, served_at) where experiment is not null`."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        if connection.scalar(_IS_PARTITIONED, {"table": table}):
            _on_partitions(connection, name, table, what)
        else:
            _patiently(connection, lambda: _build(connection, name, table, what))


def set_statistics(table: str, columns: Sequence[str], target: int) -> None:
    """How closely ANALYZE looks at columns of the table and of its partitions: 0 for not at all, -1 for as it does by default.

    It waits for vacuums, other DDL and those who make partitions, and only these wait for it. A transaction of its own, which
    writes nothing before it has all its locks: one that had an xid would hold back the feed of changes meanwhile.
    """
    changes = ", ".join(f"alter column {column} set statistics {target}" for column in columns)
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        _patiently(connection, lambda: connection.execute(text(f"alter table {table} {changes}")))


def _on_partitions(connection: Connection, name: str, table: str, what: str) -> None:
    """On each partition, then one over all of them. Partitions that are made meanwhile have it from the start; which are left is
    asked after each, since old ones are dropped meanwhile."""
    connection.execute(text(f"create index if not exists {name} on only {table} {what}"))
    while partition := connection.scalar(_NEXT_LACKING, {"table": table, "name": name}):
        part = f"{partition}_{name}"[:_NAME_LENGTH]
        _patiently(connection, lambda partition=partition, part=part: _build(connection, part, partition, what))  # type: ignore[misc]
        connection.execute(text(f"alter index {name} attach partition {part}"))


def _build(connection: Connection, name: str, table: str, what: str) -> None:
    if connection.scalar(_STATE, {"name": name}) is False:
        connection.execute(text(f"drop index concurrently {name}"))
    connection.execute(text(f"create index concurrently if not exists {name} on {table} {what}"))


def _patiently(connection: Connection, work: Callable[[], object]) -> None:
    """Without a bound on waiting: it waits for the transactions that are open, and nobody waits for it."""
    before = connection.scalar(_LOCK_TIMEOUT)
    connection.execute(text("set lock_timeout = 0"))
    try:
        work()
    finally:
        connection.execute(text(f"set lock_timeout = '{before}'"))
