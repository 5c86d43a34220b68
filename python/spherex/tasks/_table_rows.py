"""Rows of one target in the tables of many images."""

from __future__ import annotations

__all__ = ["TableRows"]

import collections
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table

_KEY = "target"
_MOST_BYTES = 256 * 2**20


class TableRows:
    """Picks the rows of targets from tables, and remembers the tables.

    Targets that lie close together are in the same images: one process
    would read each table once for each of them.

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
        for handle in handles:
            table = self._read(handle)
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

    def _read(self, handle: Any) -> pa.Table:
        known = self._tables.get(handle.ref.id)
        if known is not None:
            self._tables.move_to_end(handle.ref.id)
            return known
        table = handle.get(storageClass="ArrowParquet")
        self._tables[handle.ref.id] = table
        self._bytes += table.nbytes
        while self._bytes > self._most_bytes and len(self._tables) > 1:
            self._bytes -= self._tables.popitem(last=False)[1].nbytes
        return table
