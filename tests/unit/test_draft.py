"""Team-draft interleaving: its laws, on drawn rankings, and one vector that other languages must agree with."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from service.experiments.draft import FIRST, NOBODYS, SECOND, Drafted, seed_of, team_draft

SEEDS = st.integers(0, 2**64 - 1)
RANKINGS = st.lists(st.integers(1, 40), max_size=30, unique=True)
LIMITS = st.integers(0, 40)


@given(RANKINGS, RANKINGS, LIMITS, SEEDS)
def test_nobody_is_there_twice_and_a_slate_is_as_long_as_it_can_be(
    first: list[int], second: list[int], limit: int, seed: int
) -> None:
    drafted = team_draft(first, second, limit, seed)
    assert len(set(drafted.ids)) == len(drafted.ids) == len(drafted.teams) == min(limit, len({*first, *second}))


@given(RANKINGS, RANKINGS, LIMITS, SEEDS)
def test_each_position_is_the_best_left_of_the_team_that_brought_it(
    first: list[int], second: list[int], limit: int, seed: int
) -> None:
    drafted = team_draft(first, second, limit, seed)
    for place, (who, team) in enumerate(zip(drafted.ids, drafted.teams, strict=True)):
        left = [[one for one in ranking if one not in drafted.ids[:place]] for ranking in (first, second)]
        if team == NOBODYS:
            assert [] in left
            assert who in (left[FIRST] or left[SECOND])[:1]
        else:
            assert left[team][0] == who
            assert left[1 - team]


@given(RANKINGS, RANKINGS, st.integers(0, 30), st.integers(0, 30), SEEDS)
def test_a_shorter_limit_gives_the_beginning_of_the_same_slate(
    first: list[int], second: list[int], some: int, more: int, seed: int
) -> None:
    short, long = sorted((some, more))
    whole = team_draft(first, second, long, seed)
    part = team_draft(first, second, short, seed)
    assert (part.ids, part.teams) == (whole.ids[:short], whole.teams[:short])


@given(RANKINGS, RANKINGS, LIMITS, SEEDS)
def test_of_each_list_no_more_than_the_first_limit_count(first: list[int], second: list[int], limit: int, seed: int) -> None:
    assert team_draft(first[:limit], second[:limit], limit, seed) == team_draft(first, second, limit, seed)


@given(RANKINGS, RANKINGS, LIMITS, SEEDS)
def test_after_each_round_no_team_has_brought_more_than_one_more(
    first: list[int], second: list[int], limit: int, seed: int
) -> None:
    teams = team_draft(first, second, limit, seed).teams
    for place in range(len(teams)):
        assert abs(teams[: place + 1].count(FIRST) - teams[: place + 1].count(SECOND)) <= 1


@given(st.lists(st.integers(1, 99), min_size=1, max_size=20, unique=True), SEEDS)
def test_two_equal_rankings_give_that_ranking_and_all_of_it_counts(ranking: list[int], seed: int) -> None:
    drafted = team_draft(ranking, ranking, len(ranking), seed)
    assert drafted.ids == tuple(ranking)
    assert NOBODYS not in drafted.teams


def test_each_team_chooses_first_for_half_of_the_seeds_in_every_round() -> None:
    first, second = list(range(1, 200)), list(range(200, 400))
    drafts = [team_draft(first, second, 120, seed) for seed in range(4000)]
    for place in (0, 2, 50, 118):
        leads = sum(drafted.teams[place] == FIRST for drafted in drafts)
        assert 1850 < leads < 2150  # 4.7 standard deviations of 4,000 fair coins


def test_coins_of_different_rounds_are_independent_of_one_another() -> None:
    first, second = [1, 2, 3], [4, 5, 6]
    same = sum(drafted.teams[0] == drafted.teams[2] for seed in range(4000) if (drafted := team_draft(first, second, 4, seed)))
    assert 1850 < same < 2150


def test_an_exhausted_list_is_followed_by_the_other_whose_lead_is_nobodys_merit() -> None:
    drafted = team_draft([1], [1, 2, 3], 5, seed=1)
    assert drafted.ids == (1, 2, 3)
    assert drafted.teams[1:] == (NOBODYS, NOBODYS)
    assert team_draft([], [7], 5, seed=1).teams == (NOBODYS,)


def test_the_seed_is_of_the_two_pools_and_of_their_order() -> None:
    one, other = UUID(int=1), UUID(int=2)
    assert seed_of(one, other) == seed_of(one, other) != seed_of(other, one)


def test_a_draft_is_the_same_in_every_language() -> None:
    seed = seed_of(UUID("0190f7c2-0000-7000-8000-000000000000"), UUID("0190f7c2-0000-7000-8000-000000000002"))
    drafted = team_draft([1, 2, 3, 4, 5, 6], [6, 2, 7, 1, 8, 3], 7, seed)
    assert seed == 9_040_427_912_550_136_651
    assert drafted == Drafted((6, 1, 2, 7, 8, 3, 4), (1, 0, 0, 1, 1, 0, -1))
