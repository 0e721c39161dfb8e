"""Real data sets as files that `amity import` reads.

    python -m benchmarks.convert --dataset speed_dating SOURCE/speed_dating.csv.gz OUT_DIR
    python -m benchmarks.convert --dataset college_msg SOURCE/CollegeMsg.txt OUT_DIR

Writes people.csv and interactions.csv into OUT_DIR and says how many rows of the source it could not use, and why.

speed_dating: one row of the source is what one person (`iid`) decided (`dec`) on the partner of one date (`pid`): like or pass.
Interests are the activities rated 8 of 10 or more; dates were between women and men, which is what each seeks. The waves are in
the order in which they were held, but the source does not date them: here they are four weeks apart, and the dates of an
evening four minutes. No names: people are named by their number.

college_msg: one line is a message: sender, receiver, unix time. The line number is the event id, so that messages within one
second stay apart.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

ACTIVITIES = [
    "sports", "tvsports", "exercise", "dining", "museums", "art", "hiking", "gaming", "clubbing",
    "reading", "tv", "theater", "movies", "concerts", "music", "shopping", "yoga",
]  # fmt: skip
LEAST_RATING = 8
FIRST_WAVE = datetime(2002, 10, 16, 19, tzinfo=UTC)
GENDERS = {0: "female", 1: "male"}
SOUGHT = {0: "male", 1: "female"}


class Converted(msgspec.Struct, frozen=True, eq=False):
    """The two files as tables, and a line for each kind of row that could not be used."""

    people: pl.DataFrame
    interactions: pl.DataFrame
    skipped: list[str]


def speed_dating(source: Path) -> Converted:
    rows = pl.read_csv(source, infer_schema_length=None)
    dates = rows.filter(pl.col("pid").is_not_null())
    at = FIRST_WAVE + (pl.col("wave") - 1) * timedelta(weeks=4) + pl.col("order") * timedelta(minutes=4)
    interactions = dates.select(
        actor_id="iid",
        target_id="pid",
        kind=pl.when(pl.col("dec") == 1).then(pl.lit("like")).otherwise(pl.lit("pass")),
        occurred_at=at.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    n_skipped = rows.height - dates.height
    skipped = [f"{n_skipped} dates whose partner the source does not name (`pid` is empty)"] if n_skipped else []
    return Converted(_daters(rows).sort("id"), _in_time(interactions), skipped)


def _daters(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a person. An age that the service does not know is left out, as one that is missing."""
    interests = pl.concat_list(
        pl.when(pl.col(name) >= LEAST_RATING).then(pl.lit("television" if name == "tv" else name)) for name in ACTIVITIES
    )
    bio = pl.concat_str(
        pl.lit("Studies ") + pl.col("field").str.strip_chars(),
        pl.lit("wants to work in ") + pl.col("career").str.strip_chars(),
        separator=", ",
        ignore_nulls=True,
    )
    return rows.unique("iid", keep="first", maintain_order=True).select(
        id="iid",
        name=pl.lit("Person ") + pl.col("iid").cast(pl.String),
        age=pl.when(pl.col("age").is_between(18, 120)).then("age"),
        gender=pl.col("gender").replace_strict(GENDERS, return_dtype=pl.String),
        bio=bio.fill_null(""),
        interests=interests.list.drop_nulls().list.join(";"),
        created_at=(FIRST_WAVE + (pl.col("wave") - 1) * timedelta(weeks=4)).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seeks_genders=pl.col("gender").replace_strict(SOUGHT, return_dtype=pl.String),
    )


def college_msg(source: Path) -> Converted:
    names = ["actor_id", "target_id", "at"]
    rows = pl.read_csv(source, separator=" ", has_header=False, new_columns=names).with_row_index("event_id", offset=1)
    told = rows.filter(pl.col("actor_id") != pl.col("target_id"))
    at = pl.from_epoch("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    interactions = told.select("actor_id", "target_id", kind=pl.lit("message"), occurred_at=at, event_id="event_id")
    seen = pl.concat([rows.select(pl.col(name).alias("id"), "at") for name in names[:2]])
    people = (
        seen.group_by("id")
        .agg(pl.col("at").min())
        .select("id", name=pl.lit("Person ") + pl.col("id").cast(pl.String), created_at=at)
        .sort("id")
    )
    n_skipped = rows.height - told.height
    return Converted(people, _in_time(interactions), [f"{n_skipped} messages to oneself"] if n_skipped else [])


def _in_time(interactions: pl.DataFrame) -> pl.DataFrame:
    return interactions.sort("occurred_at", maintain_order=True)


DATASETS: dict[str, Callable[[Path], Converted]] = {"speed_dating": speed_dating, "college_msg": college_msg}


def convert(dataset: str, source: Path, folder: Path) -> Converted:
    """Write people.csv and interactions.csv into the folder, which is made."""
    converted = DATASETS[dataset](source)
    folder.mkdir(parents=True, exist_ok=True)
    converted.people.write_csv(folder / "people.csv")
    converted.interactions.write_csv(folder / "interactions.csv")
    return converted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, choices=sorted(DATASETS))
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    converted = convert(options.dataset, options.source, options.folder)
    print(f"{options.folder}: {converted.people.height:,} people, {converted.interactions.height:,} interactions")
    for line in converted.skipped:
        print(f"skipped: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
