"""From addresses to descriptions of files; whatever is bad is reported."""

from __future__ import annotations

__all__ = ["FileReader"]

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from spherex.fits.errors import ProductError

from .batch import DescribedFile
from .description import DescriptionError
from .grouping import Found, by_dataset, is_copy, is_same_file
from .reading import read_structure, read_structures

if TYPE_CHECKING:
    from .description import DatasetKey, Describer
    from .options import IngestOptions
    from .reading import FileStructure
    from .tally import Tally


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
        self._tally.skip(
            (address for key, address in batch if key.dataset in present),
            "--skip-existing passes over it; give the command without to have it compared and removed",
        )
        return [(key, address) for key, address in batch if key.dataset not in present]

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
                self._tally.skip(others, "it is another name of a file that was moved")
            elif key in present:
                left += twins
            elif all(is_copy(kept.address, other) for other in others):
                left.append(kept)
                self._tally.skip(others, "it is a copy of a file that was moved")
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
