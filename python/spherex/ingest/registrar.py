"""Registrar of dataset types and collections for an ingest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy.exc
from lsst.daf.butler import (
    CollectionType,
    DataCoordinate,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    MissingDatasetTypeError,
    StorageClassFactory,
)

from spherex.errors import DescriptionError, FileNameError, IngestError
from spherex.file_names import check_directory_name
from spherex.repository import dataset_id, explain
from spherex.unknown_names import name_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .descriptions import DatasetKey, DatasetKind, FileTranslator


_TRIES = 10


def link_run(butler: Butler, chain: str, run: str, order_of: Callable[[str], Any]) -> None:
    """Add a run to a chain; do nothing if it is already a member.

    A new run comes before the first older one. All other members keep their
    order.

    Parameters
    ----------
    butler
        The repository, writeable and not in a transaction.
    chain
        Name of the CHAINED collection, which is registered if it is missing.
    run
        Name of a registered run.
    order_of
        Function that returns the key by which runs are sorted from the oldest
        to the newest; None for other collections, which keep their place.

    Raises
    ------
    IngestError
        Raised if a collection of that name is not CHAINED, the repository
        cannot be written, or other processes change the chain all the time.
    """
    try:
        children = _children(butler, chain)
        if run in children:
            return
        # Another process may add a run between our look and our change. It
        # loses nothing, because only the children before the new one are put
        # in front again, but the order may need another turn.
        for _ in range(_TRIES):
            wanted = _with_run(order_of, [child for child in children if child != run], run)
            if children == wanted:
                return
            butler.collections.prepend_chain(chain, wanted[: wanted.index(run) + 1])
            children = _children(butler, chain)
        else:
            if children != _with_run(order_of, [child for child in children if child != run], run):
                raise IngestError(f"Collection {chain!r} is being changed by other processes: run the command again.")
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise IngestError(f"Collection {chain!r} cannot be changed: {explain(error)}.") from error


def complete_chains(butler: Butler, translator: FileTranslator) -> None:
    """Add the runs below the name of the translator's chain to the chains that lack them.

    Runs come into a repository without an ingest: by ``butler
    transfer-datasets``, or by a process that died before it linked its run.

    Parameters
    ----------
    butler
        The repository, writeable and not in a transaction.
    translator
        Translator with the chains of each run, and their order.

    Raises
    ------
    IngestError
        Raised if a collection of such a name is not CHAINED, or the repository
        cannot be written.
    """
    known: dict[str, set[str]] = {}
    for run in butler.collections.query(f"{translator.chain}/*", collection_types=CollectionType.RUN):
        for chain in translator.chains_of(run):
            if chain not in known:
                known[chain] = set(_children(butler, chain))
            if run not in known[chain]:
                link_run(butler, chain, run, translator.order_of)


def _children(butler: Butler, name: str) -> list[str]:
    try:
        info = butler.collections.get_info(name)
    except MissingCollectionError:
        butler.collections.register(name, CollectionType.CHAINED)
        return []
    if info.type is not CollectionType.CHAINED:
        raise IngestError(
            f"Collection {name!r} of the repository is of type {info.type.name}, not CHAINED: remove or rename it."
        )
    return list(info.children)


def _with_run(order_of: Callable[[str], Any], members: Sequence[str], run: str) -> list[str]:
    """Return the members of a chain with the run among them."""
    age = order_of(run)
    ages = {number: order_of(member) for number, member in enumerate(members)}
    runs = [number for number, member_age in ages.items() if member_age is not None]
    older = [number for number in runs if ages[number] < age]
    place = older[0] if older else runs[-1] + 1 if runs else len(members)
    return [*members[:place], run, *members[place:]]


class Registrar:
    """Registrar of the dataset types and runs that references to datasets need.

    Parameters
    ----------
    butler
        The repository.
    translator
        Translator of the files.
    dry_run
        Register nothing.
    """

    def __init__(self, butler: Butler, translator: FileTranslator, dry_run: bool) -> None:
        self._butler = butler
        self._translator = translator
        self._dry_run = dry_run
        self._types: dict[DatasetKind, DatasetType] = {}
        self._orders: dict[DatasetKind, tuple[int, ...]] = {}
        self._runs: set[str] = set()

    def ref(self, key: DatasetKey, content: str = "") -> DatasetRef:
        """Return a reference to a dataset, which need not exist.

        Parameters
        ----------
        key
            The dataset.
        content
            Fingerprint of its content, see `dataset_id`.

        Returns
        -------
        lsst.daf.butler.DatasetRef
            The reference.

        Raises
        ------
        IngestError
            Raised if the repository has another dataset type or collection of
            that name.
        DescriptionError
            Raised, where files determine their dataset types, if the
            repository has another dataset type of that name.
        """
        dataset_type = self._dataset_type(key.kind)
        if key.run not in self._runs:
            self._register_run(key.run)
        values = tuple([key.values[i] for i in self._orders[key.kind]])
        data_id = DataCoordinate.from_required_values(dataset_type.dimensions, values)
        id_ = key.id or dataset_id(dataset_type, key.run, data_id, content)
        return DatasetRef(dataset_type, data_id, key.run, id=id_, conform=False)

    def _dataset_type(self, kind: DatasetKind) -> DatasetType:
        """Return the dataset type of the repository, registered unless it is a dry run."""
        if kind in self._types:
            return self._types[kind]
        try:
            dataset_type = DatasetType(
                kind.name,
                kind.dimensions,
                kind.storage_class,
                universe=self._butler.dimensions,
                isCalibration=kind.is_calibration,
            )
            # A storage class that the repository does not configure raises here.
            StorageClassFactory().getStorageClass(kind.storage_class)
            self._register_type(dataset_type)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise IngestError(f"Dataset type {kind.name!r} cannot be registered: {explain(error)}.") from error
        except (ValueError, KeyError) as error:
            raise IngestError(
                f"Dataset type {kind.name!r} cannot be used in this repository: {str(error).rstrip('.')}. Choose "
                f"another name by {self._translator.type_option}, or make another repository by: "
                "butler create-spherex NEW_REPO"
            ) from error
        required = list(dataset_type.dimensions.required)
        self._orders[kind] = tuple(kind.dimensions.index(name) for name in required)
        self._types[kind] = dataset_type
        return dataset_type

    def _register_type(self, wanted: DatasetType) -> None:
        """Register a dataset type unless it is a dry run; refuse it if the name is taken by another one."""
        try:
            existing = self._butler.get_dataset_type(wanted.name)
        except MissingDatasetTypeError:
            if not self._dry_run:
                self._butler.registry.registerDatasetType(wanted)
                return
            # Earlier files of the dry run would have registered theirs.
            existing = next((kind for kind in self._types.values() if kind.name == wanted.name), wanted)
        if existing == wanted:
            return
        if not self._translator.has_many_types:
            raise IngestError(
                f"The repository has another definition of dataset type {wanted.name!r} ({existing.dimensions}, "
                f"{existing.storageClass_name}): choose another name by {self._translator.type_option}."
            )
        repo = name_of(self._butler)
        raise DescriptionError(
            f"its dataset type {wanted.name!r} should be {wanted.dimensions}, {wanted.storageClass_name}, but is "
            f"{existing.dimensions}, {existing.storageClass_name} in the repository; choose another name by "
            f"{self._translator.type_option}, or, if the existing one is a mistake, remove it with its datasets "
            f"(butler prune-datasets {repo} --purge RUN --datasets {wanted.name}, butler remove-dataset-type {repo} "
            f"{wanted.name}); butler query-datasets {repo} {wanted.name} lists their RUN"
        )

    def _register_run(self, run: str) -> None:
        """Register a run, and add it to the chain, unless it is a dry run."""
        try:
            check_directory_name(run, slashes=True)
        except FileNameError as error:
            raise IngestError(f"{run!r} is not a valid name of a run: it {error}.") from None
        try:
            collection_type = self._butler.collections.get_info(run).type
        except MissingCollectionError:
            if not self._dry_run:
                try:
                    self._butler.collections.register(run)
                except sqlalchemy.exc.SQLAlchemyError as error:
                    raise IngestError(f"Run {run!r} cannot be registered: {explain(error)}.") from error
        else:
            if collection_type is not CollectionType.RUN:
                option = self._translator.run_option
                remedy = f"choose another name by {option}" if option else "remove or rename it"
                raise IngestError(
                    f"Collection {run!r} of the repository is of type {collection_type.name}, not RUN: {remedy}."
                )
        if self._translator.chain is not None and not self._dry_run:
            if not self._runs:
                complete_chains(self._butler, self._translator)
            for chain in self._translator.chains_of(run):
                link_run(self._butler, chain, run, self._translator.order_of)
        self._runs.add(run)
