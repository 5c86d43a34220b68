"""One batch of described files into the repository."""

from __future__ import annotations

__all__ = ["BatchWriter", "DescribedFile"]

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import sqlalchemy.exc
from lsst.daf.butler import (
    CollectionType,
    DataCoordinate,
    DatasetIdGenEnum,
    DatasetRef,
    DatasetType,
    FileDataset,
    MissingCollectionError,
    MissingDatasetTypeError,
)

from .addresses import uri_of
from .description import DescriptionError
from .errors import explain
from .known import KnownDataset, change_of, find_known
from .options import IngestError
from .records import RecordBook
from .report import IngestReport
from .transfer import is_removable, remove_original, store

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .description import DatasetKey, DatasetKind, Describer, FileDescription
    from .options import IngestOptions


@dataclasses.dataclass(frozen=True, slots=True)
class DescribedFile:
    """A file with all that has to be known of it.

    Parameters
    ----------
    address
        Path or URI.
    size
        Its size (bytes), None if its server does not tell.
    group
        Files of equal group are ingested in one transaction.
    description
        What its describer says.
    """

    address: str
    size: int | None
    group: object
    description: FileDescription


class _Rehearsal(Exception):  # noqa: N818
    """Ends a transaction that was only to show whether it would succeed."""


class BatchWriter:
    """Writes batches of files and their dimension records.

    Parameters
    ----------
    butler
        The repository.
    describer
        Knows the kind of file.
    options
        What the user chose.
    """

    def __init__(self, butler: Butler, describer: Describer, options: IngestOptions) -> None:
        self._butler = butler
        self._describer = describer
        self._options = options
        self._types: dict[DatasetKind, DatasetType] = {}
        self._orders: dict[DatasetKind, tuple[int, ...]] = {}
        self._runs: set[str] = set()

    def find_present(self, keys: Iterable[DatasetKey]) -> set[DatasetKey]:
        """Tell which datasets have a file in the repository.

        Parameters
        ----------
        keys
            Datasets that may be there.

        Returns
        -------
        set [ DatasetKey ]
            Those that are.
        """
        refs = {key: self._ref(key) for key in keys}
        known = find_known(self._butler, refs.values())
        return {key for key, ref in refs.items() if ref.id in known}

    def write(self, files: Sequence[DescribedFile], rehearse: bool = False) -> IngestReport:
        """Ingest files in one transaction.

        Parameters
        ----------
        files
            The files, whole groups of them.
        rehearse
            Undo all of it at the end.

        Returns
        -------
        IngestReport
            What came of these files. Files that contradict what is known are
            among its failures.

        Raises
        ------
        Exception
            Raised by the Butler, with nothing ingested.
        """
        report = IngestReport(dry_run=self._options.dry_run)
        refs = [self._ref(file.description.dataset) for file in files]
        known = find_known(self._butler, refs)
        book = RecordBook(self._butler, self._describer.last_resorts, self._options.update_records)
        book.load(file.description for file in files)
        fresh: list[tuple[DescribedFile, DatasetRef]] = []
        present: list[tuple[DescribedFile, KnownDataset]] = []
        for file, ref in zip(files, refs, strict=True):
            dataset = known.get(ref.id)
            try:
                self._check(file, dataset)
                book.add(file.description, file.address)
            except DescriptionError as error:
                report.fail(file.address, error)
                continue
            if dataset is None:
                fresh.append((file, ref))
            else:
                present.append((file, dataset))
        self._write_all(book, fresh, report, rehearse)
        report.ingested, report.present = len(fresh), len(present)
        for file, _ in fresh:
            report.unknown.update(file.description.unknown)
        if self._options.transfer == "move" and not rehearse and not self._options.dry_run:
            self._finish_move(fresh, present, report)
        return report

    def _check(self, file: DescribedFile, dataset: KnownDataset | None) -> None:
        """Refuse files that cannot take the place of their dataset."""
        if dataset is None:
            if self._options.transfer == "move" and not is_removable(file.address):
                raise DescriptionError("its directory is write-protected, so it cannot be moved; use --transfer copy")
            return
        change = change_of(file.address, file.size, dataset)
        if change is not None:
            key = file.description.dataset
            where = " AND ".join(
                f"{name}={value!r}" for name, value in zip(key.kind.dimensions, key.values, strict=True)
            )
            raise DescriptionError(
                f"{change}; if it is the better one, remove the dataset first (butler prune-datasets REPO "
                f'--purge {key.run} --datasets {key.kind.name} --where "{where}") or use another --output-run'
            )

    def _write_all(
        self,
        book: RecordBook,
        fresh: Sequence[tuple[DescribedFile, DatasetRef]],
        report: IngestReport,
        rehearse: bool,
    ) -> None:
        """Insert records and files in one transaction."""
        datasets = [
            FileDataset(uri_of(file.address), [ref], formatter=file.description.dataset.kind.formatter)
            for file, ref in fresh
        ]
        try:
            with self._butler.transaction():
                for element, new, changed in book.pending():
                    report.new_records += len(new)
                    report.changed_records += len(changed)
                    if self._options.dry_run:
                        continue
                    if new:
                        self._butler.registry.insertDimensionData(element, *new)
                    if changed:
                        self._butler.registry.insertDimensionData(element, *changed, replace=True)
                if datasets and not self._options.dry_run:
                    store(self._butler, datasets, self._options.transfer, self._options.track_file_attrs)
                if rehearse:
                    raise _Rehearsal
        except _Rehearsal:
            pass

    def _finish_move(
        self,
        fresh: Sequence[tuple[DescribedFile, DatasetRef]],
        present: Sequence[tuple[DescribedFile, KnownDataset]],
        report: IngestReport,
    ) -> None:
        """Remove the originals, also those that an earlier run left behind."""
        stored = find_known(self._butler, [ref for _, ref in fresh])
        pairs = [(file, stored[ref.id], True) for file, ref in fresh]
        pairs += [(file, dataset, False) for file, dataset in present]
        for file, dataset, is_fresh in pairs:
            reason = remove_original(file.address, dataset.uri, is_fresh)
            if reason is not None:
                report.fail(file.address, reason)

    def _ref(self, key: DatasetKey) -> DatasetRef:
        dataset_type = self._dataset_type(key.kind)
        if key.run not in self._runs:
            self._register_run(key.run)
        values = tuple([key.values[i] for i in self._orders[key.kind]])
        data_id = DataCoordinate.from_required_values(dataset_type.dimensions, values)
        return DatasetRef(
            dataset_type, data_id, key.run, conform=False, id_generation_mode=DatasetIdGenEnum.DATAID_TYPE_RUN
        )

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
                raise IngestError(
                    f"Dataset type {kind.name!r} of the repository is another one ({known.dimensions}, "
                    f"{known.storageClass_name}): choose another name by --ingest-type."
                )
            if known is None and not self._options.dry_run:
                self._butler.registry.registerDatasetType(dataset_type)
            # Storage classes are looked up in the configuration of the repository.
            assert dataset_type.storageClass.name == kind.storage_class
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise IngestError(f"Dataset type {kind.name!r} cannot be registered: {explain(error)}.") from error
        except (ValueError, KeyError) as error:
            raise IngestError(
                f"Dataset type {kind.name!r} cannot be used in this repository: {error}. Choose another name by "
                "--ingest-type, or make the repository with the seed configuration of spherex_butler."
            ) from error
        required = list(dataset_type.dimensions.required)
        self._orders[kind] = tuple(kind.dimensions.index(name) for name in required)
        self._types[kind] = dataset_type
        return dataset_type

    def _known_type(self, name: str) -> DatasetType | None:
        try:
            return self._butler.get_dataset_type(name)
        except MissingDatasetTypeError:
            return None

    def _register_run(self, run: str) -> None:
        """Register a run unless it is a dry run."""
        try:
            collection_type = self._butler.collections.get_info(run).type
        except MissingCollectionError:
            if not self._options.dry_run:
                try:
                    self._butler.collections.register(run)
                except sqlalchemy.exc.SQLAlchemyError as error:
                    raise IngestError(f"Run {run!r} cannot be registered: {explain(error)}.") from error
        else:
            if collection_type is not CollectionType.RUN:
                raise IngestError(
                    f"Collection {run!r} of the repository is of type {collection_type.name}, not RUN: "
                    "choose another name by --output-run."
                )
        self._runs.add(run)
