"""Dataset types, collections and references that an ingest needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy.exc
from lsst.daf.butler import (
    CollectionType,
    DataCoordinate,
    DatasetIdGenEnum,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    MissingDatasetTypeError,
)

from spherex.errors import DescriptionError, IngestError
from spherex.repository import explain

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .descriptions import DatasetKey, DatasetKind, IngestPolicy, RunChain


_TRIES = 10


def link_run(butler: Butler, chain: RunChain, run: str) -> None:
    """See to it that a chain lists a run; that it does is fine.

    A new run comes before the first one that is older. All other children
    stay in their order, also those that are no runs of this kind.

    Parameters
    ----------
    butler
        The repository, writeable and in no transaction.
    chain
        The chain, which is made if it is not there.
    run
        A registered run.

    Raises
    ------
    IngestError
        Raised if there is a collection of that name that is no chain, or the
        repository cannot be written.
    """
    try:
        children = _children(butler, chain.name)
        if run in children:
            return
        # Another process may add a run between our look and our change. It
        # loses nothing, because only the children before the new one are put
        # in front again, but the order may need another turn.
        for _ in range(_TRIES):
            wanted = _with_run(chain, [child for child in children if child != run], run)
            if children == wanted:
                return
            butler.collections.prepend_chain(chain.name, wanted[: wanted.index(run) + 1])
            children = _children(butler, chain.name)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise IngestError(f"Collection {chain.name!r} cannot be changed: {explain(error)}.") from error


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


def _with_run(chain: RunChain, others: Sequence[str], run: str) -> list[str]:
    """Children with the run among them."""
    age = chain.age_key(run)
    ages = {number: chain.age_key(other) for number, other in enumerate(others)}
    runs = [number for number, other_age in ages.items() if other_age is not None]
    older = [number for number in runs if ages[number] < age]
    place = older[0] if older else runs[-1] + 1 if runs else len(others)
    return [*others[:place], run, *others[place:]]


class Registrar:
    """Makes references to datasets, and registers what they need to be there.

    Parameters
    ----------
    butler
        The repository.
    policy
        How such files are treated.
    dry_run
        Register nothing.
    """

    def __init__(self, butler: Butler, policy: IngestPolicy, dry_run: bool) -> None:
        self._butler = butler
        self._policy = policy
        self._dry_run = dry_run
        self._types: dict[DatasetKind, DatasetType] = {}
        self._orders: dict[DatasetKind, tuple[int, ...]] = {}
        self._runs: set[str] = set()

    def ref(self, key: DatasetKey) -> DatasetRef:
        """Make a reference.

        Parameters
        ----------
        key
            The dataset.

        Returns
        -------
        lsst.daf.butler.DatasetRef
            Its reference.

        Raises
        ------
        IngestError
            Raised if the repository has a dataset type or a collection of
            that name which is another one.
        DescriptionError
            Raised if it has the dataset with another id than the given one,
            or another dataset with the given id, or where files tell their
            dataset types, another dataset type.
        """
        dataset_type = self._dataset_type(key.kind)
        if key.run not in self._runs:
            self._register_run(key.run)
        values = tuple([key.values[i] for i in self._orders[key.kind]])
        data_id = DataCoordinate.from_required_values(dataset_type.dimensions, values)
        if self._policy.has_given_ids:
            known = self._find(dataset_type, data_id, key.run)
            if known is not None and key.id in (None, known.id):
                return known
            if known is not None:
                raise DescriptionError(
                    f"it is ingested already, with the id {known.id}; remove that dataset first ({key.removal}) "
                    "to give it another id"
                )
            owner = None if key.id is None else self._butler.get_dataset(key.id)
            if owner is not None:
                raise DescriptionError(
                    f"it is given the id {key.id}, but that is the id of {owner}, and there are no two datasets of one "
                    "id; ingest it without this id"
                )
        return DatasetRef(
            dataset_type,
            data_id,
            key.run,
            id=key.id,
            conform=False,
            id_generation_mode=DatasetIdGenEnum.DATAID_TYPE_RUN,
        )

    def _find(self, dataset_type: DatasetType, data_id: DataCoordinate, run: str) -> DatasetRef | None:
        """Look for a dataset that got its id in an earlier ingest."""
        try:
            return self._butler.find_dataset(dataset_type, data_id, collections=run)
        except (MissingCollectionError, MissingDatasetTypeError):
            return None

    def _dataset_type(self, kind: DatasetKind) -> DatasetType:
        """Dataset type of the repository, registered unless it is a dry run."""
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
            known = self._known_type(kind.name)
            if known is not None and known != dataset_type:
                raise self._conflict(known, dataset_type)
            if known is None and not self._dry_run:
                self._butler.registry.registerDatasetType(dataset_type)
            # Storage classes are looked up in the configuration of the repository.
            assert dataset_type.storageClass.name == kind.storage_class
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise IngestError(f"Dataset type {kind.name!r} cannot be registered: {explain(error)}.") from error
        except (ValueError, KeyError) as error:
            raise IngestError(
                f"Dataset type {kind.name!r} cannot be used in this repository: {str(error).rstrip('.')}. Choose "
                f"another name by {self._policy.type_option}, or make the repository with the seed configuration of "
                "spherex_butler."
            ) from error
        required = list(dataset_type.dimensions.required)
        self._orders[kind] = tuple(kind.dimensions.index(name) for name in required)
        self._types[kind] = dataset_type
        return dataset_type

    def _known_type(self, name: str) -> DatasetType | None:
        try:
            return self._butler.get_dataset_type(name)
        except MissingDatasetTypeError:
            # A dry run has registered none of those that it came across.
            return next((one for one in self._types.values() if one.name == name), None)

    def _conflict(self, known: DatasetType, wanted: DatasetType) -> IngestError | DescriptionError:
        """Return what to raise where the repository has another dataset type of the name."""
        if not self._policy.has_many_types:
            return IngestError(
                f"Dataset type {known.name!r} of the repository is another one ({known.dimensions}, "
                f"{known.storageClass_name}): choose another name by {self._policy.type_option}."
            )
        return DescriptionError(
            f"its dataset type {known.name!r} is to be {wanted.dimensions}, {wanted.storageClass_name}, but is "
            f"{known.dimensions}, {known.storageClass_name} in the repository; choose another name by "
            f"{self._policy.type_option}, or, if that one is a mistake, remove its datasets and it (butler "
            f"prune-datasets REPO --purge RUN --datasets {known.name}, butler remove-dataset-type REPO {known.name}); "
            f"butler query-datasets REPO {known.name} tells their RUN"
        )

    def _register_run(self, run: str) -> None:
        """Register a run, and list it in the chain, unless it is a dry run."""
        # Its name becomes a directory of the datastore.
        if any(part in ("", ".", "..") for part in run.split("/")):
            raise IngestError(
                f"{run!r} is no good name of a run: between slashes there has to be a name other than '.' and '..'."
            )
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
                option = self._policy.run_option
                remedy = f"choose another name by {option}" if option else "remove or rename it"
                raise IngestError(
                    f"Collection {run!r} of the repository is of type {collection_type.name}, not RUN: {remedy}."
                )
        # A process that died between the two left a run out of the chain.
        if self._policy.chain is not None and not self._dry_run:
            link_run(self._butler, self._policy.chain, run)
        self._runs.add(run)
