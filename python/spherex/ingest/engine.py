"""Ingest engine: options, and the way from locations to the report."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler.progress import Progress, ProgressBar

from spherex.errors import DescriptionError, IngestError, RepositoryError
from spherex.repository import NO_ANSWER, explain, is_answering, is_fatal, is_without_answer

from .locations import find_files
from .reader import FileReader, batches, portions
from .report import IngestReport, StopIngest
from .writer import BatchWriter, DescribedFile

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .descriptions import FileTranslator


MOVE_REMEDY = (
    "--transfer move is not supported: use --transfer copy --list-stored FILE, and then remove the originals that are "
    "safely stored by: xargs -d '\\n' rm < FILE"
)
"""What to do instead of a move, which might remove a file that another dataset needs."""


@dataclasses.dataclass(frozen=True)
class IngestOptions:
    """Choices of the user that do not depend on the kind of file.

    Parameters
    ----------
    transfer
        How files get into the datastore: a transfer mode of the Butler other
        than ``move``. None leaves remote files where they are and is ``auto``
        for local ones.
    threads
        Number of threads that read headers.
    skip_existing
        Skip files whose dataset exists, without reading them.
    update_records
        Let headers overwrite dimension records that differ.
    track_file_attrs
        Record the sizes of files.
    fail_fast
        Stop at the first file that fails.
    dry_run
        Read and compare everything, but write nothing.
    batch_size
        Number of files in a transaction, more only if one exposure has more.
    list_stored
        List the originals that can be removed because the datastores contain
        their content.

    Raises
    ------
    IngestError
        Raised if the choices do not go together.
    """

    transfer: str | None = "auto"
    threads: int = 1
    skip_existing: bool = False
    update_records: bool = False
    track_file_attrs: bool = True
    fail_fast: bool = False
    dry_run: bool = False
    batch_size: int = 5000
    list_stored: bool = False

    def __post_init__(self) -> None:
        if self.transfer == "move":
            raise IngestError(MOVE_REMEDY)
        if self.list_stored and self.dry_run:
            raise IngestError("--list-stored cannot be used with --dry-run: a dry run stores nothing.")


# Loggers outside of lsst.* show warnings only, unless the user says more.
_PROGRESS = Progress("spherex.ingest", level=30)


def ingest(
    butler: Butler,
    translator: FileTranslator,
    locations: Iterable[str],
    pattern: re.Pattern[str],
    options: IngestOptions | None = None,
    is_stopped: Callable[[], bool] = bool,
    refresh_statistics: Callable[[], bool] = bool,
) -> IngestReport:
    """Ingest files.

    Parameters
    ----------
    butler
        The repository, writeable unless it is a dry run. The instrument must
        be registered.
    translator
        Translator of the kind of file.
    locations
        URIs or local paths of files, of directories, and of lists of URIs.
    pattern
        Regular expression for the names of files in directories.
    options
        Choices of the user.
    is_stopped
        Function that returns whether the ingest is to stop after the exposures
        at hand.
    refresh_statistics
        Function that refreshes the statistics of the database, and returns
        whether it could. It is called before a batch whenever the ingested
        files have become ten times as many, and again where it could not.

    Returns
    -------
    IngestReport
        Counts and failures. After a full disk, without the database server,
        with ``fail_fast`` or if it was stopped, some files may not have been
        tried.

    Raises
    ------
    IngestError
        Raised if a collection or dataset type of the repository does not fit.
    """
    options = options or IngestOptions()
    report = IngestReport(options.dry_run, options.fail_fast, is_stopped)
    translator.start(butler, options.dry_run)
    run = _Run(butler, translator, options, report, refresh_statistics)
    with contextlib.suppress(StopIngest):
        run.ingest(find_files(locations, pattern, report))
    return report


def is_ingested(butler: Butler, translator: FileTranslator, uris: Sequence[str]) -> list[bool]:
    """Return which files are datasets with a file in the repository, by their names alone.

    Parameters
    ----------
    butler
        The repository.
    translator
        Translator of the kind of file.
    uris
        URIs or local paths of files with names of the archive. No file is
        opened.

    Returns
    -------
    is_ingested
        One value for each file.

    Raises
    ------
    DescriptionError
        Raised if a name does not contain exposure, detector and run.
    """
    keys = []
    for uri in uris:
        key = translator.identify(uri)
        if key is None:
            raise DescriptionError(f"{uri} does not have a name of the archive")
        keys.append(key.dataset)
    existing = BatchWriter(butler, translator, IngestOptions(dry_run=True)).find_existing(keys)
    return [key in existing for key in keys]


class _Run:
    """State of one ingest."""

    def __init__(
        self,
        butler: Butler,
        translator: FileTranslator,
        options: IngestOptions,
        report: IngestReport,
        refresh_statistics: Callable[[], bool],
    ) -> None:
        self._butler = butler
        self._option = translator.distinguishing_option
        self._options = options
        self._report = report
        self._writer = BatchWriter(butler, translator, options)
        self._reader = FileReader(translator, options, report, self._writer.find_existing)
        self._refresh_statistics = refresh_statistics
        self._next_refresh = 1

    def ingest(self, uris: Iterable[str]) -> None:
        """Ingest files, given by URI or local path."""
        found = self._reader.identify(uris)
        # A file counts when it is read and again when it is written.
        bar: ProgressBar[None]
        with _PROGRESS.bar(desc="Ingesting files", total=2 * len(found)) as bar:
            for batch in batches(found, self._options.batch_size):
                # Without statistics SQLite compares each file of a batch with all datasets of its run, which
                # takes a time that grows with the square of the number of files.
                if self._report.ingested >= self._next_refresh and self._refresh_statistics():
                    # A connection reads them when it is made.
                    self._butler.registry.resetConnectionPool()
                    self._next_refresh = 10 * self._report.ingested
                files = self._reader.describe(batch)
                bar.update(len(batch))
                is_over = self._report.is_over
                for portion in portions(files, self._writer.is_copied):
                    self._write(portion)
                if is_over:
                    raise StopIngest
                bar.update(len(batch))

    def _write(self, files: list[DescribedFile]) -> None:
        """Write a portion; if that fails, write its exposures one by one."""
        if self._report.is_stopped():
            raise StopIngest
        try:
            part = self._attempt(files)
        except (IngestError, RepositoryError):
            raise
        except Exception:
            for _, group in itertools.groupby(files, key=lambda file: file.group):
                self._write_group(list(group))
        else:
            self._add(part)

    def _write_group(self, files: list[DescribedFile]) -> None:
        """Write one exposure; if that fails, write its good files."""
        try:
            part = self._attempt(files)
        except Exception as error:
            if is_fatal(error):
                # No other file can succeed either.
                for file in files:
                    self._report.fail_file(file.uri, explain(error, self._option))
                raise StopIngest from error
            self._write_good(files)
        else:
            self._add(part)

    def _write_good(self, files: list[DescribedFile]) -> None:
        """Find the good files of an exposure by trial runs, and write them together."""
        good = []
        for file in files:
            try:
                self._attempt([file], trial=True)
            except Exception as error:
                self._fail(file, error)
            else:
                good.append(file)
        if not good:
            return
        try:
            part = self._attempt(good)
        except Exception as error:
            for file in good:
                self._fail(file, error)
        else:
            self._add(part)

    def _attempt(self, files: list[DescribedFile], trial: bool = False) -> IngestReport:
        """Write files, and once more when a lost database server has come back."""
        for is_last in (False, True):
            try:
                return self._writer.write(files, trial)
            except Exception as error:
                if not is_without_answer(error):
                    raise
            if is_last or not is_answering(self._butler):
                break
        self._report.obstacle = f"{NO_ANSWER}."
        raise StopIngest

    def _add(self, part: IngestReport) -> None:
        self._report.add(part)
        if part.failures and self._report.is_over:
            raise StopIngest

    def _fail(self, file: DescribedFile, error: Exception) -> None:
        self._report.fail_file(file.uri, explain(error, self._option))
        if self._report.is_over:
            raise StopIngest
