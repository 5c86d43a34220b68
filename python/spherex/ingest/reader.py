"""From locations of files to their descriptions."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import filecmp
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from spherex.errors import DescriptionError, ProductError
from spherex.fits import open_source, scan_hdus

from .locations import uri_of
from .writer import DescribedFile

if TYPE_CHECKING:
    from spherex.fits import HDUInfo

    from .descriptions import DatasetKey, Describer, FileKey
    from .engine import IngestOptions
    from .report import Tally


@dataclasses.dataclass(frozen=True, slots=True)
class FileStructure:
    """The HDUs of a file.

    Parameters
    ----------
    address
        Path or URI.
    size
        Size of the file in bytes, None if its server does not tell.
    hdus
        HDUs in the order of the file.
    """

    address: str
    size: int | None
    hdus: list[HDUInfo]


def read_structure(address: str, last: str | None = None) -> FileStructure | DescriptionError:
    """Read the headers of a file and check that its data are all there.

    Parameters
    ----------
    address
        Local path or URI.
    last
        HDU up to which a remote file is read; by default all are.

    Returns
    -------
    FileStructure or DescriptionError
        The structure, or why there is none: the reader may be in another
        thread than the one that has to report it.
    """

    def read() -> FileStructure:
        with open_source(address, sparse=True) as source:
            return FileStructure(address, source.size, scan_hdus(source, last=None if source.is_local else last))

    return attempt(read)


def attempt(read: Callable[[], FileStructure]) -> FileStructure | DescriptionError:
    """Read something, and say what is wrong if that fails.

    Parameters
    ----------
    read
        Reads a file.

    Returns
    -------
    FileStructure or DescriptionError
        What it returns, or why it failed.
    """
    try:
        return read()
    except DescriptionError as error:
        return error
    except ProductError as error:
        return DescriptionError(f"{error}; replace it by a good copy")
    except FileNotFoundError:
        return DescriptionError("the file does not exist; check its name")
    except PermissionError:
        return DescriptionError("no permission to read it; ask its owner or use chmod")
    except IsADirectoryError:
        return DescriptionError("it is a directory, not a file; name a file")
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        text = str(error).strip() or type(error).__name__
        return DescriptionError(f"it cannot be read ({text.splitlines()[0]}); check the address and try again")


def read_structures(
    addresses: Iterable[str], threads: int, read: Callable[[str], FileStructure | DescriptionError] = read_structure
) -> Iterator[FileStructure | DescriptionError]:
    """Read many files, in their order.

    Parameters
    ----------
    addresses
        Local paths or URIs.
    threads
        Number of files that are read at the same time. More than one is
        slower where files are in memory or on a fast disk, and faster where
        each of them has to be waited for.
    read
        Reads one of them.

    Yields
    ------
    FileStructure or DescriptionError
        What ``read`` returns.
    """
    if threads == 1:
        yield from map(read, addresses)
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read, addresses)


_COPIED_AT_ONCE = 4 * 2**30
"""Bytes that are copied in a transaction, more only if one exposure has more."""

Found = tuple["FileKey", str]
"""A file that was found: where it belongs, and its address."""


def batches(found: list[Found], size: int) -> Iterator[list[Found]]:
    """Cut a sorted list between exposures.

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


def by_dataset(files: Iterable[DescribedFile]) -> dict[DatasetKey, list[DescribedFile]]:
    """Sort files by the dataset that they become.

    Parameters
    ----------
    files
        The files.

    Returns
    -------
    dict [ DatasetKey, list [ DescribedFile ] ]
        Files of each dataset.
    """
    twins: dict[DatasetKey, list[DescribedFile]] = {}
    for file in files:
        twins.setdefault(file.description.dataset, []).append(file)
    return twins


def is_same_file(one: str, other: str) -> bool:
    """Whether two addresses lead to one local file.

    Parameters
    ----------
    one, other
        Paths or URIs.

    Returns
    -------
    bool
        False also if one of them does not exist.
    """
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def is_copy(one: str, other: str) -> bool:
    """Whether two local files have the same bytes.

    Parameters
    ----------
    one, other
        Paths or URIs.

    Returns
    -------
    bool
        False also if one of them is remote or cannot be read.
    """
    ours, theirs = uri_of(one), uri_of(other)
    try:
        return ours.isLocal and theirs.isLocal and filecmp.cmp(ours.ospath, theirs.ospath, shallow=False)
    except OSError:
        return False


class FileReader:
    """Reads headers and has them described.

    Parameters
    ----------
    describer
        Knows the kind of file.
    options
        What the user chose.
    tally
        Gets the failures.
    find_present
        Returns which of some datasets are in the repository.
    """

    def __init__(
        self,
        describer: Describer,
        options: IngestOptions,
        tally: Tally,
        find_present: Callable[[Iterable[DatasetKey]], set[DatasetKey]],
    ) -> None:
        self._describer = describer
        self._policy = describer.policy
        self._options = options
        self._tally = tally
        self._find_present = find_present

    def identify(self, addresses: Iterable[str]) -> list[Found]:
        """Sort files by exposure, as far as they can be understood.

        Parameters
        ----------
        addresses
            Paths or URIs.

        Returns
        -------
        list [ tuple [ FileKey, str ] ]
            Where each file belongs, and its address.

        Raises
        ------
        StopIngest
            Raised if nothing more is to be tried.
        """
        found, nameless = [], []
        report = self._tally.report
        for address in addresses:
            report.found += 1
            try:
                _check_name(address)
                with _understanding():
                    key = self._describer.identify(address)
            except DescriptionError as error:
                report.fail(address, error)
                continue
            if key is None:
                nameless.append(address)
            else:
                found.append((key, address))
        report.not_tried = len(found) + len(nameless)
        self._tally.check()
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
            try:
                if isinstance(structure, DescriptionError):
                    raise structure
                with _understanding():
                    key = self._describer.identify(address, structure)
                assert key is not None, "nothing but the headers is left to ask"
            except DescriptionError as error:
                self._tally.fail(address, error)
            else:
                found.append((key, address))
            self._tally.check()
        return found

    def _read(self, addresses: list[str]) -> Iterator[FileStructure | DescriptionError]:
        read = self._policy.read or functools.partial(read_structure, last=self._policy.last_hdu)
        return read_structures(addresses, self._options.threads, read)

    def describe(self, batch: list[Found]) -> list[DescribedFile]:
        """Read the headers of a batch, and report files that are bad.

        Parameters
        ----------
        batch
            Files of whole exposures.

        Returns
        -------
        list [ DescribedFile ]
            The good ones. Where a failure ends the ingest, those of the
            exposures before it.
        """
        if self._options.skip_existing:
            batch = self._skip_present(batch)
        files: list[DescribedFile] = []
        structures = self._read([address for _, address in batch])
        for (key, address), structure in zip(batch, structures, strict=True):
            try:
                if isinstance(structure, DescriptionError):
                    raise structure
                with _understanding():
                    description = self._describer.describe(key, structure)
            except DescriptionError as error:
                self._tally.fail(address, error)
                if self._tally.is_over:
                    files = [file for file in files if file.group != key.group]
                    break
            else:
                files.append(DescribedFile(address, structure.size, key.group, description))
            self._tally.check()
        return self._drop_twins(files)

    def _skip_present(self, batch: list[Found]) -> list[Found]:
        """Leave out files whose dataset is there, without a look into them."""
        present = self._find_present({key.dataset for key, _ in batch if key.dataset is not None})
        left = [(key, address) for key, address in batch if key.dataset not in present]
        self._tally.skip(len(batch) - len(left))
        return left

    def _drop_twins(self, files: list[DescribedFile]) -> list[DescribedFile]:
        """Leave out different files for one dataset, and repetitions of a file."""
        datasets = by_dataset(files)
        if len(datasets) == len(files):
            return files
        # Of a dataset that is there, one of them may be the file.
        present = self._find_present(key for key, twins in datasets.items() if len(twins) > 1)
        left: list[DescribedFile] = []
        for key, twins in datasets.items():
            # Copies are compared byte by byte, which may take long.
            self._tally.check()
            kept = next((twin for twin in twins if not os.path.islink(twin.address)), twins[0])
            others = [twin.address for twin in twins if twin is not kept]
            if all(is_same_file(kept.address, other) for other in others):
                left.append(kept)
                self._tally.skip(len(others))
            elif key in present:
                left += twins
            elif all(is_copy(kept.address, other) for other in others):
                left.append(kept)
                self._tally.skip(len(others))
                for other in others:
                    self._tally.report.note_skipped(other, f"it is a copy of {kept.address}")
            else:
                self._fail_twins(twins)
                if self._tally.is_over:
                    left = [file for file in left if file.group != twins[0].group]
                    break
        return left

    def _fail_twins(self, twins: list[DescribedFile]) -> None:
        for twin in twins:
            other = next(other.address for other in twins if other is not twin)
            self._tally.fail(
                twin.address,
                f"{other} is for the same dataset {twin.description.dataset.values}; "
                f"name only one of them, or tell them apart by --regex and {self._policy.type_option}",
            )


def _check_name(address: str) -> None:
    try:
        address.encode()
    except UnicodeEncodeError:
        raise DescriptionError("its path is not UTF-8, so no URI can name it; rename the file or directory") from None


@contextlib.contextmanager
def _understanding() -> Iterator[None]:
    """Turn whatever a describer raises into a `DescriptionError`.

    One file that nobody foresaw must not end the ingest of all the others.
    """
    try:
        yield
    except DescriptionError:
        raise
    except ProductError as error:
        raise DescriptionError(f"{error}; replace it by a good copy") from None
    except Exception as error:
        text = (str(error).strip() or "no reason given").splitlines()[0]
        raise DescriptionError(
            f"its header cannot be understood ({type(error).__name__}: {text}); mend it or leave the file out"
        ) from error
