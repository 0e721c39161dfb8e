"""What a revision may do to a database that replicas are using, by the statements that it sends."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TABLE = r'(?:if (?:not )?exists )?(?:only )?"?(\w+)"?'
CREATED = re.compile(rf"create table {TABLE}")
INDEXED = re.compile(rf"create (unique )?index (concurrently )?(?:if not exists )?\S+ on (only )?{TABLE}")
ALTERED = re.compile(rf"alter table {TABLE} (.*)")
ROWS = re.compile(rf"^(?:update|delete from) {TABLE}")
OWN = {"facts", "alembic_version"}
"""What the migrating itself writes."""

TAKES_AWAY = re.compile(
    r"\bdrop (table|column|index|trigger|function|view|materialized view|sequence|schema|type|constraint|default)\b"
    r"|\brename\b|^truncate\b"
)
REWRITES = re.compile(
    r"add column .*(\b(small|big)?serial\b|\bgenerated\b"
    r"|\bdefault\b.*\b(nextval|random|gen_random_uuid|uuidv\d|clock_timestamp)\()"
)
"""Each row gets a value of its own, where one default for all costs nothing."""
REFUSES = (
    (re.compile(r"\bset not null\b"), "set not null refuses what the version before writes"),
    (
        re.compile(r"\balter column \S+ (set data )?type\b"),
        "another type rewrites the table, and is not what the version before expects",
    ),
    (re.compile(r"add column (?!.*\bdefault\b).*\bnot null\b"), "a column that must be given is not given by the version before"),
    (
        re.compile(r"add constraint \S+ (unique|primary|exclude)|add column .*\b(unique|primary key)\b"),
        "a unique constraint refuses what the version before writes",
    ),
)
UNCHECKED = re.compile(r"add constraint (?!.*\bnot valid\b)")


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement, and whether it is a transaction of its own."""

    sql: str
    alone: bool = False


def complaints(statements: Iterable[Sent], contracts: bool) -> list[str]:
    """What is wrong with a revision, in words."""
    new: set[str] = set()
    found: list[str] = []
    in_transaction = False
    for sent in statements:
        sql = re.sub(r"\s+", " ", sent.sql.strip()).lower()
        new.update(CREATED.findall(sql))
        if not sql.startswith(("select", "set ", "show")):
            if sent.alone and in_transaction:
                found.append(f"leaves its transaction after it has begun, and cannot be done again: {sql}")
            in_transaction |= not sent.alone
        found += [f"{reason}: {sql}" for reason in _of_tables(sql, new, sent.alone)]
        if not contracts:
            found += [f"{reason}: {sql}" for reason in _of_expanding(sql, new)]
    return found


def _of_tables(sql: str, new: set[str], alone: bool) -> Iterator[str]:
    """What holds up those who use a table that is there."""
    for unique, concurrently, only, table in INDEXED.findall(sql):
        if table not in new and not concurrently and not only:
            yield "holds up all writers while an index is made; see service/repositories/online.py"
        if unique and table not in new:
            yield "a unique index refuses what the version before writes"
    for table, change in ALTERED.findall(sql):
        if table not in new and UNCHECKED.search(change):
            yield "reads the whole table under its lock: add the constraint not valid, and validate it in another revision"
        if table not in new and REWRITES.search(change):
            yield "rewrites the whole table under its lock: add the column without, and fill it by batches"
    for table in ROWS.findall(sql):
        if table not in new | OWN and not alone:
            yield "changes rows within the transaction; go by batches, in an autocommit block"


def _of_expanding(sql: str, new: set[str]) -> Iterator[str]:
    if sql.startswith("create function") or sql.startswith("create or replace function"):
        return  # what is said in its body is done later
    if TAKES_AWAY.search(sql):
        yield "takes something away, which the version before may use"
    for table, change in ALTERED.findall(sql):
        if table not in new:
            yield from (reason for pattern, reason in REFUSES if pattern.search(change))
