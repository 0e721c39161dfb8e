"""A population as files of a bundle: the only code that knows their names, `people.*`, `directory.*`, `vocab.*`, `profiles.*`,
`relations.*`, `vectors.*`, `index.*` and `foldin.*`; those of the encoder, `content.*`, are its own."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import BundleWriter
from service.errors import BundleInvalid
from service.features.content import ContentEncoder
from service.population.columns import COUNTS, Columns
from service.population.directory import Directory
from service.population.drawing import newest_first
from service.population.foldin import FoldIn
from service.population.layout import by_place
from service.population.population import Base, Population
from service.population.profiles import ProfileBytes
from service.population.relations import RelationMemory
from service.population.sides import Side
from service.population.spaces import UNSEEN, Writing, read_space, write_spaces
from service.population.table import STORED, Interests
from service.population.tastes import SPACES, Tastes
from service.population.vocabulary import Vocabularies, Vocabulary

Rows = NDArray[np.int64]

_SIDES = ("given", "received")


def write(writer: BundleWriter, population: Population, tastes: Tastes, how: Writing = UNSEEN) -> None:
    """Add everyone to a bundle that is being written, in rows by place. The population must be as it was built, without overlay.

    Raises ValueError when it is not, or when `tastes` are of another number of people.
    """
    columns = population.columns
    if population.n_overlay or population.n_people != columns.n:
        raise ValueError("only a population that nothing has changed since it was built can be written")
    if tastes.spaces["mutual"].n_base != columns.n:
        raise ValueError(f"vectors of {tastes.spaces['mutual'].n_base} people do not fit a population of {columns.n}")
    order = by_place(columns)
    _write_people(writer, population, order)
    words = population.words
    for name, vocabulary in (("gender", words.genders), ("location", words.locations), ("interests", words.interests)):
        writer.blob(f"vocab.{name}", msgspec.json.encode(vocabulary.texts()))
    writer.blob("vocab.seeks_genders", msgspec.json.encode(words.seeks.sets()))
    for side in _SIDES:
        held: Side = getattr(population.memory, side)
        writer.array(f"relations.{side}.indptr", held.indptr)
        writer.array(f"relations.{side}.ids", _narrow(held.ids))
        writer.array(f"relations.{side}.kinds", held.kinds)
    write_spaces(writer, population, tastes, order, how)
    for prefix, fitted in (("content", tastes.encoder), ("foldin", tastes.fold_in)):
        for name, array in (fitted.dump() if fitted is not None else {}).items():
            writer.array(f"{prefix}.{name}", array)


def load(bundle: Bundle) -> Population:
    """The population of a bundle, mapped but for what changes. Raises BundleInvalid saying what does not fit."""
    try:
        return _load(bundle)
    except (ValueError, IndexError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BundleInvalid(f"bundle {bundle.version}: {exc}") from exc


def _write_people(writer: BundleWriter, population: Population, order: Rows) -> None:
    columns = population.columns
    for name in (*STORED, *COUNTS):
        writer.array(f"people.{name}", _narrow(columns.base(name)[order]))
    codes, starts, lengths = columns.interests_of(order)
    writer.array("people.interests.starts", np.append(starts, lengths.sum()))
    writer.array("people.interests.codes", _narrow(codes))
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    writer.array("people.newest", _narrow(row_of[newest_first(columns)]))
    writer.array("directory.ids", population.directory.base_ids)
    writer.array("directory.rows", _narrow(row_of[np.asarray(population.directory.base_rows, np.int64)]))
    profiles = population.base_profiles.ordered(order)
    writer.array("profiles.offsets", profiles.offsets)
    writer.blob("profiles", profiles.data)


def _narrow(column: NDArray[Any]) -> NDArray[Any]:
    """In the narrowest type that holds these very values: a page of memory holds two to four times as many. For values that are
    looked up and compared, not for the bounds of spans, of which sums are taken: these would overflow."""
    if column.dtype.kind == "i" and len(column):
        kinds = (np.int8, np.int16, np.int32, np.int64)
        return column.astype(
            next(kind for kind in kinds if np.iinfo(kind).min <= column.min() and column.max() <= np.iinfo(kind).max)
        )
    if column.dtype == np.float32:
        with np.errstate(over="ignore"):
            half = column.astype(np.float16)
        return half if np.array_equal(half.astype(np.float32), column, equal_nan=True) else column
    return column


def _load(bundle: Bundle) -> Population:
    stored = {name: bundle.array(f"people.{name}") for name in (*STORED, *COUNTS)}
    n_people = len(stored["id"])
    if any(len(array) != n_people for array in stored.values()):
        raise ValueError("columns of people differ in length")
    if stored["place"].shape != (n_people, 3):
        raise ValueError("places are not points of a sphere")
    words = _vocabularies(bundle)
    interests = Interests(bundle.array("people.interests.starts"), bundle.array("people.interests.codes"))
    _check_spans("people.interests", interests.starts, n_people, len(interests.codes))
    for name, codes, n_codes in (
        ("gender", stored["gender"], len(words.genders)),
        ("location", stored["location"], len(words.locations)),
        ("seeks_genders", stored["seeks_genders"], len(words.seeks.sets())),
        ("interests", interests.codes, len(words.interests)),
    ):
        if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < n_codes:
            raise ValueError(f"codes of {name} reach beyond their vocabulary")
    profiles = ProfileBytes(bundle.array("profiles.offsets"), bundle.blob("profiles"), bundle.file("profiles"))
    _check_spans("profiles", profiles.offsets, n_people, len(profiles.data))
    directory = _directory(bundle, stored["id"])
    relations = RelationMemory(directory.base_ids, *(_side(bundle, name, n_people) for name in _SIDES))
    return Population(
        Base(
            columns=Columns(stored, interests),
            words=words,
            directory=directory,
            profiles=profiles,
            relations=relations,
            tastes=_tastes(bundle, n_people),
            bundle_version=bundle.version,
            position=bundle.manifest.feed_position,
            newest=_rows(bundle, "people.newest", n_people),
        )
    )


def _directory(bundle: Bundle, row_ids: NDArray[np.integer]) -> Directory:
    ids, rows = bundle.array("directory.ids"), _rows(bundle, "directory.rows", len(row_ids))
    if len(ids) != len(row_ids) or (np.diff(ids) <= 0).any() or not np.array_equal(np.asarray(row_ids)[rows], ids):
        raise ValueError("the directory does not fit the people: ids must ascend, and be those of their rows")
    return Directory(ids, rows)


def _rows(bundle: Bundle, name: str, n_people: int) -> NDArray[np.integer]:
    """An array that names every row once."""
    rows = bundle.array(name)
    if (
        len(rows) != n_people
        or rows.dtype.kind != "i"
        or not np.array_equal(np.bincount(rows, minlength=n_people), np.ones(n_people))
    ):
        raise ValueError(f"{name} does not name every row once")
    return rows


def _vocabularies(bundle: Bundle) -> Vocabularies:
    texts = {
        name: msgspec.json.decode(bundle.blob(f"vocab.{name}"), type=list[str]) for name in ("gender", "location", "interests")
    }
    sets = msgspec.json.decode(bundle.blob("vocab.seeks_genders"), type=list[tuple[str, ...]])
    words = Vocabularies(texts["gender"], texts["location"], texts["interests"], sets)
    kept: tuple[tuple[str, Vocabulary], ...] = (
        ("gender", words.genders),
        ("location", words.locations),
        ("interests", words.interests),
    )
    if words.seeks.sets() != sets or any(vocabulary.texts() != texts[name] for name, vocabulary in kept):
        raise ValueError("a vocabulary repeats itself")
    return words


def _side(bundle: Bundle, name: str, n_people: int) -> Side:
    side = Side(*(bundle.array(f"relations.{name}.{part}") for part in ("indptr", "ids", "kinds")))
    if len(side.ids) != len(side.kinds):
        raise ValueError(f"relations.{name} differ in length")
    _check_spans(f"relations.{name}", side.indptr, n_people, len(side.ids))
    return side


def _tastes(bundle: Bundle, n_people: int) -> Tastes:
    mutual, content = (read_space(bundle, name, n_people) for name in SPACES)
    encoder, fold_in = bundle.arrays("content."), bundle.arrays("foldin.")
    return Tastes(mutual, content, ContentEncoder.load(encoder) if encoder else None, FoldIn.load(fold_in) if fold_in else None)


def _check_spans(name: str, indptr: NDArray[Any], n_people: int, n_values: int) -> None:
    ends = len(indptr) == n_people + 1 and indptr[0] == 0 and indptr[-1] == n_values
    if not ends or indptr.dtype != np.int64 or (np.diff(indptr) < 0).any():
        raise ValueError(f"{name}: spans do not fit {n_people} people and {n_values} values")
