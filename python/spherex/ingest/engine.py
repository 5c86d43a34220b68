"""What the user of an ingest can choose, and why one cannot begin."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler.progress import Progress, ProgressBar

from spherex.errors import IngestError
from spherex.repository import explain, is_fatal

from .locations import find_files
from .reader import FileReader, batches, portions
from .report import StopIngest, Tally
from .writer import BatchHook, BatchWriter, DescribedFile

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .descriptions import Describer
    from .report import IngestReport


MOVE_REMEDY = (
    "--transfer move is not supported: use --transfer copy --list-stored FILE, and then remove the originals that are "
    "safely stored by: xargs -d '\\n' rm < FILE"
)
"""What to do instead of a move, which might remove a file that another dataset needs."""


@dataclasses.dataclass(frozen=True)
class IngestOptions:
    """Choices that do not depend on the kind of file.

    Parameters
    ----------
    transfer
        How files get into the datastore: a transfer mode of the Butler other
        than ``move``. None leaves remote files where they are and is ``auto``
        for local ones.
    threads
        Number of threads that read headers.
    skip_existing
        Pass over files whose dataset is there already without looking into
        them.
    update_records
        Let headers overwrite dimension records that differ.
    track_file_attrs
        Record the sizes of files.
    fail_fast
        Stop at the first file that fails.
    dry_run
        Do everything but write.
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
            raise IngestError("--list-stored does not go with --dry-run: a dry run stores nothing.")


# Loggers outside of lsst.* show warnings only, unless the user says more.
_PROGRESS = Progress("spherex.ingest", level=30)


def ingest(
    butler: Butler,
    describer: Describer,
    locations: Iterable[str],
    pattern: re.Pattern[str],
    options: IngestOptions | None = None,
    is_stopped: Callable[[], bool] = bool,
    hook: BatchHook | None = None,
    preview: BatchHook | None = None,
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
        Called in each transaction with the new datasets of the batch and with
        those that were there already, and returns lines for the report. Not
        called in a dry run.
    preview
        Called in its place in a dry run, with datasets that may not be in the
        repository yet.

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
    tally = Tally(options, is_stopped)
    run = _Run(butler, describer, options, tally, preview if options.dry_run else hook)
    with contextlib.suppress(StopIngest):
        run.ingest(find_files(locations, pattern, tally.report))
    return tally.report


class _Run:
    """One ingest on its way."""

    def __init__(
        self, butler: Butler, describer: Describer, options: IngestOptions, tally: Tally, hook: BatchHook | None
    ) -> None:
        self._policy = describer.policy
        self._options = options
        self._tally = tally
        self._writer = BatchWriter(butler, describer, options, hook)
        self._reader = FileReader(describer, options, tally, self._writer.find_present)

    def ingest(self, addresses: Iterable[str]) -> None:
        """Ingest the files at these addresses."""
        found = self._reader.identify(addresses)
        # A file counts when it is read and again when it is written.
        bar: ProgressBar[None]
        with _PROGRESS.bar(desc="Ingesting files", total=2 * len(found)) as bar:
            for batch in batches(found, self._options.batch_size):
                files = self._reader.describe(batch)
                bar.update(len(batch))
                is_over = self._tally.is_over
                for portion in portions(files, self._writer.is_copied):
                    self._write(portion)
                if is_over:
                    raise StopIngest
                bar.update(len(batch))

    def _write(self, files: list[DescribedFile]) -> None:
        """Write a portion; if that fails, find out what is to blame."""
        if self._tally.is_stopped():
            raise StopIngest
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
                self._give_up(files, error)
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
                self._fail(file, error)
            else:
                good.append(file)
        if not good:
            return
        try:
            part = self._writer.write(good)
        except Exception as error:
            for file in good:
                self._fail(file, error)
        else:
            self._account(part, len(good))

    def _account(self, part: IngestReport, count: int) -> None:
        self._tally.add(part, count)
        if part.failures and self._tally.is_over:
            raise StopIngest

    def _fail(self, file: DescribedFile, error: Exception) -> None:
        self._tally.fail(file.address, explain(error, self._policy.apart_option))
        if self._tally.is_over:
            raise StopIngest

    def _give_up(self, files: Sequence[DescribedFile], error: Exception) -> None:
        """Stop where nothing else can succeed either."""
        for file in files:
            self._tally.fail(file.address, explain(error, self._policy.apart_option))
        raise StopIngest from error
