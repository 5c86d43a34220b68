"""Rows of one target in the tables of many images."""

from __future__ import annotations

__all__ = ["TableRows"]

import collections
import uuid
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table

_KEY = "target"
_MOST_BYTES = 256 * 2**20


class TableRows:
    """Picks the rows of targets from tables, and remembers the tables.

    Targets that lie close together are in the same images: one process
    would read each table once for each of them. Where the tables of a target
    need more memory than there is, the first ones stay, and the rest is read
    again for each target.

    Parameters
    ----------
    most_bytes
        Memory for tables.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._tables: collections.OrderedDict[uuid.UUID, pa.Table] = collections.OrderedDict()

    def of(self, target: str, handles: Sequence[Any]) -> tuple[list[Table], list[Any]]:
        """Return the rows of a target.

        Parameters
        ----------
        target
            Its name.
        handles
            Handles of tables in parquet, such as `lsst.daf.butler.DeferredDatasetHandle`.

        Returns
        -------
        rows
            One table with all rows; none if there are no rows.
        without
            Handles of tables without the target.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        from lsst.daf.butler.formatters.parquet import arrow_to_astropy

        parts, without = [], []
        wanted = {handle.ref.id for handle in handles}
        for handle in handles:
            table = self._read(handle, wanted)
            rows = table.filter(pc.equal(table[_KEY], target))
            if len(rows):
                parts.append(rows)
            else:
                without.append(handle)
        if not parts:
            return [], without
        # The conversion costs more than all of the rest: it is done once. The
        # metadata of the first table would cut all texts to the length of its own.
        joined = [arrow_to_astropy(pa.concat_tables(parts, promote_options="default").replace_schema_metadata())]
        return joined, without

    def _read(self, handle: Any, wanted: Set[uuid.UUID]) -> pa.Table:
        known = self._tables.get(handle.ref.id)
        if known is not None:
            self._tables.move_to_end(handle.ref.id)
            return known
        table = handle.get(storageClass="ArrowParquet")
        # The next target asks for the same tables in the same order: if one
        # gave way to the next, none would be there any more when it is its turn.
        while self._bytes + table.nbytes > self._most_bytes:
            oldest = next((one for one in self._tables if one not in wanted), None)
            if oldest is None:
                return table
            self._bytes -= self._tables.pop(oldest).nbytes
        self._tables[handle.ref.id] = table
        self._bytes += table.nbytes
        return table
