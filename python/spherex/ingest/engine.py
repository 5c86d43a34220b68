"""From files to datasets, whatever the kind of file.

Files are taken in batches of whole exposures. Each batch is read, compared
with the repository by a few queries, and written in one transaction, so that
a process that dies at any moment leaves no exposure partly ingested, and the
next one finds out what is left to do.
"""

from __future__ import annotations

__all__ = ["ingest"]

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler.progress import Progress, ProgressBar

from .batch import BatchHook, BatchWriter, DescribedFile
from .description import DescriptionError
from .errors import explain, is_fatal
from .finding import find_files
from .grouping import Found, batches, by_dataset, is_same_file, portions
from .options import IngestError, IngestOptions
from .reading import read_structures
from .report import IngestReport

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .description import Describer
    from .reading import FileStructure

# Loggers outside of lsst.* show warnings only, unless the user says more.
_PROGRESS = Progress("spherex.ingest", level=30)


class _Stop(Exception):  # noqa: N818
    """Nothing more is to be tried."""


def ingest(
    butler: Butler,
    describer: Describer,
    locations: Iterable[str],
    pattern: re.Pattern[str],
    options: IngestOptions | None = None,
    is_stopped: Callable[[], bool] = bool,
    hook: BatchHook | None = None,
) -> IngestReport:
    """Ingest files.

    Parameters
    ----------
    butler
        The repository, writeable unless it is a dry run. The instrument must
        be registered.
    describer
        Knows the kind of file.
    locations
        Paths or URIs of files and directories.
    pattern
        Searched for in names of files in directories.
    options
        What the user chose.
    is_stopped
        Returns true when the ingest is to stop as soon as it conveniently can.
    hook
        Called in each transaction with the datasets of the batch, those that
        were there already among them, and returns lines for the report. Not
        called in a dry run.

    Returns
    -------
    IngestReport
        What came of it. Bad files are among its failures; after a full disk,
        with ``fail_fast`` or if it was stopped some may not have been tried.

    Raises
    ------
    IngestError
        Raised if the repository does not fit.
    """
    options = options or IngestOptions()
    report = IngestReport(dry_run=options.dry_run)
    run = _Run(butler, describer, options, report, is_stopped, hook)
    try:
        run.ingest(find_files(locations, pattern, report))
    except _Stop:
        pass
    return report


class _Run:
    """One ingest on its way."""

    def __init__(
        self,
        butler: Butler,
        describer: Describer,
        options: IngestOptions,
        report: IngestReport,
        is_stopped: Callable[[], bool],
        hook: BatchHook | None,
    ) -> None:
        self._describer = describer
        self._policy = describer.policy
        self._options = options
        self._report = report
        self._is_stopped = is_stopped
        self._writer = BatchWriter(butler, describer, options, hook)

    def ingest(self, addresses: Iterable[str]) -> None:
        """Ingest the files at these addresses."""
        found = self._identify(addresses)
        # A file counts when it is read and again when it is written.
        bar: ProgressBar[None]
        with _PROGRESS.bar(desc="Ingesting files", total=2 * len(found)) as bar:
            for batch in batches(found, self._options.batch_size):
                files = self._describe(batch)
                bar.update(len(batch))
                for portion in portions(files, self._writer.is_copied):
                    self._write(portion)
                bar.update(len(batch))

    def _identify(self, addresses: Iterable[str]) -> list[Found]:
        """Sort files by exposure, as far as they can be understood."""
        found, nameless = [], []
        for address in addresses:
            self._report.found += 1
            try:
                key = self._describer.identify(address)
            except DescriptionError as error:
                self._report.fail(address, error)
                continue
            if key is None:
                nameless.append(address)
            else:
                found.append((key, address))
        self._report.not_tried = len(found) + len(nameless)
        self._look_for_failures()
        if nameless:
            found += self._identify_by_headers(nameless)
        found.sort(key=lambda item: (item[0].group, item[0].member, item[1]))
        return found

    def _identify_by_headers(self, addresses: list[str]) -> list[Found]:
        """Read the headers of files whose names do not tell.

        They are read again with their exposure: to keep what they say would
        take memory that grows with their number.
        """
        found = []
        for address, structure in zip(addresses, self._read(addresses), strict=True):
            if self._is_stopped():
                raise _Stop
            try:
                if isinstance(structure, DescriptionError):
                    raise structure
                key = self._describer.identify(address, structure)
                assert key is not None, "nothing but the headers is left to ask"
            except DescriptionError as error:
                self._fail(address, error)
            else:
                found.append((key, address))
        return found

    def _read(self, addresses: list[str]) -> Iterator[FileStructure | DescriptionError]:
        return read_structures(addresses, self._options.threads, self._policy.last_hdu)

    def _describe(self, batch: list[Found]) -> list[DescribedFile]:
        """Read the headers of a batch, and report files that are bad."""
        if self._options.skip_existing:
            batch = self._skip_present(batch)
        files = []
        structures = self._read([address for _, address in batch])
        for (key, address), structure in zip(batch, structures, strict=True):
            if self._is_stopped():
                raise _Stop
            try:
                if isinstance(structure, DescriptionError):
                    raise structure
                description = self._describer.describe(key, structure)
            except DescriptionError as error:
                self._fail(address, error)
            else:
                files.append(DescribedFile(address, structure.size, key.group, description))
        return self._drop_twins(files)

    def _skip_present(self, batch: list[Found]) -> list[Found]:
        """Leave out files whose dataset is there, without a look into them."""
        present = self._writer.find_present({key.dataset for key, _ in batch if key.dataset is not None})
        left = [(key, address) for key, address in batch if key.dataset not in present]
        self._report.skipped += len(batch) - len(left)
        self._report.not_tried -= len(batch) - len(left)
        return left

    def _drop_twins(self, files: list[DescribedFile]) -> list[DescribedFile]:
        """Leave out different files for one dataset, and repetitions of a file."""
        datasets = by_dataset(files)
        if len(datasets) == len(files):
            return files
        left = []
        for twins in datasets.values():
            if all(is_same_file(twins[0].address, twin.address) for twin in twins[1:]):
                left.append(twins[0])
                self._report.skipped += len(twins) - 1
                self._report.not_tried -= len(twins) - 1
                continue
            for twin in twins:
                other = next(other.address for other in twins if other is not twin)
                self._fail(
                    twin.address,
                    f"{other} is for the same dataset {twin.description.dataset.values}; "
                    f"name only one of them, or tell them apart by --regex and {self._policy.type_option}",
                )
        return left

    def _write(self, files: list[DescribedFile]) -> None:
        """Write a portion; if that fails, find out what is to blame."""
        if self._is_stopped():
            raise _Stop
        try:
            part = self._writer.write(files)
        except IngestError:
            raise
        except Exception:
            for _, group in itertools.groupby(files, key=lambda file: file.group):
                self._write_group(list(group))
        else:
            self._account(part, len(files))

    def _write_group(self, files: list[DescribedFile]) -> None:
        """Write one exposure, without those of its files that are to blame."""
        try:
            part = self._writer.write(files)
        except Exception as error:
            if is_fatal(error):
                self._stop(files, error)
            self._write_good(files)
        else:
            self._account(part, len(files))

    def _write_good(self, files: list[DescribedFile]) -> None:
        """Try the files of an exposure one by one, then write the good ones together."""
        good = []
        for file in files:
            try:
                self._writer.write([file], rehearse=True)
            except Exception as error:
                self._fail(file.address, explain(error, self._policy.apart_option))
            else:
                good.append(file)
        if not good:
            return
        try:
            part = self._writer.write(good)
        except Exception as error:
            for file in good:
                self._fail(file.address, explain(error, self._policy.apart_option))
        else:
            self._account(part, len(good))

    def _account(self, part: IngestReport, count: int) -> None:
        self._report.add(part)
        self._report.not_tried -= count
        self._look_for_failures()

    def _fail(self, address: str, reason: object) -> None:
        self._report.fail(address, reason)
        self._report.not_tried -= 1
        self._look_for_failures()

    def _look_for_failures(self) -> None:
        if self._options.fail_fast and self._report.failures:
            raise _Stop

    def _stop(self, files: Sequence[DescribedFile], error: Exception) -> None:
        """Give up where nothing else can succeed either."""
        for file in files:
            self._report.fail(file.address, explain(error, self._policy.apart_option))
        self._report.not_tried -= len(files)
        raise _Stop from error
