"""Newcomers' lists after their first likes: folded in, against no likes at all and against a model trained anew on them.

    python -m benchmarks.newcomers [--people 5000] [--seeds 7,8,9] [--likes 1,3,10]

A tenth of the people is hidden from a model of all other pairs. Each of them who liked more than n of the others is then known by
the pairs until that nth like, given and received, and is to like again whoever comes later; NDCG@20 and the first 20 are of whole
lists of the eligible and unseen. On the demo population, and, where AMITY_EVAL_DATA names the folder of the real data sets, on
CollegeMsg and the speed dates as `benchmarks.convert` makes them. Trained anew: the same training on the same pairs and those of
all newcomers, with the choices (strengths and prior) of the first.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.convert import convert
from benchmarks.rows import Row
from service.domain import Kind, Profile
from service.repositories.columns import CODES, InteractionTable
from service.training.content import PRIORS, fit_words
from service.training.examples import pairs_of
from service.training.factors import fit_factors
from service.training.learn import Material, encoded, past
from service.training.newcomers import folded, lists_of, newcomers_of, overlap20
from service.training.scene import Scene, tastes_of
from service.training.split import join, split_pairs
from service.transfer.demo import DemoRequest, generate

REFERENCE = datetime(2026, 11, 23, tzinfo=UTC)
REAL = {"college_msg": "CollegeMsg.txt", "speed_dating": "speed_dating.csv.gz"}
LEAST_SHARE = 0.9


class Outcome(msgspec.Struct, frozen=True):
    """NDCG@20 with no likes, folded in, and trained anew; shares of the first 20 that stay, and that both ways have in common."""

    n_newcomers: int
    cold: float
    foldin: float
    retrained: float
    stay: float
    common: float


def measure(material: Material, seed: int, n_likes: int) -> Outcome:
    """On one population, split by one seed."""
    n_people = len(material.ids)
    split = split_pairs(material.pairs, material.ids, seed)
    words = fit_words(material.profiles, seed)
    choices = past(material, words, split, seed, PRIORS).choices
    warm = join(split.factors, split.fit, split.calibration, split.test)
    newcomers = newcomers_of(split.cold, split.cold_people, n_likes)
    encoder, factors = encoded(words, fit_factors(warm, n_people, seed), warm, choices)
    both = join(warm, newcomers.first)
    _, anew = encoded(words, fit_factors(both, n_people, seed), both, choices)
    scene = Scene(material.profiles, warm, material.now_s, tastes_of(factors, words.content, encoder))
    cold, foldin, retrained = (
        lists_of(scene, vectors, newcomers, ~split.cold_people) for vectors in (factors, folded(factors, newcomers), anew)
    )
    return Outcome(
        n_newcomers=len(newcomers.rows),
        cold=cold.ndcg20,
        foldin=foldin.ndcg20,
        retrained=retrained.ndcg20,
        stay=overlap20(cold, foldin),
        common=overlap20(foldin, retrained),
    )


def measured(name: str, material: Material, seeds: list[int], n_likes: int) -> list[Row]:
    """Means over the seeds; the worst seed's share too."""
    with threadpool_limits(1, "blas"):
        found = [measure(material, seed, n_likes) for seed in seeds]
    shares = [each.foldin / each.retrained for each in found]
    title = f"newcomers, {name}, {n_likes} like{'s' if n_likes > 1 else ''}:"
    means = {field: float(np.mean([getattr(each, field) for each in found])) for field in Outcome.__struct_fields__}
    return [
        Row(f"{title} newcomers a seed", means["n_newcomers"], "people"),
        Row(f"{title} NDCG@20 without their likes", means["cold"], ""),
        Row(f"{title} NDCG@20 folded in", means["foldin"], ""),
        Row(f"{title} NDCG@20 trained anew", means["retrained"], ""),
        Row(f"{title} folded in / trained anew", means["foldin"] / means["retrained"], "ratio", LEAST_SHARE),
        Row(f"{title} the same, worst of {len(seeds)} seeds", min(shares), "ratio", LEAST_SHARE),
        Row(f"{title} first 20 that stay after the likes", means["stay"], "share"),
        Row(f"{title} first 20 in common with trained anew", means["common"], "share"),
    ]


def demo_material(n_people: int) -> Material:
    demo = generate(DemoRequest(n_people=n_people, seed=11, reference=REFERENCE))
    kinds = np.array([CODES[kind] for kind in demo.kinds], np.int8)
    ids = np.array([person.id for person in demo.people], np.int64)
    table = InteractionTable(demo.actors, demo.targets, kinds, demo.times_s.astype(np.float64))
    return Material(demo.people, ids, pairs_of(table, ids), REFERENCE.timestamp())


def real_material(name: str, folder: Path) -> Material:
    with tempfile.TemporaryDirectory() as out:
        converted = convert(name, folder / name / REAL[name], Path(out))
    profiles = sorted((_profile(row) for row in converted.people.iter_rows(named=True)), key=lambda profile: profile.id)
    rows = converted.interactions
    table = InteractionTable(
        rows["actor_id"].to_numpy().astype(np.int64),
        rows["target_id"].to_numpy().astype(np.int64),
        np.array([CODES[Kind(kind)] for kind in rows["kind"]], np.int8),
        np.array([datetime.fromisoformat(at).timestamp() for at in rows["occurred_at"]]),
    )
    ids = np.array([profile.id for profile in profiles], np.int64)
    return Material(profiles, ids, pairs_of(table, ids), float(table.occurred_at_s.max()))


def _profile(row: dict[str, Any]) -> Profile:
    sought = row.get("seeks_genders")
    return Profile(
        id=int(row["id"]),
        name=row["name"],
        age=row.get("age"),
        gender=row.get("gender"),
        bio=row.get("bio") or "",
        interests=tuple(filter(None, (row.get("interests") or "").split(";"))),
        seeks_genders=(sought,) if sought else (),
        created_at=datetime.fromisoformat(row["created_at"]),
    )


def materials(n_people: int) -> Iterator[tuple[str, Material]]:
    yield f"demo of {n_people:,}", demo_material(n_people)
    if data := os.environ.get("AMITY_EVAL_DATA"):
        for name in REAL:
            yield name, real_material(name, Path(data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--seeds", default="7,8,9")
    parser.add_argument("--likes", default="1,3,10")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for name, material in materials(options.people):
        for n_likes in options.likes.split(","):
            for row in measured(name, material, seeds, int(n_likes)):
                wanted = "" if row.target is None else f"≥ {row.target:g}: {'met' if row.met else 'MISSED'}"
                print(f"{row.name:<75} {row.value:>10.4f} {row.unit:<7} {wanted}", flush=True)


if __name__ == "__main__":
    main()
