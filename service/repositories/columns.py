"""All interactions as numpy columns, through a binary COPY: ten million rows without a Python object for each."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import Kind
from service.repositories.calls import LONG_S, driver

KINDS: tuple[Kind, ...] = tuple(Kind)
"""The kind of each code in InteractionTable.kind: `KINDS[code]`."""

CODES: dict[Kind, int] = {kind: code for code, kind in enumerate(KINDS)}
"""The code of each kind."""

_HEADER_BYTES = 19  # signature 11, flags 4, length of the extension (always 0) 4
_TRAILER_BYTES = 2
_EPOCH_2000_S = 946_684_800  # PostgreSQL counts microseconds from 2000-01-01 UTC

# A row of a binary COPY: number of fields, then each field's length and big-endian value. None of ours is ever null.
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("actor_bytes", ">i4"),
        ("actor", ">i8"),
        ("target_bytes", ">i4"),
        ("target", ">i8"),
        ("kind_bytes", ">i4"),
        ("kind", ">i2"),
        ("time_bytes", ">i4"),
        ("time_us", ">i8"),
    ]
)
_CODE = " ".join(f"when '{kind}' then {code}" for kind, code in CODES.items())
_QUERY = f"select actor_id, target_id, (case kind {_CODE} end)::int2, occurred_at from interactions"


class InteractionTable(msgspec.Struct, frozen=True, eq=False):
    """Every row of `interactions`, withdrawals too, in no particular order. All arrays have shape (n,).

    `actor` and `target` int64 ids, `kind` int8 code into KINDS, `occurred_at_s` float64 seconds since 1970 UTC.
    """

    actor: NDArray[np.int64]
    target: NDArray[np.int64]
    kind: NDArray[np.int8]
    occurred_at_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.actor)


class _Collector:
    """Decodes what arrives into columns made beforehand, so that memory never holds more than them and one chunk."""

    def __init__(self, n_rows: int) -> None:
        self.table = InteractionTable(
            np.empty(n_rows, np.int64), np.empty(n_rows, np.int64), np.empty(n_rows, np.int8), np.empty(n_rows)
        )
        self._rest = b""
        self._n_skip = _HEADER_BYTES
        self._n_done = 0

    async def __call__(self, chunk: bytes) -> None:
        """Receive the next bytes, which may end anywhere in a row."""
        data = self._rest + chunk
        n_rows = max(len(data) - self._n_skip, 0) // _ROW.itemsize
        if n_rows == 0:
            self._rest = data
            return
        rows = np.frombuffer(data, _ROW, n_rows, self._n_skip)
        part = slice(self._n_done, self._n_done + n_rows)
        self.table.actor[part] = rows["actor"]
        self.table.target[part] = rows["target"]
        self.table.kind[part] = rows["kind"]
        self.table.occurred_at_s[part] = rows["time_us"] / 1e6 + _EPOCH_2000_S
        self._rest = data[self._n_skip + n_rows * _ROW.itemsize :]
        self._n_skip = 0
        self._n_done = part.stop


async def copy_interactions(session: AsyncSession) -> InteractionTable:
    """Count and copy under one snapshot."""
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    connection = await driver(session)
    n_rows = await connection.fetchval("select count(*) from interactions", timeout=LONG_S)
    collector = _Collector(n_rows)
    await connection.copy_from_query(_QUERY, output=collector, format="binary", timeout=LONG_S)
    return collector.table
