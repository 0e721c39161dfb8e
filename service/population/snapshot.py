"""A population as files of a bundle: the only code that knows their names, `people.*`, `vocab.*`, `profiles.*`, `relations.*` and
`vectors.*`; those of the encoder, `content.*`, are its own."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import BundleWriter
from service.errors import BundleInvalid
from service.features.content import ContentEncoder
from service.population.build import counts
from service.population.columns import STORED, Columns, Interests
from service.population.population import Base, Population
from service.population.profiles import ProfileBytes
from service.population.relations import RelationMemory, Side
from service.population.tastes import Tastes
from service.population.vocabulary import Vocabularies, Vocabulary

_SIDES = ("given", "received")


def write(writer: BundleWriter, population: Population, tastes: Tastes) -> None:
    """Add everyone to a bundle that is being written. The population must be as it was built, without overlay.

    Raises ValueError when it is not, or when `tastes` are of another number of people.
    """
    columns = population.columns
    if population.n_overlay or population.n_people != columns.n:
        raise ValueError("only a population that nothing has changed since it was built can be written")
    if tastes.spaces["mutual"].n_base != columns.n:
        raise ValueError(f"vectors of {tastes.spaces['mutual'].n_base} people do not fit a population of {columns.n}")
    for name in STORED:
        writer.array(f"people.{name}", columns[name])
    writer.array("people.interests.starts", np.append(columns["interest_starts"], len(columns.interests)))
    writer.array("people.interests.codes", columns.interests)
    words = population.words
    for name, vocabulary in (("gender", words.genders), ("location", words.locations), ("interests", words.interests)):
        writer.blob(f"vocab.{name}", msgspec.json.encode(vocabulary.texts()))
    writer.blob("vocab.seeks_genders", msgspec.json.encode(words.seeks.sets()))
    writer.array("profiles.offsets", population.base_profiles.offsets)
    writer.blob("profiles", population.base_profiles.data)
    for name in _SIDES:
        side: Side = getattr(population.memory, name)
        for part in ("indptr", "ids", "kinds"):
            writer.array(f"relations.{name}.{part}", getattr(side, part))
    every_row = np.arange(columns.n)
    for name, space in tastes.spaces.items():
        writer.array(f"vectors.{name}", space.gather(every_row))
    if tastes.encoder is not None:
        for name, array in tastes.encoder.dump().items():
            writer.array(f"content.{name}", array)


def load(bundle: Bundle) -> Population:
    """The population of a bundle. Columns are copied, vectors go into the index, the rest stays mapped.

    Raises BundleInvalid saying what does not fit. 5,000 people take about 15 ms, and no work for each person in Python.
    """
    try:
        return _load(bundle)
    except (ValueError, IndexError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BundleInvalid(f"bundle {bundle.version}: {exc}") from exc


def _load(bundle: Bundle) -> Population:
    stored = {name: bundle.array(f"people.{name}") for name in STORED}
    ids = np.asarray(stored["id"], np.int64)
    if any(array.shape != ids.shape for array in stored.values()):
        raise ValueError("columns of people differ in length")
    if (np.diff(ids) <= 0).any():
        raise ValueError("people are not in the order of their ids")
    words = _vocabularies(bundle)
    interests = Interests(bundle.array("people.interests.starts"), bundle.array("people.interests.codes"))
    _check_spans("people.interests", interests.indptr, len(ids), len(interests.codes))
    for name, codes, n_codes in (
        ("gender", stored["gender"], len(words.genders)),
        ("location", stored["location"], len(words.locations)),
        ("seeks_genders", stored["seeks_genders"], len(words.seeks.sets())),
        ("interests", interests.codes, len(words.interests)),
    ):
        if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < n_codes:
            raise ValueError(f"codes of {name} reach beyond their vocabulary")
    profiles = ProfileBytes(bundle.array("profiles.offsets"), bundle.blob("profiles"))
    _check_spans("profiles", profiles.offsets, len(ids), len(profiles.data))
    relations = RelationMemory(ids, *(_side(bundle, name, len(ids)) for name in _SIDES))
    return Population(
        Base(
            columns=Columns(stored, counts(relations), interests),
            words=words,
            profiles=profiles,
            relations=relations,
            tastes=_tastes(bundle, len(ids)),
            bundle_version=bundle.version,
            position=bundle.manifest.feed_position,
        )
    )


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
    mutual, content = bundle.array("vectors.mutual"), bundle.array("vectors.content")
    if len(mutual) != n_people:
        raise ValueError(f"vectors of {len(mutual)} people, and {n_people} people")
    prefix = "content."
    arrays: dict[str, NDArray[Any]] = {name.removeprefix(prefix): bundle.array(name) for name in bundle.names(prefix)}
    return Tastes(mutual, content, ContentEncoder.load(arrays) if arrays else None)


def _check_spans(name: str, indptr: NDArray[Any], n_people: int, n_values: int) -> None:
    if len(indptr) != n_people + 1 or indptr[0] != 0 or indptr[-1] != n_values or (np.diff(indptr) < 0).any():
        raise ValueError(f"{name}: spans do not fit {n_people} people and {n_values} values")
