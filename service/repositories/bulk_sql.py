"""The statements of a bulk import."""

PERSON_COLUMNS = (
    "id",
    "name",
    "age",
    "gender",
    "location",
    "latitude",
    "longitude",
    "bio",
    "interests",
    "created_at",
    "last_active_at",
    "seeks_genders",
    "seeks_min_age",
    "seeks_max_age",
    "seeks_max_km",
    "status",
)
"""Columns of staged and exported people, in their order; staged lists are array literals."""

INTERACTION_COLUMNS = ("n", "wave", "actor_id", "target_id", "family", "event_key", "kind", "occurred_at")
"""Columns of staged interactions. `n` is the caller's number; see `record_interactions` for `wave`."""

PLANS = (
    "set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_material = off; "
    "set local enable_bitmapscan = off; set local enable_seqscan = off"
)
"""From the staged rows by index into the big tables, always. Without statistics, as in a database that is being filled for
the first time, the planner once took a join in the other order: 66 s instead of 0.03 s for 40,000 rows. Hence too the laterals
with `offset 0` below, which leave it no other order."""

STAGE_PEOPLE = """
create temp table staged_people (
    id bigint, name text, age smallint, gender text, location text, latitude float8, longitude float8, bio text,
    interests text[], seeks_genders text[], seeks_min_age smallint, seeks_max_age smallint, seeks_max_km float8,
    created_at timestamptz, last_active_at timestamptz, status text
)
"""

COUNT_STANDING_PEOPLE = """
select count(*), count(users.id) from staged_people left join users on users.id = staged_people.id
"""

_PLAIN = [name for name in PERSON_COLUMNS if name not in ("id", "created_at", "last_active_at", "status")]
_OLD = ", ".join(f"u.{name}" for name in _PLAIN)
_NEW = ", ".join(f"s.{name}" for name in _PLAIN)
_SET = ", ".join(f"{name} = s.{name}" for name in _PLAIN)

# A row that stays as it is is not written: no dead row, no entry in the change feed.
UPDATE_PEOPLE = f"""
update users u set {_SET}, updated_at = now(),
    created_at = coalesce(s.created_at, u.created_at),
    last_active_at = coalesce(s.last_active_at, u.last_active_at),
    status = coalesce(s.status, u.status)
from staged_people s
where u.id = s.id and (
    ({_OLD}) is distinct from ({_NEW}) or s.created_at <> u.created_at or s.status <> u.status
    or (s.last_active_at is not null and s.last_active_at is distinct from u.last_active_at)
)
"""

# Whoever was stored by somebody else in between was stored later than this batch, and stays.
INSERT_PEOPLE = f"""
insert into users (id, {", ".join(_PLAIN)}, created_at, last_active_at, status, incarnation)
select s.id, {_NEW}, coalesce(s.created_at, now()), s.last_active_at, coalesce(s.status, 'active'),
    coalesce(t.incarnation, 0) + 1
from staged_people s left join tombstones t on t.user_id = s.id
where not exists (select from users u where u.id = s.id)
order by s.id
on conflict (id) do nothing
"""

STAGE_INTERACTIONS = """
create temp table staged (
    n int, wave int, actor_id bigint, target_id bigint, family smallint, event_key text, kind text, occurred_at timestamptz
)
"""

TAKE_UNKNOWN = """
with gone as (
    select s.ctid as place, s.n, case when a.id is null then s.actor_id end as actor_id,
        case when b.id is null then s.target_id end as target_id
    from staged s left join users a on a.id = s.actor_id left join users b on b.id = s.target_id
    where a.id is null or b.id is null
), taken as (
    delete from staged where ctid = any(array(select place from gone))
)
select n, actor_id, target_id from gone order by n
"""

_STANDING = (
    "(select kind from interactions where actor_id = s.actor_id and target_id = s.target_id and family = s.family "
    "and event_key = '')"
)

# Ledger._moves: who says again what stands, or withdraws where nothing does, says it with a later time. Counted as repeated, so
# a statement of its own; after the matches, which are as old as the likes were; by place, found from the staged rows, since a
# join could be planned in the other order.
MOVE_WAVE = """
update interactions i set kind = moved.kind, occurred_at = moved.occurred_at
from (
    select found.place, s.kind, s.occurred_at from staged s cross join lateral (
        select ctid as place, kind, occurred_at from interactions
        where actor_id = s.actor_id and target_id = s.target_id and family = s.family and event_key = '' offset 0
    ) found
    where s.wave = $1 and s.family in (1, 2) and found.occurred_at < s.occurred_at and (
        found.kind = s.kind or found.kind in ('unlike', 'unpass') and s.kind in ('unlike', 'unpass')
    ) and (s.kind <> 'unblock' or 0 = (select count(*) from matches
        where low_id = least(s.actor_id, s.target_id) and high_id = greatest(s.actor_id, s.target_id)))
) moved
where i.ctid = moved.place
"""

# Ledger._changes: like, pass and block replace another kind, withdrawals only what they undo, and nothing what is newer. A
# withdrawal where no row is at all is stored, so that what it withdraws may come later.
# Scalar subqueries, since the planner may turn `exists` into a hash of the whole table.
WRITE_WAVE = f"""
insert into interactions as i (actor_id, target_id, family, event_key, kind, occurred_at)
select actor_id, target_id, family, event_key, kind, occurred_at from staged s
where wave = $1 and case kind
    when 'unlike' then coalesce({_STANDING} = 'like', true)
    when 'unpass' then coalesce({_STANDING} in ('pass', 'unmatch'), true)
    when 'unblock' then coalesce({_STANDING} = 'block', true)
    when 'unmatch' then {_STANDING} is null or 1 = (select count(*) from matches
        where low_id = least(s.actor_id, s.target_id) and high_id = greatest(s.actor_id, s.target_id))
    else true end
order by actor_id, target_id, family, event_key
on conflict (actor_id, target_id, family, event_key) do update
    set kind = excluded.kind, occurred_at = excluded.occurred_at, slate_id = null, recorded_at = now()
    where i.family in (1, 2) and i.kind <> excluded.kind and i.occurred_at <= excluded.occurred_at
"""

_MINE = "actor_id = s.actor_id and target_id = s.target_id"
_THEIRS = "actor_id = s.target_id and target_id = s.actor_id"
_LIKE = "family = 1 and event_key = '' and kind = 'like'"
_BLOCK = "family = 2 and event_key = '' and kind = 'block'"
_LIFTED = (
    "family = 2 and event_key = '' and (kind = 'block' or interactions.occurred_at > greatest(s.occurred_at, theirs.occurred_at))"
)
"""A block that stands, or was lifted after both likes."""
_JUST_LIFTED = (
    "family = 2 and event_key = '' and kind = 'unblock' and interactions.occurred_at = s.occurred_at and recorded_at = now()"
)
"""Written by this batch, not moved or left as it was."""

# Ledger._settle: a match ends when either like stops standing or either blocks; so does one from before a block of which the
# file tells only that it was lifted.
END_MATCHES = f"""
delete from matches where ctid = any(array(
    select found.place from staged s cross join lateral (
        select ctid as place, matched_at from matches
        where low_id = least(s.actor_id, s.target_id) and high_id = greatest(s.actor_id, s.target_id) offset 0
    ) found
    where wave = $1 and s.kind in ('pass', 'unlike', 'unmatch', 'block', 'unblock')
        and (s.kind = 'unblock' and matched_at < s.occurred_at
            and exists (select from interactions where {_MINE} and {_JUST_LIFTED}) or s.kind <> 'unblock' and not (
            exists (select from interactions where {_MINE} and {_LIKE})
            and exists (select from interactions where {_THEIRS} and {_LIKE})
            and not exists (select from interactions where {_MINE} and {_BLOCK})
            and not exists (select from interactions where {_THEIRS} and {_BLOCK})
        ))
))
"""

# Ledger._settle: a like that stands beside the other's like makes a match, unless a block stands, or was lifted only after
# both likes: lifting a block does not bring back the match that it ended, and a file that is imported again must not either.
MAKE_MATCHES = f"""
insert into matches (low_id, high_id, matched_at)
select least(s.actor_id, s.target_id), greatest(s.actor_id, s.target_id), min(greatest(s.occurred_at, theirs.occurred_at))
from staged s
cross join lateral (select occurred_at from interactions where {_THEIRS} and {_LIKE} offset 0) theirs
cross join lateral (select occurred_at from interactions where {_MINE} and {_LIKE} offset 0) mine
where s.wave = $1 and s.kind = 'like' and mine.occurred_at <= s.occurred_at
    and not exists (select from interactions where {_MINE} and {_LIFTED})
    and not exists (select from interactions where {_THEIRS} and {_LIFTED})
group by 1, 2
on conflict (low_id, high_id) do nothing
"""

EXPORT_COUNTS = "select (select count(*) from users), (select count(*) from interactions)"

EXPORT_PEOPLE = f"select {', '.join(PERSON_COLUMNS)} from users order by id"

# The second part: whoever repeated the like of a match that stood moved the time of the like, and not that of the match.
EXPORT_INTERACTIONS = """
select actor_id, target_id, kind, occurred_at, case when event_key like 'id:%' then substr(event_key, 4) end as event_id
from interactions
union all
select actor_id, target_id, 'like', matched_at, null from matches
join interactions on family = 1 and event_key = '' and (actor_id, target_id) in ((low_id, high_id), (high_id, low_id))
where occurred_at > matched_at
"""
