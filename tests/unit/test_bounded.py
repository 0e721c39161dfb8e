"""Memory that is bounded in bytes."""

from hypothesis import given
from hypothesis import strategies as st

from service.metrics import REGISTRY
from service.recommend.bounded import ENTRY_BYTES, Bounded


def of_size(n_entries: int) -> Bounded[int, bytes]:
    """Room for so many entries of 100 bytes."""
    return Bounded("test", n_entries * (100 + ENTRY_BYTES), len)


def test_what_was_used_stays_for_another_round() -> None:
    held = of_size(2)
    held.put(1, bytes(100))
    held.put(2, bytes(100))
    held.get(1)
    held.put(3, bytes(100))
    assert set(held.keys()) == {1, 3}
    held.put(4, bytes(100))
    assert set(held.keys()) == {3, 4}


def test_when_all_were_used_the_first_goes() -> None:
    held = of_size(3)
    for key in (1, 2, 3):
        held.put(key, bytes(100))
        held.get(key)
    held.put(4, bytes(100))
    assert set(held.keys()) == {2, 3, 4}


def test_a_peek_is_no_use() -> None:
    held = of_size(2)
    held.put(1, bytes(100))
    held.put(2, bytes(100))
    assert held.peek(1) == bytes(100)
    held.put(3, bytes(100))
    assert list(held.keys()) == [2, 3]


def test_what_alone_is_too_large_is_not_held_and_drives_nobody_out() -> None:
    held = of_size(2)
    held.put(1, bytes(100))
    held.put(2, bytes(1000))
    assert list(held.keys()) == [1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400))))
def test_bytes_are_counted_and_never_more_than_allowed(puts: list[tuple[int, int]]) -> None:
    held = of_size(3)
    for key, size in puts:
        held.put(key, bytes(size))
        there = [held.peek(one) or b"" for one in list(held.keys())]
        assert held.n_bytes == sum(len(value) + ENTRY_BYTES for value in there) <= 900


def test_the_gauge_follows() -> None:
    held = of_size(2)
    held.put(1, bytes(100))
    assert REGISTRY.get_sample_value("amity_first_level_bytes", {"kind": "test"}) == 100 + ENTRY_BYTES
    held.clear()
    assert (REGISTRY.get_sample_value("amity_first_level_bytes", {"kind": "test"}), len(held)) == (0, 0)
