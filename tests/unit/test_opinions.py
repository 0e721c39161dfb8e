"""The rules of what stands, against a plain model of them: the last valid deed counts, whatever came before."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.domain import Interaction, Kind
from service.repositories.opinions import BLOCK, FAMILY, OPINION, Ledger, Standing

NOON = datetime(2026, 1, 1, tzinfo=UTC)
OPINIONS = [kind for kind, family in FAMILY.items() if family in (OPINION, BLOCK)]

deeds = st.lists(
    st.builds(
        lambda actor_id, kind, minute: Interaction(
            actor_id=actor_id, target_id=3 - actor_id, kind=kind, occurred_at=NOON + timedelta(minutes=minute)
        ),
        st.sampled_from([1, 2]),
        st.sampled_from(OPINIONS),
        st.integers(0, 5),
    ),
    max_size=12,
).map(lambda found: sorted(found, key=lambda one: one.occurred_at))


def applied(*batches: list[Interaction]) -> tuple[dict[tuple[int, int, int], Standing], dict[tuple[int, int], datetime]]:
    """What stands and is matched after batches, each with a ledger of its own as a request has."""
    standing: dict[tuple[int, int, int], Standing] = {}
    matches: dict[tuple[int, int], datetime] = {}
    for batch in batches:
        ledger = Ledger(standing, matches)
        for deed in batch:
            ledger.apply(deed)
        standing |= {place: Standing(deed.kind, deed.occurred_at) for place, deed in ledger.written.items()}
        matches = {people: at for people, at in (matches | ledger.made()).items() if people not in ledger.ended()}
    return standing, matches


@given(deeds)
def test_one_batch_leaves_the_same_as_a_batch_for_each_deed(found: list[Interaction]) -> None:
    assert applied(found) == applied(*([deed] for deed in found))


@given(deeds)
def test_a_match_stands_only_on_two_standing_likes_without_a_block(found: list[Interaction]) -> None:
    standing, matches = applied(found)
    liked = all(standing.get((a, 3 - a, OPINION), (None,))[0] is Kind.LIKE for a in (1, 2))
    blocked = any(standing.get((a, 3 - a, BLOCK), (None,))[0] is Kind.BLOCK for a in (1, 2))

    assert not matches or (liked and not blocked)


@given(deeds)
def test_what_withdraws_nothing_changes_nothing(found: list[Interaction]) -> None:
    """Only what was done can be undone: the first deed that changes a place is no withdrawal."""
    ledger = Ledger({}, {})
    first: dict[tuple[int, int], Kind] = {}
    for deed in found:
        if ledger.apply(deed):
            first.setdefault((deed.actor_id, FAMILY[deed.kind]), deed.kind)

    assert set(first.values()) <= {Kind.LIKE, Kind.PASS, Kind.BLOCK}


SAYINGS = {
    False: ((Kind.LIKE, Kind.PASS, Kind.BLOCK), (Kind.LIKE, Kind.UNLIKE), (Kind.PASS, Kind.UNPASS, Kind.BLOCK)),
    True: ((Kind.PASS, Kind.UNPASS, Kind.BLOCK, Kind.UNBLOCK), (Kind.PASS, Kind.BLOCK, Kind.UNBLOCK)),
}
"""What each of two people may say, without lifted blocks and with them."""


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Interaction], list[Interaction]]:
    """What two did at different times, and the same in another order. What is withdrawn has been done, by the name it bears."""
    lifting = draw(st.booleans())  # beside likes, for between a match a lifting of no block leaves nothing
    kinds = {actor_id: draw(st.sampled_from(SAYINGS[lifting])) for actor_id in (1, 2)}
    found: list[Interaction] = []
    begun = set()
    for actor_id in draw(st.lists(st.sampled_from([1, 2]), max_size=9)):
        kind = draw(st.sampled_from(kinds[actor_id]))
        at = NOON + timedelta(minutes=len(found))
        if kind in (Kind.LIKE, Kind.PASS, Kind.BLOCK) or (actor_id, FAMILY[kind]) in begun:
            begun.add((actor_id, FAMILY[kind]))
            found.append(Interaction(actor_id=actor_id, target_id=3 - actor_id, kind=kind, occurred_at=at))
    return found, draw(st.permutations(found))


@given(histories())
def test_calls_in_any_order_leave_the_same(history: tuple[list[Interaction], list[Interaction]]) -> None:
    found, shuffled = history
    (standing, matches), (then, matches_then) = applied(found), applied(*([deed] for deed in shuffled))

    assert then == standing
    assert matches_then.keys() == matches.keys()


@given(deeds)
def test_lifting_no_block_leaves_a_match_as_it_is(found: list[Interaction]) -> None:
    standing, matches = applied([deed for deed in found if FAMILY[deed.kind] == OPINION])
    late = Interaction(actor_id=1, target_id=2, kind=Kind.UNBLOCK, occurred_at=NOON + timedelta(hours=1))
    ledger = Ledger(standing, matches)

    assert not ledger.apply(late)
    assert (bool(ledger.written), ledger.ended()) == (not matches, [])


@given(deeds)
def test_applying_a_batch_again_changes_nothing(found: list[Interaction]) -> None:
    standing, matches = applied(found)
    last = {(deed.actor_id, FAMILY[deed.kind]): deed for deed in found}
    again = Ledger(standing, matches)
    kept = {deed for deed in last.values() if deed.kind in (Kind.LIKE, Kind.PASS, Kind.BLOCK)}

    assert not any(again.apply(deed) for deed in kept)
