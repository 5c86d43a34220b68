"""What has become of targets in newer versions of their catalogue."""

from __future__ import annotations

__all__ = ["DELETED", "LOST", "MOVED", "CurrentCatalogs"]

import dataclasses
import functools
import uuid
from typing import TYPE_CHECKING

import numpy as np
from lsst.daf.butler import MissingDatasetTypeError

from spherex.targets import CATALOG_TYPE

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler
    from numpy.typing import NDArray

MOVED = "moved in the catalogue"
DELETED = "no longer in the catalogue"
LOST = "with a position of a catalogue that is no longer there"

_NUMBERS = ("ra", "dec", "pmra", "pmdec", "ref_epoch")


@dataclasses.dataclass(frozen=True)
class _Version:
    """Rows by name, and the numbers that say where targets are, shape (n, 5)."""

    rows: dict[str, int]
    numbers: NDArray[np.float64]


class CurrentCatalogs:
    """The newest version of each catalogue, and those before.

    Parameters
    ----------
    butler
        The repository.
    chain
        Collection of a catalogue, the newest version first; ``{catalog}``
        stands for its name.
    """

    def __init__(self, butler: Butler, chain: str) -> None:
        self._butler = butler
        self._chain = chain
        self._newest = functools.cache(self._find)
        # None is kept for versions that are gone.
        self._version = functools.cache(self._read)

    def change(self, catalog: str, target: str, used: str) -> str:
        """Return what has become of a target.

        Parameters
        ----------
        catalog, target
            Names.
        used
            Id of the version that was used; empty if it is not known.

        Returns
        -------
        change
            `MOVED`, `DELETED`, `LOST`, or empty if its row is still the same
            or nothing can be said.

        Raises
        ------
        ValueError
            If there is no such catalogue.
        lsst.daf.butler.MissingCollectionError
            If there is no such collection.
        """
        if not used or (newest := self._newest(catalog)) == used:
            return ""
        now, before = self._version(newest), self._version(used)
        if now is None:
            raise ValueError(f"The file of {CATALOG_TYPE} of {catalog} is gone: register the catalogue again")
        if target not in now.rows:
            return DELETED
        if before is None or target not in before.rows:
            return LOST
        is_same = np.array_equal(now.numbers[now.rows[target]], before.numbers[before.rows[target]], equal_nan=True)
        return "" if is_same else MOVED

    def _find(self, catalog: str) -> str:
        chain = self._chain.replace("{catalog}", catalog)
        try:
            ref = self._butler.find_dataset(CATALOG_TYPE, catalog=catalog, collections=chain)
        except MissingDatasetTypeError:
            ref = None
        if ref is None:
            raise ValueError(f"There is no {CATALOG_TYPE} of {catalog} in {chain}: name its collection with --catalogs")
        return str(ref.id)

    def _read(self, text: str) -> _Version | None:
        ref = self._butler.get_dataset(uuid.UUID(text))
        try:
            return None if ref is None else _version_of(self._butler.get(ref))
        except FileNotFoundError:
            return None


def _version_of(table: Table) -> _Version:
    numbers = np.full((len(table), len(_NUMBERS)), np.nan)
    for column, name in enumerate(_NUMBERS):
        # Without motions a column of that name is one of the user's own.
        if name in table.colnames and (column < 2 or _NUMBERS[2] in table.colnames):
            numbers[:, column] = np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan)
    motions = numbers[:, 2:]
    # Where nothing moves the epoch means nothing: see `spherex.targets.positions_at`.
    motions[~np.isfinite(motions).all(axis=1) | (motions[:, :2] == 0).all(axis=1)] = np.nan
    return _Version({name: row for row, name in enumerate(np.asarray(table["name"], dtype=str).tolist())}, numbers)
