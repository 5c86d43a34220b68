"""Datasets that are made from the contents of files, once for many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .existing import find_known

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

    from .descriptions import DatasetKey, DerivedDataset, FileDescription
    from .registrar import Registrar


class DerivedDatasets:
    """Keeps what files can make, until one transaction puts it.

    Parameters
    ----------
    butler
        The repository.
    registrar
        Makes references.
    """

    def __init__(self, butler: Butler, registrar: Registrar) -> None:
        self._butler = butler
        self._registrar = registrar
        self._refs: dict[DatasetKey, DatasetRef] = {}
        self._present: set[DatasetKey] = set()
        self._loaded: dict[DatasetKey, Any] = {}

    def look_up(self, descriptions: Iterable[FileDescription]) -> None:
        """Find out what is there already, by one query.

        Parameters
        ----------
        descriptions
            The files of a batch.
        """
        keys = {one.dataset for description in descriptions for one in description.derived}
        new = {key: self._registrar.ref(key) for key in keys if key not in self._refs}
        self._refs.update(new)
        known = find_known(self._butler, new.values()) if new else {}
        self._present.update(key for key, ref in new.items() if ref.id in known)

    def load(self, offers: Sequence[DerivedDataset]) -> list[DatasetKey]:
        """Read from a file what is wanted of it.

        Parameters
        ----------
        offers
            What the file can make.

        Returns
        -------
        list [ DatasetKey ]
            What is to be put if the file is ingested.

        Raises
        ------
        DescriptionError
            Raised if the file is damaged.
        """
        wanted = []
        for offer in offers:
            key = offer.dataset
            if key in self._present:
                continue
            if key not in self._loaded:
                content = offer.load()
                if content is None:
                    continue
                self._loaded[key] = content
            wanted.append(key)
        return wanted

    def put(self, keys: Iterable[DatasetKey]) -> Iterator[DatasetRef]:
        """Put datasets, within a transaction of the caller.

        Parameters
        ----------
        keys
            What `load` returned.

        Yields
        ------
        lsst.daf.butler.DatasetRef
            Each dataset that was put.
        """
        for key in keys:
            ref = self._refs[key]
            # File names are made from dimension records.
            ref = ref.expanded(self._butler.registry.expandDataId(ref.dataId))
            yield self._butler.put(self._loaded[key], ref)

    def confirm(self, keys: Iterable[DatasetKey]) -> None:
        """Take note that a transaction which put datasets is through.

        Parameters
        ----------
        keys
            What was put.
        """
        for key in keys:
            self._present.add(key)
            del self._loaded[key]
