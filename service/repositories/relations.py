"""How one person stands to all others, as the database gathers it into one row."""

from collections.abc import Sequence

from service.domain import Relations

_SIDE = """
    cross join lateral (
        select array_agg({other}) filter (where kind = 'like') as likes,
            array_agg({other}) filter (where kind in ('pass', 'unmatch')) as passes,
            array_agg({other}) filter (where kind = 'block') as blocks
        from interactions where {one} = users.id and family in (1, 2) and kind in ('like', 'pass', 'unmatch', 'block')
    ) as {name}
"""
JOINED = _SIDE.format(name="given", one="actor_id", other="target_id") + _SIDE.format(
    name="received", one="target_id", other="actor_id"
)
"""To be joined to `users`, of which `id` is used: one scan of an index for each direction."""

COLUMNS = "given.likes, given.passes, given.blocks, received.likes, received.passes, received.blocks"


def relations_of(row: Sequence[list[int] | None]) -> Relations:
    """From COLUMNS, in their order; None is nobody."""
    liked, passed, blocks, liked_by, passed_by, blocked_by = (frozenset(ids or ()) for ids in row)
    return Relations(liked=liked, passed=passed, liked_by=liked_by, passed_by=passed_by, blocked=blocks | blocked_by)
