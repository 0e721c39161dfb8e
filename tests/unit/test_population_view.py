"""What sources and the service see of the people eligible for one request, and who is like whom."""

from datetime import timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from service.domain import Relations
from service.features.geography import distance_km
from service.population.build import StandingPairs, build
from service.population.population import Population
from service.population.standing import LIKED
from service.population.tastes import Tastes
from tests.population_people import NOW, asking, encoder, person, tastes

PEOPLE = [
    person(1, bio="hiking tea", age=30, latitude=48.85, longitude=2.35, interests=("go", "tea")),
    person(2, bio="hiking tea", age=31, latitude=45.76, longitude=4.83, interests=("tea", "go")),
    person(3, bio="chess", created_at=NOW - timedelta(days=9), interests=("chess",)),
    person(4, bio="boats", age=60),
]


def population() -> Population:
    likes = StandingPairs(np.array([2, 3, 4]), np.array([1, 1, 2]), np.full(3, LIKED, np.int8))
    return build(PEOPLE, likes, tastes(PEOPLE))


def test_admirers_are_those_eligible_and_not_answered_yet() -> None:
    relations = Relations(liked_by=frozenset({2, 3, 4, 99}), blocked=frozenset({3}), passed=frozenset({4}))
    view = population().eligible(asking(PEOPLE[0], relations, exclude_seen=False))
    assert view.liked_by.tolist() == [2]


def test_columns_line_up_with_eligible_ids() -> None:
    view = population().eligible(asking(PEOPLE[0]))
    assert view.eligible_ids().tolist() == [2, 3, 4]
    np.testing.assert_array_equal(view.column("age"), np.array([31, np.nan, 60], np.float32))
    assert view.column("created_at_s")[1] == (NOW - timedelta(days=9)).timestamp()
    assert view.column("n_likes_received").tolist() == [1, 0, 0]
    expected = [distance_km(48.85, 2.35, 45.76, 4.83), np.nan, np.nan]
    np.testing.assert_allclose(view.column("distance_km"), expected, rtol=1e-6)


def test_a_view_tells_whose_ids_were_used_again_and_not_of_whom_it_does_not_see() -> None:
    people = build([*PEOPLE[:3], person(4, incarnation=2)])
    view = people.eligible(asking(PEOPLE[0]))
    assert view.incarnations(np.array([2, 4, 99])).tolist() == [1, 2, 0]


def test_mutual_query_asks_for_both_directions() -> None:
    people = population()
    view = people.eligible(asking(PEOPLE[0]))
    vector = view.viewer_vector("mutual")
    assert vector is not None
    found = view.search("mutual", vector, 3)
    features = view.features(found.ids, ("forward_affinity", "backward_affinity"))
    np.testing.assert_allclose(found.scores, features.sum(axis=1), rtol=1e-5)


def test_tastes_of_which_nothing_is_known_find_nobody() -> None:
    """Before anybody has liked anybody all vectors are zeros, and equally near would mean the lowest ids."""
    content = encoder().encode_many(PEOPLE)
    people = build(PEOPLE, tastes=Tastes.of(np.zeros((len(PEOPLE), 8), np.float32), content, None))
    assert people.eligible(asking(PEOPLE[0])).viewer_vector("mutual") is None


def test_content_query_turns_towards_liked_people() -> None:
    people = population()
    own = people.eligible(asking(PEOPLE[0])).viewer_vector("content")
    liking = people.eligible(asking(PEOPLE[0], Relations(liked=frozenset({4})), exclude_seen=False)).viewer_vector("content")
    boats = encoder().encode(PEOPLE[3])
    assert own is not None
    assert liking is not None
    assert liking @ boats > own @ boats
    assert np.linalg.norm(liking) == pytest.approx(1, abs=1e-5)


def test_viewer_not_known_here_yet_asks_by_profile() -> None:
    newcomer = person(50, bio="hiking tea", interests=("go", "tea"), age=30, latitude=48.85, longitude=2.35)
    view = population().eligible(asking(newcomer))
    vector = view.viewer_vector("content")
    assert vector is not None
    np.testing.assert_allclose(vector, encoder().encode(PEOPLE[0]), atol=1e-6)
    assert view.search("content", vector, 1).ids.tolist() == [1]


def test_viewer_edited_a_moment_ago_asks_by_the_new_profile() -> None:
    edited = person(4, bio="chess", interests=("chess",))
    vector = population().eligible(asking(edited)).viewer_vector("content")
    assert vector is not None
    np.testing.assert_allclose(vector, encoder().encode(edited), atol=1e-6)


@pytest.mark.parametrize("space", ["mutual", "content"])
def test_without_vectors_nothing_is_found_and_nothing_fails(space: str) -> None:
    view = build(PEOPLE).eligible(asking(PEOPLE[0]))
    assert view.viewer_vector(space) is None
    assert len(view.search(space, np.ones(8, np.float32), 5).ids) == 0


def test_unknown_spaces_and_columns_are_refused_by_name() -> None:
    view = population().eligible(asking(PEOPLE[0]))
    with pytest.raises(ValueError, match="no space named 'nope'"):
        view.search("nope", np.ones(8, np.float32), 1)
    with pytest.raises(ValueError, match="no space named 'nope'"):
        view.viewer_vector("nope")
    with pytest.raises(ValueError, match="no column named 'gender'"):
        view.column("gender")


def test_liked_people_without_vectors_do_not_move_the_content_query() -> None:
    contents = encoder().encode_many(PEOPLE)
    people = build(PEOPLE, tastes=Tastes.of(np.ones((len(PEOPLE), 8), np.float32), contents, None))
    people.apply_profiles([person(9, bio="new")])
    views = [people.eligible(asking(PEOPLE[0], Relations(liked=liked))) for liked in (frozenset({3}), frozenset({3, 9, 99}))]
    first, second = (view.viewer_vector("content") for view in views)
    np.testing.assert_array_equal(first, second)
    assert first is not None
    assert np.isfinite(first).all()


def test_features_of_somebody_erased_meanwhile_are_missing() -> None:
    people = population()
    view = people.eligible(asking(PEOPLE[0]))
    people.erase([2])
    names = ("forward_affinity", "age_gap_years", "distance_km", "shared_interests", "candidate_log_likes_received")
    values = view.features(np.array([2, 3]), names)[0]
    np.testing.assert_array_equal(values, np.array([np.nan, np.nan, np.nan, 0, 0], np.float32))


def test_whoever_was_looked_up_is_described_as_then_though_erased_meanwhile() -> None:
    people = population()
    view = people.eligible(asking(PEOPLE[0]))
    before = view.features(np.array([2, 3, 4]), ("age_gap_years",))
    assert view.contains(np.array([2, 3, 4])).all()
    people.erase([2])
    np.testing.assert_array_equal(view.features(np.array([4, 2]), ("age_gap_years",)), before[[2, 0]])
    assert view.incarnations(np.array([4, 2])).tolist() == [1, 1]


def test_whomever_a_view_has_found_it_knows_though_erased_meanwhile() -> None:
    people = population()
    view = people.eligible(asking(PEOPLE[0]))
    vector = view.viewer_vector("content")
    assert vector is not None
    found = {*view.search("content", vector, 1).ids.tolist(), *view.newest(1, 0.0, 1)[0].tolist(), *view.draw(1, 3).tolist()}
    people.erase([2, 3, 4])
    assert {one for one in (2, 3, 4) if view.contains(np.array([one]))[0]} == found
    assert view.incarnations(np.array(sorted(found))).tolist() == [1] * len(found)


def test_what_a_source_writes_to_its_ids_makes_nobody_eligible() -> None:
    view = population().eligible(asking(PEOPLE[0], Relations(blocked=frozenset({3}))))
    vector = view.viewer_vector("content")
    assert vector is not None
    for ids in (view.draw(5, 1), view.newest(5, 0.0, 1)[0], view.search("content", vector, 5).ids):
        ids[:] = 3
    assert view.contains(np.array([2, 3, 4])).tolist() == [True, False, True]


def test_who_is_asked_about_beside_those_looked_up_is_found_as_well() -> None:
    view = population().eligible(asking(PEOPLE[0]))
    view.contains(np.array([2, 4]))
    for _ in range(2):  # nobody becomes eligible by having been asked about
        assert view.contains(np.array([4, 99, 3, 1])).tolist() == [True, False, True, False]
    assert view.incarnations(np.array([3, 4, 99])).tolist() == [1, 1, 0]


@pytest.mark.parametrize("vectors", [True, False])
def test_most_similar_is_the_one_who_says_the_same(vectors: bool) -> None:
    people = [person(one, bio="hiking tea", interests=("go",), age=30) for one in (1, 2)]
    people += [person(one, bio=f"b{one}", interests=(f"x{one}",), age=60) for one in range(3, 40)]
    found = build(people, tastes=tastes(people) if vectors else None).similar(people[0], frozenset(), 5)
    if not vectors:
        assert found.ids[0] == 2
    assert 2 in found.ids
    assert 1 not in found.ids
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()


def test_similar_leaves_out_the_hidden_and_the_inactive() -> None:
    people = population()
    people.apply_profiles([person(4, status="paused")])
    assert people.similar(PEOPLE[0], frozenset({2}), 9).ids.tolist() == [3]


def test_a_visit_leaves_the_content_of_the_bundle_and_a_new_bio_makes_it_anew() -> None:
    """The bundle's comes from words that another encoder saw, so that the two can be told apart."""
    known = Tastes.of(tastes(PEOPLE).gather(np.arange(4))[0], np.eye(4, 8, dtype=np.float32), encoder())
    people, now_s = build(PEOPLE, tastes=known), NOW.timestamp()
    seen = people.viewer_view(replace(PEOPLE[0], last_active_at=NOW), now_s).content
    rewritten = replace(PEOPLE[0], bio="boats")
    heard = people.viewer_view(rewritten, now_s).content
    assert seen is not None
    assert heard is not None
    np.testing.assert_allclose(seen, np.eye(8)[0], atol=1e-4)
    np.testing.assert_allclose(heard, encoder().encode(rewritten), rtol=1e-6)
