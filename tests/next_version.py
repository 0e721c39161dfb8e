"""The version after this one, made of this one: it keeps what people tell of themselves in `about` instead of `bio`.

What a release with a new column is: two revisions that expand (the column, kept the same as the old one by a trigger whoever
writes; then its values for everybody, in batches), one that contracts, and code that reads and writes the new column alone.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from service.repositories.revisions import history
from tests.embedded import ROOT

FOLLOW = '''
FOLLOW = """
create function amity_about_and_bio() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' and new.about = '' or tg_op = 'UPDATE' and new.about = old.about then
        new.about := new.bio;
    else
        new.bio := new.about;
    end if;
    return new;
end $$
"""
TRIGGER = (
    "create trigger users_about_and_bio before insert or update of bio, about on users "
    "for each row execute function amity_about_and_bio()"
)
'''

COLUMN = (
    FOLLOW
    + """

def upgrade() -> None:
    op.add_column("users", sa.Column("about", sa.Text, nullable=False, server_default=sa.text("''")))
    op.execute(FOLLOW)
    op.execute(TRIGGER)


def downgrade() -> None:
    op.execute("drop trigger users_about_and_bio on users")
    op.execute("drop function amity_about_and_bio")
    op.drop_column("users", "about")
"""
)

VALUES = '''
BATCH = "update users set about = bio where id > :after and id <= :after + 100 and about <> bio"


def upgrade() -> None:
    """Outside of a transaction: each batch is one. What is filled in already stays, so that it can be done again."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        last = connection.scalar(sa.text("select coalesce(max(id), 0) from users"))
        for after in range(0, last, 100):
            connection.execute(sa.text(BATCH), {"after": after})


def downgrade() -> None:
    """The values go with the column."""
'''

WITHOUT_BIO = (
    FOLLOW
    + """

def upgrade() -> None:
    op.execute("drop trigger users_about_and_bio on users")
    op.execute("drop function amity_about_and_bio")
    op.drop_column("users", "bio")


def downgrade() -> None:
    op.add_column("users", sa.Column("bio", sa.Text, nullable=False, server_default=sa.text("''")))
    op.execute("update users set bio = about")
    op.execute(FOLLOW)
    op.execute(TRIGGER)
"""
)

EDITS = (
    ("service/repositories/tables.py", 'Column("bio", Text,', 'Column("about", Text, key="bio",'),
    ("service/repositories/users.py", "longitude, bio, interests, seeks_genders, seeks_min_age,\n        seeks_max_age, "
     "seeks_max_km, status, created_at, last_active_at, incarnation)\n    select",
     "longitude, about, interests, seeks_genders, seeks_min_age,\n        seeks_max_age, "
     "seeks_max_km, status, created_at, last_active_at, incarnation)\n    select"),
    ("service/repositories/users.py", "bio = excluded.bio", "about = excluded.about"),
    ("service/repositories/users.py", "{', users.'.join(FIELDS)}", "{', users.'.join(FIELDS).replace('bio', 'about')}"),
)  # fmt: skip
"""What its code has in place of ours, wherever people are read and written."""


@dataclass(frozen=True, slots=True)
class NextVersion:
    """A folder to run `python -m service.cli` in. `column` and `values` expand, `contract` contracts; `before` is our head."""

    root: Path
    before: str
    column: str
    values: str
    contract: str


def write_revisions(versions: Path) -> tuple[str, str, str, str]:
    """Our head, and the names of the three revisions after it, as files beside ours."""
    before = history().head
    column, values, contract = (f"{int(before) + step:04}" for step in (1, 2, 3))
    write_revision(versions, column, before, COLUMN)
    write_revision(versions, values, column, VALUES)
    write_revision(versions, contract, values, WITHOUT_BIO, oldest=values)
    return before, column, values, contract


def write_revision(versions: Path, name: str, before: str, body: str, oldest: str = "") -> None:
    """A revision with these functions; one with `oldest` contracts."""
    phase = f'phase = "contract"\noldest = "{oldest}"' if oldest else 'phase = "expand"'
    head = f'"""Revision {name}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n'
    names = f'revision = "{name}"\ndown_revision = "{before}"\nbranch_labels = None\ndepends_on = None\n{phase}\n'
    (versions / f"{name}_next.py").write_text(f"{head}\n{names}{body}")


def next_version(root: Path) -> NextVersion:
    """Our packages and migrations with the edits, in an empty folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("service", "migrations"):
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    for file, ours, theirs in EDITS:
        path = root / file
        text = path.read_text()
        assert ours in text, f"{file} has changed; what would the next version have in the place of {ours!r}?"
        path.write_text(text.replace(ours, theirs))
    return NextVersion(root, *write_revisions(root / "migrations" / "versions"))
