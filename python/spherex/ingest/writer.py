"""One batch of described files into the repository."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler import DatasetRef, FileDataset
from lsst.resources import ResourcePath

from spherex.errors import DescriptionError

from .derived import DerivedDatasets
from .existing import KnownDataset, change_of, find_known
from .locations import uri_of
from .records import RecordBook
from .registrar import Registrar
from .report import IngestReport
from .stored import StoredOriginals, UnsafeOriginalError

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .descriptions import DatasetKey, Describer, FileDescription
    from .engine import IngestOptions


def is_copied(butler: Butler, address: str, transfer: str | None) -> bool:
    """Tell whether a file takes its time to get into the datastore.

    Parameters
    ----------
    butler
        The repository.
    address
        Path or URI.
    transfer
        Transfer mode.

    Returns
    -------
    bool
        Whether its bytes are to be copied.
    """
    if transfer == "copy":
        return True
    is_local = uri_of(address).isLocal
    if transfer == "auto" or (transfer is None and is_local):
        roots = butler.get_datastore_roots().values()
        return not (is_local and all(root is not None and root.isLocal for root in roots))
    return False


def store(butler: Butler, datasets: Sequence[FileDataset], transfer: str | None, track_file_attrs: bool) -> None:
    """Ingest files, within a transaction of the caller.

    Parameters
    ----------
    butler
        The repository.
    datasets
        The files.
    transfer
        Transfer mode; None for ``direct`` from afar and ``auto`` nearby.
    track_file_attrs
        Record the sizes of the files.
    """
    for mode, part in _parts(butler, datasets, transfer):
        butler.ingest(*part, transfer=mode, record_validation_info=track_file_attrs)


def _parts(
    butler: Butler, datasets: Sequence[FileDataset], transfer: str | None
) -> list[tuple[str, list[FileDataset]]]:
    """Files that can go into one call of `Butler.ingest`, with its mode."""
    if transfer not in ("auto", None):
        return [(transfer, list(datasets))]
    roots = [root for root in butler.get_datastore_roots().values() if root is not None]
    parts: dict[tuple[str, bool], list[FileDataset]] = {}
    for dataset in datasets:
        uri = ResourcePath(dataset.path, forceAbsolute=False, forceDirectory=False)
        mode = transfer or ("auto" if uri.isLocal else "direct")
        # A call with files both inside and outside of the datastore would
        # leave those outside where they are.
        is_inside = mode == "auto" and any(uri.relative_to(root) is not None for root in roots)
        parts.setdefault((mode, is_inside), []).append(dataset)
    return [(mode, part) for (mode, _), part in parts.items()]


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


BatchHook = Callable[[Sequence[DatasetRef], Sequence[DatasetRef]], Iterable[str]]
"""Called with the datasets of a batch within its transaction, the new ones and
those that were there already; returns lines for the report.
"""


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
    hook
        What else is to be done in each transaction, or in a dry run told.
    """

    def __init__(
        self, butler: Butler, describer: Describer, options: IngestOptions, hook: BatchHook | None = None
    ) -> None:
        self._butler = butler
        self._describer = describer
        self._policy = describer.policy
        self._options = options
        self._hook = hook
        self._registrar = Registrar(butler, self._policy, options.dry_run)
        self._derived = DerivedDatasets(butler, self._registrar)
        self._originals = StoredOriginals(butler) if options.list_stored else None

    def is_copied(self, file: DescribedFile) -> bool:
        """Tell whether the transfer of a file takes its time.

        Parameters
        ----------
        file
            The file.

        Returns
        -------
        bool
            Whether its bytes are to be copied.
        """
        return is_copied(self._butler, file.address, self._options.transfer)

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
        refs = {}
        for key in keys:
            # What is there with another id is not the dataset in question.
            with contextlib.suppress(DescriptionError):
                refs[key] = self._registrar.ref(key)
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
            among its failures. If a failure is to end the ingest, those from
            that exposure on are not tried.

        Raises
        ------
        Exception
            Raised by the Butler, with nothing ingested.
        """
        book, batch, failures = self._plan(files)
        if failures and self._options.fail_fast:
            return self._write_before(files, failures, rehearse)
        report = IngestReport(dry_run=self._options.dry_run)
        _note(report, files, failures)
        self._write_all(book, batch, report, rehearse)
        report.ingested, report.present = len(batch.fresh), len(batch.present)
        for file, _ in batch.fresh:
            report.unknown.update(file.description.unknown)
            report.remarks.update(file.description.remarks)
        if self._originals is not None and not rehearse:
            self._list_stored(self._originals, batch, report)
        return report

    def _write_before(
        self, files: Sequence[DescribedFile], failures: Mapping[int, object], rehearse: bool
    ) -> IngestReport:
        """Ingest what comes before the exposure that failed first."""
        group = files[min(failures)].group
        start = next(number for number, file in enumerate(files) if file.group == group)
        report = self.write(files[:start], rehearse) if start else IngestReport(dry_run=self._options.dry_run)
        culprits = {number: reason for number, reason in failures.items() if files[number].group == group}
        _note(report, files, culprits)
        report.not_tried = len(files) - start - len(culprits)
        return report

    def _plan(self, files: Sequence[DescribedFile]) -> tuple[RecordBook, _Batch, dict[int, object]]:
        """Compare files with the repository and each other; say which are bad, by their numbers."""
        failures: dict[int, object] = {}
        refs = [self._registrar.ref(file.description.dataset) for file in files]
        known = find_known(self._butler, refs)
        book = RecordBook(self._butler, self._describer.last_resorts, self._options.update_records, self._policy)
        book.load(file.description for file in files)
        if not self._options.dry_run:
            self._derived.look_up(file.description for file in files)
        derived: dict[int, list[DatasetKey]] = {}
        for number, (file, ref) in enumerate(zip(files, refs, strict=True)):
            try:
                self._check(file, known.get(ref.id))
                derived[number] = [] if self._options.dry_run else self._derived.load(file.description.derived)
            except DescriptionError as error:
                failures[number] = error
        failures |= book.add({number: (files[number].address, files[number].description) for number in derived})
        batch = _Batch()
        for number, wanted in derived.items():
            if number not in failures:
                batch.add(files[number], refs[number], refs[number].id in known, wanted)
        return book, batch, failures

    def _check(self, file: DescribedFile, dataset: KnownDataset | None) -> None:
        """Refuse files that cannot take the place of their dataset."""
        if dataset is None:
            return
        change = change_of(file.address, file.size, dataset)
        if change is not None:
            raise DescriptionError(
                f"{change}; if it is the better one, remove the dataset first ({file.description.dataset.removal}) "
                f"or use another {self._policy.apart_option}"
            )

    def _write_all(self, book: RecordBook, batch: _Batch, report: IngestReport, rehearse: bool) -> None:
        """Insert records and files in one transaction."""
        with contextlib.suppress(_Rehearsal), self._butler.transaction():
            for element, new, changed in book.pending():
                report.new_records += len(new)
                report.changed_records.update({element: len(changed)} if changed else {})
                if self._options.dry_run:
                    continue
                if new:
                    self._butler.registry.insertDimensionData(element, *new)
                if changed:
                    self._butler.registry.insertDimensionData(element, *changed, replace=True)
            if not self._options.dry_run:
                self._store(batch, report)
            # Dry runs undo nothing: a second call would tell another story.
            if not (self._options.dry_run and rehearse):
                self._call_hook(batch, report)
            if rehearse:
                raise _Rehearsal
        if not rehearse:
            self._derived.confirm(batch.derived)

    def _store(self, batch: _Batch, report: IngestReport) -> None:
        """Ingest files, and what goes with them, within a transaction."""
        datasets = [
            FileDataset(uri_of(file.address), [ref], formatter=file.description.dataset.kind.formatter)
            for file, ref in batch.fresh
        ]
        if datasets:
            store(self._butler, datasets, self._options.transfer, self._options.track_file_attrs)
        report.derived.update(ref.datasetType.name for ref in self._derived.put(batch.derived))

    def _call_hook(self, batch: _Batch, report: IngestReport) -> None:
        if self._hook is not None:
            # Two copies of one file may both be there already.
            present = list(dict.fromkeys(ref for _, ref in batch.present))
            report.notes.extend(self._hook([ref for _, ref in batch.fresh], present))

    def _list_stored(self, originals: StoredOriginals, batch: _Batch, report: IngestReport) -> None:
        """List the originals that can be removed, and count the others by reason."""
        files = [(file.address, ref) for file, ref in (*batch.fresh, *batch.present)]
        originals.load(files)
        for address, ref in files:
            try:
                originals.check(address, ref)
            except UnsafeOriginalError as reason:
                report.unsafe[str(reason)] += 1
            except DescriptionError as error:
                report.fail(address, error)
            else:
                report.stored.append(address)


def _note(report: IngestReport, files: Sequence[DescribedFile], failures: Mapping[int, object]) -> None:
    for number, reason in sorted(failures.items()):
        report.fail(files[number].address, reason)


@dataclasses.dataclass(slots=True)
class _Batch:
    """Files that are good, and what is to be made from them."""

    fresh: list[tuple[DescribedFile, DatasetRef]] = dataclasses.field(default_factory=list)
    present: list[tuple[DescribedFile, DatasetRef]] = dataclasses.field(default_factory=list)
    derived: dict[DatasetKey, None] = dataclasses.field(default_factory=dict)

    def add(self, file: DescribedFile, ref: DatasetRef, is_present: bool, derived: Iterable[DatasetKey]) -> None:
        self.derived.update(dict.fromkeys(derived))
        (self.present if is_present else self.fresh).append((file, ref))
