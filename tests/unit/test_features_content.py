"""Content vectors: the same everywhere, of unit length, whatever script a profile is written in."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain import Profile
from service.features.content import N_DENSE, ContentEncoder, Floats, design, token_counts
from service.features.tokens import MAX_BIO_WORDS, bucket, tokens, words
from tests.population_people import encoder, person

laws = settings(max_examples=100, deadline=None, database=None)
people = st.builds(
    lambda bio, interests, age, place: person(1, bio=bio, interests=tuple(interests), age=age, latitude=place, longitude=place),
    st.text(max_size=60),
    st.lists(st.text(max_size=12), max_size=4),
    st.none() | st.integers(18, 120),
    st.none() | st.floats(-90, 90),
)


@laws
@given(profiles=st.lists(people, max_size=8))
def test_vectors_are_of_unit_length_and_the_same_alone_as_together(profiles: list[Profile]) -> None:
    together = encoder().encode_many(profiles)
    assert together.shape == (len(profiles), 8)
    for profile, vector in zip(profiles, together, strict=True):
        np.testing.assert_array_equal(vector, encoder().encode(profile))
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) or not (
            tokens(profile) or profile.age or profile.latitude is not None
        )


def test_profile_that_says_nothing_has_a_zero_vector() -> None:
    assert not encoder().encode(person(1)).any()


def test_batches_larger_than_a_chunk_are_encoded_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = [person(one, bio=f"w{one} common") for one in range(1, 60)]
    whole = encoder().encode_many(profiles)
    monkeypatch.setattr("service.features.content._PARTS_AT_ONCE", 30)
    np.testing.assert_array_equal(encoder().encode_many(profiles), whole)


def test_projection_sees_the_design_matrix() -> None:
    from scipy.sparse import csr_matrix

    made, profiles = (
        encoder(),
        [person(1, bio="tea and go", age=30), person(2), person(3, location="Rome", latitude=1, longitude=2)],
    )
    indptr, indices, values = design(profiles, made.idf)
    dense: Floats = csr_matrix((values, indices, indptr), (3, len(made.idf) + N_DENSE)) @ made.projection
    expected = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(made.encode_many(profiles), expected, atol=1e-5)


def test_cold_maps_have_a_constant_and_work_in_batches() -> None:
    made, contents = encoder(), encoder().encode_many([person(1, bio="a"), person(2, bio="b")])
    p, q = made.cold_vectors(contents)
    with_constant = np.column_stack((contents, np.ones(2, np.float32)))
    np.testing.assert_allclose(p, np.asarray(with_constant, np.float32) @ made.cold_p, rtol=1e-5)
    np.testing.assert_allclose(made.cold_vectors(contents[1])[1], q[1], rtol=1e-5)


def test_dumped_and_loaded_it_encodes_identically() -> None:
    made, profile = encoder(), person(1, bio="tea", age=40)
    np.testing.assert_array_equal(ContentEncoder.load(made.dump()).encode(profile), made.encode(profile))


@pytest.mark.parametrize("name", ["idf", "projection", "cold_p", "cold_q"])
def test_arrays_that_do_not_fit_are_refused(name: str) -> None:
    arrays = encoder().dump()
    for wrong in (arrays[name][:-1], np.full_like(arrays[name], np.nan)):
        with pytest.raises(ValueError, match=r"fit|finite"):
            ContentEncoder.load(arrays | {name: wrong})
    with pytest.raises(ValueError, match=f"lacks {name}"):
        ContentEncoder.load({key: value for key, value in arrays.items() if key != name})


def test_tokens_ignore_case_and_join_interests_with_bios() -> None:
    said = tokens(person(1, bio="I love HIKING", interests=("Rock Climbing",), gender="X", seeks_genders=("Y",), location="Ulm"))
    assert said == {
        *("word:i", "word:love", "word:hiking", "word:rock", "word:climbing"),
        *("interest:rock climbing", "gender:x", "seeks:y", "location:ulm"),
    }


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert words("旅行が好き") == ["旅行", "行が", "が好", "好き"]
    assert words("люблю чай") == ["люблю", "чай"]


def test_endless_bio_is_cut_short() -> None:
    assert len(tokens(person(1, bio=" ".join(f"w{index}" for index in range(5 * MAX_BIO_WORDS))))) == MAX_BIO_WORDS


def test_buckets_are_the_same_in_another_process() -> None:
    code = "from service.features.tokens import bucket; print([bucket(f'word:{i}é', 999) for i in range(50)])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert other.stdout.strip() == str([bucket(f"word:{index}é", 999) for index in range(50)])


def test_token_counts_hold_each_bucket_once() -> None:
    indptr, indices, values = token_counts([person(1, bio="tea tea TEA go"), person(2)], 64)
    assert indptr.tolist() == [0, 2, 2]
    assert len(set(indices.tolist())) == 2
    assert values.tolist() == [1, 1]
