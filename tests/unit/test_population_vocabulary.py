"""Sets of sought genders accept whom their members say, whenever they were added."""

from hypothesis import given, settings
from hypothesis import strategies as st

from service.population.vocabulary import SeekVocabulary, Vocabulary

laws = settings(max_examples=200, deadline=None, database=None)

words = st.sampled_from(["woman", "Woman", "man", "MAN", "fox", "straße", "STRASSE"])
sets = st.lists(st.lists(words, max_size=4).map(tuple), max_size=8)


@laws
@given(had=st.lists(words), sought=sets, gender=words | st.just("nobody's"))
def test_a_set_accepts_its_members_and_the_empty_one_anyone(had: list[str], sought: list[tuple[str, ...]], gender: str) -> None:
    seeks = SeekVocabulary(Vocabulary(had))
    codes = [seeks.add(members) for members in sought]
    accepted = seeks.accepting(gender)
    assert len(accepted) == len(seeks.sets())
    assert [bool(accepted[code]) for code in codes] == [
        not members or gender.casefold() in map(str.casefold, members) for members in sought
    ]


@laws
@given(sought=sets)
def test_sets_read_back_have_the_same_codes(sought: list[tuple[str, ...]]) -> None:
    seeks = SeekVocabulary(Vocabulary())
    codes = [seeks.add(members) for members in sought]
    again = SeekVocabulary(Vocabulary(), seeks.sets())
    assert [again.add(reversed(members)) for members in sought] == codes


def test_what_was_told_of_the_sets_stays_as_it_was_while_more_are_added() -> None:
    seeks = SeekVocabulary(Vocabulary(), [("woman",)])
    before = seeks.accepting("woman")
    seeks.add(("woman", "fox"))
    assert (before.tolist(), seeks.accepting("woman").tolist()) == ([True, True], [True, True, True])
