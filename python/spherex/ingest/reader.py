"""Reader of files: from their URIs to their descriptions."""

from __future__ import annotations

import concurrent.futures
import contextlib
import filecmp
import heapq
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spherex.errors import DescriptionError, HeaderError, ProductError, first_line
from spherex.fits import read_many

from .lists import DiskList
from .locations import resource_path
from .report import StopIngest
from .writer import DescribedFile

if TYPE_CHECKING:
    from .descriptions import DatasetKey, FileKey, FileStructure, FileTranslator
    from .engine import IngestOptions
    from .report import IngestReport


_COPIED_AT_ONCE = 4 * 2**30
"""Bytes that are copied in a transaction, more only if one exposure has more."""

Found = tuple["FileKey", str]
"""Exposure and dataset of a file, and its URI or local path."""


_SORTED_AT_ONCE = 50_000
"""Files that are sorted in memory, before they are written to disk."""


class SortedFiles:
    """Files in the order of their exposures, most of them in temporary files."""

    def __init__(self) -> None:
        self._parts: list[DiskList[Found]] = []
        self._last: list[Found] = []

    def add(self, key: FileKey, uri: str) -> None:
        """Add a file.

        Parameters
        ----------
        key
            Exposure and dataset of the file.
        uri
            URI or local path.
        """
        self._last.append((key, uri))
        if len(self._last) == _SORTED_AT_ONCE:
            part: DiskList[Found] = DiskList()
            part.extend(sorted(self._last, key=_order))
            self._parts.append(part)
            self._last = []

    def __len__(self) -> int:
        return sum(map(len, self._parts)) + len(self._last)

    def __iter__(self) -> Iterator[Found]:
        return heapq.merge(*self._parts, sorted(self._last, key=_order), key=_order)


def _order(item: Found) -> tuple[Any, Any, str]:
    key, uri = item
    return key.group, key.member, uri


def batches(found: Iterable[Found], size: int) -> Iterator[list[Found]]:
    """Cut sorted files between exposures.

    Parameters
    ----------
    found
        Files, those of an exposure together.
    size
        Largest number of files in a batch, more only if one exposure has more.

    Yields
    ------
    list [ tuple [ FileKey, str ] ]
        Files of whole exposures.
    """
    batch: list[Found] = []
    for _, group in itertools.groupby(found, key=lambda item: item[0].group):
        files = list(group)
        if batch and len(batch) + len(files) > size:
            yield batch
            batch = []
        batch.extend(files)
    if batch:
        yield batch


def portions(
    files: Iterable[DescribedFile], is_copied: Callable[[DescribedFile], bool]
) -> Iterator[list[DescribedFile]]:
    """Cut a batch further where a transaction would copy for very long.

    Parameters
    ----------
    files
        Files, those of an exposure together.
    is_copied
        Whether the bytes of a file are to be copied.

    Yields
    ------
    list [ DescribedFile ]
        Files of whole exposures.
    """
    portion: list[DescribedFile] = []
    size = 0
    for _, group in itertools.groupby(files, key=lambda file: file.group):
        if size > _COPIED_AT_ONCE:
            yield portion
            portion, size = [], 0
        for file in group:
            portion.append(file)
            size += (file.size or 0) if is_copied(file) else 0
    if portion:
        yield portion


def is_same_file(first: str, second: str) -> bool:
    """Return whether two paths lead to the same local file.

    Parameters
    ----------
    first, second
        URIs or local paths.

    Returns
    -------
    bool
        False also if one of them does not exist.
    """
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def is_copy(first: str, second: str) -> bool:
    """Return whether two local files have the same bytes.

    Parameters
    ----------
    first, second
        URIs or local paths.

    Returns
    -------
    bool
        False also if one of them is remote or cannot be read.
    """
    ours, theirs = resource_path(first), resource_path(second)
    try:
        return ours.isLocal and theirs.isLocal and filecmp.cmp(ours.ospath, theirs.ospath, shallow=False)
    except OSError:
        return False


class FileReader:
    """Reader of the headers of files, with a translator.

    Parameters
    ----------
    translator
        Translator of the kind of file.
    options
        Choices of the user.
    report
        Report that gets the failures.
    find_existing
        Function that returns which datasets are in the repository.
    """

    def __init__(
        self,
        translator: FileTranslator,
        options: IngestOptions,
        report: IngestReport,
        find_existing: Callable[[Iterable[DatasetKey]], set[DatasetKey]],
    ) -> None:
        self._translator = translator
        self._options = options
        self._report = report
        self._find_existing = find_existing

    def identify(self, uris: Iterable[str]) -> SortedFiles:
        """Sort files by exposure.

        Parameters
        ----------
        uris
            URIs or local paths.

        Returns
        -------
        SortedFiles
            Exposure and dataset of each good file, and its URI or local path.

        Raises
        ------
        StopIngest
            Raised if nothing more is to be tried.
        """
        found = SortedFiles()
        nameless: DiskList[str] = DiskList()
        for uri in uris:
            self._report.found += 1
            # A long list takes minutes.
            if self._report.is_stopped():
                raise StopIngest
            try:
                _check_name(uri)
                with _header_errors():
                    key = self._translator.identify(uri)
            except DescriptionError as error:
                self._report.fail_file(uri, error)
                continue
            if key is None:
                nameless.append(uri)
            else:
                found.add(key, uri)
        self._report.check()
        # The headers of nameless files are read again with their exposure: to
        # keep them would take memory that grows with the number of files.
        for uri, future in zip(nameless, self._read(nameless), strict=True):
            try:
                with _file_errors():
                    structure = future.result()
                with _header_errors():
                    found.add(self._translator.identify_by_headers(structure), uri)
            except DescriptionError as error:
                self._report.fail_file(uri, error)
            self._report.check()
        return found

    def _read(self, uris: Iterable[str]) -> Iterator[concurrent.futures.Future[FileStructure]]:
        return read_many(self._translator.read, uris, threads=self._options.threads)

    def describe(self, batch: list[Found]) -> list[DescribedFile]:
        """Read the headers of a batch, and report bad files.

        Parameters
        ----------
        batch
            Files of whole exposures.

        Returns
        -------
        list [ DescribedFile ]
            The good files. After a failure that ends the ingest, those of the
            exposures before it.
        """
        if self._options.skip_existing:
            existing = self._find_existing({key.dataset for key, _ in batch})
            self._skip(
                sum(key.dataset in existing for key, _ in batch),
                "--skip-existing skips it; run the command without this option to compare it",
            )
            batch = [(key, uri) for key, uri in batch if key.dataset not in existing]
        files: list[DescribedFile] = []
        for (key, uri), future in zip(batch, self._read([uri for _, uri in batch]), strict=True):
            try:
                with _file_errors():
                    structure = future.result()
                with _header_errors():
                    description = self._translator.describe(key, structure)
                    content = self._translator.content_of(structure)
            except DescriptionError as error:
                self._report.fail_file(uri, error)
                if self._report.is_over:
                    files = [file for file in files if file.group != key.group]
                    break
            else:
                files.append(DescribedFile(uri, structure.size, key.group, description, content))
            self._report.check()
        return self._without_duplicates(files)

    def _without_duplicates(self, files: list[DescribedFile]) -> list[DescribedFile]:
        """Leave out different files for one dataset, and repetitions of a file."""
        datasets: dict[DatasetKey, list[DescribedFile]] = {}
        for file in files:
            datasets.setdefault(file.description.dataset, []).append(file)
        if len(datasets) == len(files):
            return files
        # Of an existing dataset, one of them may be the file.
        existing = self._find_existing(key for key, duplicates in datasets.items() if len(duplicates) > 1)
        left: list[DescribedFile] = []
        for key, duplicates in datasets.items():
            # Copies are compared byte by byte, which may take long.
            self._report.check()
            kept = min(duplicates, key=lambda file: (os.path.islink(file.uri), not file.has_archive_name))
            others = [file.uri for file in duplicates if file is not kept]
            is_one_file = all(is_same_file(kept.uri, uri) for uri in others)
            if is_one_file or all(is_copy(kept.uri, uri) for uri in others):
                left.append(kept)
                duplicate = "another name" if is_one_file else "a copy"
                self._skip(len(others), f"it is {duplicate} of a file in LOCATIONS; run the command for it alone")
                for uri in others if not is_one_file else ():
                    self._report.note_duplicate(uri, kept.uri)
            elif key in existing:
                left += duplicates
            else:
                self._fail_duplicates(duplicates)
                if self._report.is_over:
                    left = [file for file in left if file.group != duplicates[0].group]
                    break
        return left

    def _skip(self, number: int, reason: str) -> None:
        """Count skipped files, which are not compared and cannot be listed as stored."""
        self._report.skipped += number
        if self._options.list_stored and number:
            self._report.unsafe[reason] += number

    def _fail_duplicates(self, duplicates: list[DescribedFile]) -> None:
        for file in duplicates:
            duplicate = next(duplicate for duplicate in duplicates if duplicate is not file)
            self._report.fail_file(
                file.uri,
                f"{duplicate.uri} is for the same dataset {file.description.dataset.values}; "
                f"name only one of them, or separate them by --regex and {self._translator.distinguishing_option}",
            )


def _check_name(uri: str) -> None:
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise DescriptionError("its path is not UTF-8, so no URI can name it; rename the file or directory") from None


@contextlib.contextmanager
def _file_errors() -> Iterator[None]:
    """Turn the errors of reading a file into `DescriptionError`."""
    try:
        yield
    except DescriptionError:
        raise
    except ProductError as error:
        raise DescriptionError(f"{error}; replace the file with an intact copy") from None
    except FileNotFoundError:
        raise DescriptionError("the file does not exist; check its name") from None
    except PermissionError:
        raise DescriptionError("no permission to read it; ask its owner or use chmod") from None
    except IsADirectoryError:
        raise DescriptionError("it is a directory, not a file; name a file") from None
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        raise DescriptionError(f"it cannot be read ({first_line(error)}); check the URI and try again") from error


@contextlib.contextmanager
def _header_errors() -> Iterator[None]:
    """Turn the errors of a translator into `DescriptionError`.

    An unforeseen error of one file must not end the ingest of all others.
    """
    try:
        yield
    except DescriptionError:
        raise
    except HeaderError as error:
        raise DescriptionError(f"{error}; fix the header or leave the file out") from None
    except ProductError as error:
        raise DescriptionError(f"{error}; replace the file with an intact copy") from None
    except Exception as error:
        text = (str(error).strip() or "no reason given").splitlines()[0]
        raise DescriptionError(
            f"its header cannot be understood ({type(error).__name__}: {text}); fix it or leave the file out"
        ) from error
