"""Writer of batches of files and their dimension records."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import DatasetRef, FileDataset, FileIntegrityError
from lsst.daf.butler.datastore import DatastoreTransaction
from lsst.resources import ResourcePath

from spherex.errors import DescriptionError, ProductError, first_line, listed
from spherex.repository import has_content_id, quiet_ingest
from spherex.unknown_names import name_of

from .existing import DatasetPlace, ExistingDataset, check_unchanged, find_existing, place_of
from .locations import resource_path
from .records import DimensionRecords, merge, write_extents
from .registrar import Registrar
from .report import IngestReport
from .stored import StoredOriginals, UnsafeOriginalError

if TYPE_CHECKING:
    import uuid

    from lsst.daf.butler import Butler

    from .descriptions import DatasetKey, DerivedDataset, FileDescription, FileStructure, FileTranslator
    from .engine import IngestOptions


def is_copied(butler: Butler, uri: str, transfer: str | None) -> bool:
    """Return whether the bytes of a file are copied into the datastore.

    Parameters
    ----------
    butler
        The repository.
    uri
        URI or local path.
    transfer
        Transfer mode.
    """
    if transfer == "copy":
        return True
    is_local = resource_path(uri).isLocal
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
        Transfer mode; None for ``direct`` for remote and ``auto`` for local files.
    track_file_attrs
        Record the sizes of the files.
    """
    if transfer not in ("auto", None):
        butler.ingest(*datasets, transfer=transfer, record_validation_info=track_file_attrs)
        return
    roots = [root for root in butler.get_datastore_roots().values() if root is not None]
    parts: dict[tuple[str, bool], list[FileDataset]] = {}
    for dataset in datasets:
        uri = ResourcePath(dataset.path, forceAbsolute=False, forceDirectory=False)
        mode = transfer or ("auto" if uri.isLocal else "direct")
        # A call with files both inside and outside of the datastore would
        # leave those outside where they are.
        is_inside = mode == "auto" and any(uri.relative_to(root) is not None for root in roots)
        parts.setdefault((mode, is_inside), []).append(dataset)
    for (mode, _), part in parts.items():
        butler.ingest(*part, transfer=mode, record_validation_info=track_file_attrs)


@dataclasses.dataclass(frozen=True, slots=True)
class DescribedFile:
    """File with its description.

    Parameters
    ----------
    uri
        URI or local path.
    size
        Size of the file (bytes); None if its server does not report it.
    group
        Files of equal group are ingested in one transaction.
    description
        Dataset and dimension records.
    content
        Fingerprint of its content, see `FileTranslator.content_of`.
    """

    uri: str
    size: int | None
    group: object
    description: FileDescription
    content: str

    @property
    def has_archive_name(self) -> bool:
        """Whether the name of the file is that of its dataset in the archive."""
        stored = self.description.stored_name
        return stored is not None and stored.rpartition("/")[2] == resource_path(self.uri).basename()


_DAMAGE = (ValueError, LookupError, FileNotFoundError, FileIntegrityError)
"""Errors that mean that a dataset is damaged or lost."""


class _TrialOver(Exception):  # noqa: N818
    """Signal that undoes the transaction of a trial run."""


class BatchWriter:
    """Writer of batches of files and their dimension records.

    Parameters
    ----------
    butler
        The repository.
    translator
        Translator of the kind of file.
    options
        Choices of the user.
    """

    def __init__(self, butler: Butler, translator: FileTranslator, options: IngestOptions) -> None:
        self._butler = butler
        self._translator = translator
        self._options = options
        self._registrar = Registrar(butler, translator, options.dry_run)
        self._derived_refs: dict[DatasetKey, DatasetRef] = {}
        self._derived_existing: set[DatasetKey] = set()
        self._derived_contents: dict[DatasetKey, Any] = {}
        self._derived_kept: dict[DatasetKey, Any] = {}
        self._derived_damaged: set[DatasetKey] = set()
        # Each datastore of a chain has to get its own copy, from the Butler.
        roots = list(butler.get_datastore_roots().values())
        self._root = roots[0] if len(roots) == 1 else None
        self._originals = StoredOriginals(butler) if options.list_stored else None

    def is_copied(self, file: DescribedFile) -> bool:
        """Return whether the bytes of a file are copied, see the function `is_copied`."""
        return is_copied(self._butler, file.uri, self._options.transfer)

    def find_existing(self, keys: Iterable[DatasetKey]) -> set[DatasetKey]:
        """Return the datasets that have a file in the repository.

        Parameters
        ----------
        keys
            Datasets to look for.
        """
        refs = {}
        for key in keys:
            # The failure is reported when the file is written.
            with contextlib.suppress(DescriptionError):
                refs[key] = self._registrar.ref(key)
        existing = find_existing(self._butler, refs.values())
        return {
            key
            for key, ref in refs.items()
            if (dataset := existing.get(place_of(ref))) is not None
            and dataset.uri is not None
            # A dataset with another id is not the one in question.
            and key.id in (None, dataset.ref.id)
        }

    def write(self, files: Sequence[DescribedFile], trial: bool = False) -> IngestReport:
        """Ingest files in one transaction.

        Parameters
        ----------
        files
            The files, whole groups of them.
        trial
            Trial run: undo the transaction at the end.

        Returns
        -------
        IngestReport
            Counts and failures of these files. Files that contradict the
            repository or each other are among the failures. If a failure ends
            the ingest, the files of that exposure and later are not tried.

        Raises
        ------
        Exception
            Raised by the Butler, with nothing ingested.
        """
        report = IngestReport(dry_run=self._options.dry_run)
        # Dataset types and collections cannot be registered in a transaction.
        refs = [self._registrar.ref(file.description.dataset, file.content) for file in files]
        for key in {file.description.derived.dataset for file in files if file.description.derived is not None}:
            self._derived_refs.setdefault(key, self._registrar.ref(key))
        existing = find_existing(self._butler, refs)
        compared = self._compare(files, refs, existing)
        self._preload_derived(files, compared)
        # A read-only transaction of PostgreSQL refuses the temporary tables of large queries.
        transaction = contextlib.nullcontext() if self._options.dry_run else self._butler.transaction()
        with contextlib.suppress(_TrialOver), _undone_on_error() as placed, transaction:
            self._wait_for_others()
            if not self._options.dry_run:
                # Others may have ingested the files since.
                missing = (ref for ref in refs if (at := existing.get(place_of(ref))) is None or at.uri is None)
                existing |= find_existing(self._butler, missing)
            records, batch, failures = self._plan(files, refs, existing, compared)
            is_over = bool(failures) and self._options.fail_fast
            if not is_over:
                self._write_all(records, batch, report, trial, placed)
        if is_over:
            return self._write_before(files, failures, trial)
        _add_failures(report, files, failures)
        if not trial:
            for key in batch.derived:
                self._derived_existing.add(key)
                self._derived_damaged.discard(key)
                self._derived_kept[key] = self._derived_contents.pop(key)
        report.ingested, report.existing = len(batch.new), len(batch.existing)
        report.remarks.update(batch.remarks)
        report.differing.update(batch.differing)
        report.outlasting.update(batch.outlasting)
        for file, _ in batch.new:
            report.unknown.update(file.description.unknown)
            report.remarks.update(file.description.remarks)
        if self._originals is not None and not trial:
            self._list_stored(self._originals, batch, report)
        return report

    def _write_before(
        self, files: Sequence[DescribedFile], failures: Mapping[int, object], trial: bool
    ) -> IngestReport:
        """Ingest the exposures before the first that failed."""
        group = files[min(failures)].group
        start = next(number for number, file in enumerate(files) if file.group == group)
        report = self.write(files[:start], trial) if start else IngestReport(dry_run=self._options.dry_run)
        culprits = {number: reason for number, reason in failures.items() if files[number].group == group}
        _add_failures(report, files, culprits)
        return report

    def _wait_for_others(self) -> None:
        """Let no other ingest write to the repository until the end of the transaction.

        What is compared with the repository must not change before it is
        written. PostgreSQL locks the row that is replaced here, by itself;
        SQLite locks the whole database when a transaction begins.
        """
        if not self._options.dry_run:
            name = self._translator.instrument.getName()
            # The first replacement waits for the lock, the second one writes what is recorded now.
            for _ in range(2):
                (record,) = self._butler.query_dimension_records("instrument", instrument=name)
                self._butler.registry.insertDimensionData("instrument", record, replace=True)

    def _compare(
        self,
        files: Sequence[DescribedFile],
        refs: Sequence[DatasetRef],
        existing: Mapping[DatasetPlace, ExistingDataset],
    ) -> dict[int, DescriptionError | None]:
        """Compare files with their datasets, by number of the file; remote files take long, and others would wait."""
        compared: dict[int, DescriptionError | None] = {}
        for number, (file, ref) in enumerate(zip(files, refs, strict=True)):
            if (dataset := existing.get(place_of(ref))) is not None:
                try:
                    self._check(file, ref, dataset)
                except DescriptionError as error:
                    compared[number] = error
                else:
                    compared[number] = None
        return compared

    def _plan(
        self,
        files: Sequence[DescribedFile],
        refs: list[DatasetRef],
        existing: Mapping[DatasetPlace, ExistingDataset],
        compared: Mapping[int, DescriptionError | None],
    ) -> tuple[DimensionRecords, _Batch, dict[int, object]]:
        """Compare files with the repository and each other, and collect failures by number of the file."""
        failures: dict[int, object] = {number: error for number, error in compared.items() if error is not None}
        owners = self._owners(file.description.dataset.id for file in files)
        records = DimensionRecords(self._butler, self._translator, self._options.update_records)
        records.load(file.description for file in files)
        if not self._options.dry_run:
            self._find_derived(file.description.derived for file in files)
        derived: dict[int, tuple[DatasetKey | None, str | None]] = {}
        for number, (file, ref) in enumerate(zip(files, refs, strict=True)):
            if number in failures:
                continue
            try:
                dataset = existing.get(place_of(ref))
                if dataset is None:
                    _check_owner(ref, owners)
                else:
                    if number not in compared:
                        self._check(file, ref, dataset)
                    # Its id may be of another kind.
                    refs[number] = dataset.ref
                derived[number] = self._load_derived(file.description.derived)
            except DescriptionError as error:
                failures[number] = error
        failures |= records.add({number: (files[number].uri, files[number].description) for number in derived})
        batch = _Batch()
        for number, (key, contradiction) in derived.items():
            if number in failures:
                continue
            if contradiction is not None:
                batch.remarks[contradiction] += 1
            dataset = existing.get(place_of(refs[number]))
            is_new = dataset is None or dataset.uri is None
            (batch.new if is_new else batch.existing).append((files[number], refs[number]))
            if is_new:
                batch.differing.update(records.differing.get(number, ()))
                batch.outlasting.update(records.outlasting.get(number, ()))
            if key is not None:
                batch.derived[key] = None
        return records, batch, failures

    def _owners(self, ids: Iterable[uuid.UUID | None]) -> dict[uuid.UUID, DatasetRef]:
        """Return the datasets that have ids which were assigned to files."""
        given = [id_ for id_ in ids if id_ is not None]
        return {ref.id: ref for ref in self._butler.get_many_datasets(given)} if given else {}

    def _check(self, file: DescribedFile, ref: DatasetRef, dataset: ExistingDataset) -> None:
        """Check that a file is the one of the dataset that exists in its place."""
        key = file.description.dataset
        removal = key.removal(name_of(self._butler))
        if key.id not in (None, dataset.ref.id):
            raise DescriptionError(
                f"it is ingested already, with the id {dataset.ref.id}; remove that dataset first ({removal}) "
                "to assign another id"
            )
        try:
            check_unchanged(file.uri, file.size, dataset)
            self._check_content(file, ref, dataset)
        except DescriptionError as error:
            difference = self._difference(file, dataset, is_lost=isinstance(error, _LostContentError))
            raise DescriptionError(
                f"{error}; if it is the better one, remove the dataset first ({removal}) or use another "
                f"{self._translator.distinguishing_option}{difference}"
            ) from None

    def _check_content(self, file: DescribedFile, ref: DatasetRef, dataset: ExistingDataset) -> None:
        """Check that the content of a file is the one that its dataset was made from."""
        if not file.content or ref.id == dataset.ref.id and file.description.dataset.id is None:
            return
        if file.description.dataset.id is None and has_content_id(dataset.ref):
            if dataset.uri is None:
                raise _LostContentError("its dataset, whose file was removed, was made from a file of another content")
            raise _LostContentError(f"the ingested file {dataset.uri} was replaced in place since, by another content")
        if dataset.uri is None:
            if file.description.dataset.id is not None:
                # The user vouches for the content.
                return
            raise _LostContentError(f"the file of dataset {dataset.ref.id} was removed, and its content is not known")
        if resource_path(file.uri) == dataset.uri:
            return
        if self._translator.content_of(self._read(dataset.uri)) != file.content:
            raise DescriptionError(f"its content is not that of the ingested file {dataset.uri}")

    def _read(self, uri: ResourcePath) -> FileStructure:
        try:
            return self._translator.read(str(uri))
        except Exception as error:
            # Damaged files and remote back ends raise errors of many kinds.
            raise DescriptionError(
                f"it cannot be compared with the ingested file {uri} ({first_line(error)})"
            ) from error

    def _difference(self, file: DescribedFile, dataset: ExistingDataset, is_lost: bool) -> str:
        """Return in a sentence how a file differs from what is known of the one that its dataset was made from."""
        try:
            structure = self._read(resource_path(file.uri))
            issue = self._translator.issue_of(structure)
            if is_lost or dataset.uri is None:
                return self._difference_from_records(file, dataset, issue)
            theirs = self._read(dataset.uri)
            parts = _changes(self._translator.issue_of(theirs), issue)
        except (DescriptionError, ProductError):
            return ""
        if not parts:
            old, new = theirs.hdus, structure.hdus
            if dataset.uri.isLocal != resource_path(file.uri).isLocal:
                # Of a remote file only the first HDUs may have been read.
                old, new = old[: len(new)], new[: len(old)]
            before, after = ([hdu.name for hdu in hdus] for hdus in (old, new))
            if before != after:
                parts = [f"HDUs {', '.join(before)} -> {', '.join(after)}"]
            else:
                for our_hdu, their_hdu in zip(new, old, strict=True):
                    parts += _changes(their_hdu.cards.readable(), our_hdu.cards.readable())
        if parts:
            return f". Differences: {listed(parts)}"
        names = _names_of_issue(issue)
        return f". It has the same {', '.join(names)}, but other pixels or comments" if names else ""

    def _difference_from_records(self, file: DescribedFile, dataset: ExistingDataset, issue: Mapping[str, str]) -> str:
        """Return the issue of a file, and the fields that differ from the records of the one that is lost."""
        parts = [f"{name} {issue[name]}" for name in _names_of_issue(issue)]
        fields = []
        for description in file.description.records:
            required = self._butler.dimensions[description.element].required.names
            if not required <= dataset.ref.dataId.dimensions.names:
                continue
            data_id = {name: dataset.ref.dataId[name] for name in required}
            for record in self._butler.query_dimension_records(description.element, data_id=data_id, explain=False):
                recorded = record.toDict()
                for name, value in description.values.items():
                    old = recorded.get(name)
                    if value is None or old is None or merge(old, value, self._translator.tolerances, name) is not None:
                        continue
                    fields.append(name)
        differences = [f"in {', '.join(fields)} from the records of the exposure"] if fields else []
        return "".join(
            f". It {verb} {listed(words)}" for verb, words in (("differs", differences), ("has", parts)) if words
        )

    def _find_derived(self, offers: Iterable[DerivedDataset | None]) -> None:
        """Find the derived datasets that exist, by one query."""
        keys = {offer.dataset for offer in offers if offer is not None}
        # Another ingest may have made those that did not exist.
        new = {key: self._registrar.ref(key) for key in keys - self._derived_existing}
        self._derived_refs.update(new)
        existing = find_existing(self._butler, new.values())
        for key, ref in new.items():
            if (dataset := existing.get(place_of(ref))) is not None:
                self._derived_refs[key] = dataset.ref
                if dataset.uri is not None:
                    self._derived_existing.add(key)

    def _preload_derived(self, files: Sequence[DescribedFile], compared: dict[int, DescriptionError | None]) -> None:
        """Read the derived datasets before others have to wait, and add the failures by number of the file."""
        if self._options.dry_run:
            return
        self._find_derived(file.description.derived for file in files)
        for number, file in enumerate(files):
            offer = file.description.derived
            if offer is None or compared.get(number) is not None:
                continue
            if offer.dataset in self._derived_kept or offer.dataset in self._derived_contents:
                continue
            try:
                self._load_derived(offer)
            except DescriptionError as error:
                compared[number] = error

    def _load_derived(self, offer: DerivedDataset | None) -> tuple[DatasetKey | None, str | None]:
        """Return the derived dataset to put, if any, and how the file contradicts it.

        The first good file of a run provides it. One that the repository has is
        read once, and replaced if it is damaged or its file is gone.
        """
        if offer is None or self._options.dry_run:
            return None, None
        key = offer.dataset
        if key in self._derived_existing:
            try:
                if key not in self._derived_kept:
                    self._derived_kept[key] = self._butler.get(self._derived_refs[key])
                return None, offer.compare(self._derived_kept[key])
            except Exception as error:
                # The datastore raises a ValueError for any error of a formatter.
                if not isinstance(error.__cause__ or error, _DAMAGE):
                    # A back end that does not answer says nothing about the table.
                    raise DescriptionError(
                        f"the {key.kind.name} of its run cannot be read ({first_line(error.__cause__ or error)}); "
                        "try again later"
                    ) from error
                self._derived_existing.discard(key)
                self._derived_kept.pop(key, None)
                self._derived_damaged.add(key)
        if key not in self._derived_contents:
            content = offer.load()
            if content is None:
                return None, None
            self._derived_contents[key] = content
        return key, offer.compare(self._derived_contents[key])

    def _put_derived(self, keys: Iterable[DatasetKey]) -> Iterator[DatasetRef]:
        """Put derived datasets, within a transaction."""
        for key in keys:
            ref = self._derived_refs[key]
            if key in self._derived_damaged:
                self._butler.pruneDatasets([ref], disassociate=False, unstore=True)
            # File names are made from dimension records.
            ref = ref.expanded(self._butler.registry.expandDataId(ref.dataId))
            yield self._butler.put(self._derived_contents[key], ref)

    def _write_all(
        self,
        records: DimensionRecords,
        batch: _Batch,
        report: IngestReport,
        trial: bool,
        placed: DatastoreTransaction,
    ) -> None:
        """Insert records and files, within a transaction."""
        for element, new, changes in records.pending():
            report.new_records += len(new)
            report.changed_records.update((element, what) for _, what in changes)
            changed = [record for record, _ in changes]
            if self._options.dry_run:
                continue
            if new:
                self._butler.registry.insertDimensionData(element, *new)
            if changed:
                self._butler.registry.insertDimensionData(element, *changed, replace=True)
        if not self._options.dry_run:
            with quiet_ingest():
                self._store(batch, report, placed)
        # A dry run remembers what it would do: the trial must not count.
        if not (self._options.dry_run and trial):
            # Two copies of one file may both exist already.
            existing = list(dict.fromkeys(ref for _, ref in batch.existing))
            ingested = [ref for _, ref in batch.new]
            report.notes += self._translator.finish_batch(self._butler, ingested, existing, self._options.dry_run)
        if trial:
            raise _TrialOver

    def _store(self, batch: _Batch, report: IngestReport, placed: DatastoreTransaction) -> None:
        """Ingest files and put derived datasets, within a transaction."""
        datasets: list[FileDataset] = []
        inside: list[FileDataset] = []
        for file, ref in batch.new:
            uri = resource_path(file.uri)
            target = self._target(uri, file.description.stored_name)
            if target is not None:
                mode = self._options.transfer or "auto"
                target.transfer_from(uri, transfer=mode, overwrite=True, transaction=placed)
            dataset = FileDataset(target or uri, [ref], formatter=file.description.dataset.kind.formatter)
            (datasets if target is None else inside).append(dataset)
        if inside:
            self._butler.ingest(*inside, transfer=None, record_validation_info=self._options.track_file_attrs)
        if datasets:
            store(self._butler, datasets, self._options.transfer, self._options.track_file_attrs)
        report.derived.update(ref.datasetType.name for ref in self._put_derived(batch.derived))
        write_extents(
            self._butler, {ref: file.description.extent for file, ref in itertools.chain(batch.new, batch.existing)}
        )

    def _target(self, uri: ResourcePath, name: str | None) -> ResourcePath | None:
        """Return where in the datastore a file is to be placed; None leaves that to the Butler."""
        mode = self._options.transfer or ("auto" if uri.isLocal else "direct")
        if name is None or mode == "direct" or self._root is None:
            return None
        # Not relative_to, which takes 3 % of the time of an ingest.
        if mode == "auto" and uri.geturl().startswith(self._root.geturl()):
            return None
        return self._root.join(name, forceDirectory=False)

    def _list_stored(self, originals: StoredOriginals, batch: _Batch, report: IngestReport) -> None:
        """List the originals that can be removed, and count the others by reason."""
        files = [(file.uri, ref) for file, ref in (*batch.new, *batch.existing)]
        originals.load(files)
        for uri, ref in files:
            try:
                originals.check(uri, ref)
            except UnsafeOriginalError as reason:
                report.unsafe[str(reason)] += 1
            except DescriptionError as error:
                report.fail(uri, error)
            else:
                report.stored.append(uri)


class _LostContentError(DescriptionError):
    """The content that a dataset was made from is another one, and not there any more."""


_UNCOMPARED = frozenset({"CHECKSUM", "DATASUM"})
"""Keywords that change with any other card or pixel."""


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differences of two mappings in words."""
    return [
        f"{name} {before.get(name, 'missing')} -> {after.get(name, 'missing')}"
        for name in dict.fromkeys([*after, *before])
        if name not in _UNCOMPARED and before.get(name) != after.get(name)
    ]


def _names_of_issue(issue: Mapping[str, str]) -> list[str]:
    """Return the names of the facts of an issue, without the calibrations, whose ids say nothing by themselves."""
    return [name for name in issue if name == "size" or name.isupper()]


def _check_owner(ref: DatasetRef, owners: Mapping[uuid.UUID, DatasetRef]) -> None:
    """Check that no dataset of another place has the id."""
    if (owner := owners.get(ref.id)) is not None:
        raise DescriptionError(
            f"its id {ref.id} is the id of {owner}, and an id belongs to one dataset only; ingest it without this id"
        )


@contextlib.contextmanager
def _undone_on_error() -> Iterator[DatastoreTransaction]:
    """Remove the files that were placed in the datastore if their transaction fails."""
    transaction = DatastoreTransaction()
    try:
        yield transaction
    except BaseException:
        transaction.rollback()
        raise
    transaction.commit()


def _add_failures(report: IngestReport, files: Sequence[DescribedFile], failures: Mapping[int, object]) -> None:
    for number, reason in sorted(failures.items()):
        report.fail_file(files[number].uri, reason)


@dataclasses.dataclass(slots=True)
class _Batch:
    """Good files of a batch, new and existing, the derived datasets to put, and remarks on the new files."""

    new: list[tuple[DescribedFile, DatasetRef]] = dataclasses.field(default_factory=list)
    existing: list[tuple[DescribedFile, DatasetRef]] = dataclasses.field(default_factory=list)
    derived: dict[DatasetKey, None] = dataclasses.field(default_factory=dict)
    remarks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    differing: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    outlasting: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
