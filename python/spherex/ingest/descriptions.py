"""Descriptions of files, and the base class of their translators."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spherex.errors import DescriptionError, ProductError
from spherex.fits import open_source, scan_hdus

if TYPE_CHECKING:
    import uuid

    from lsst.daf.butler import Butler, DatasetRef, Formatter, FormatterV2
    from lsst.pipe.base import Instrument

    from spherex.fits import HDUInfo
    from spherex.image import Box


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetKind:
    """Dataset type that is not yet bound to a repository.

    Parameters
    ----------
    name
        Name of the dataset type.
    dimensions
        Names of its dimensions.
    storage_class
        Name of its storage class.
    is_calibration
        Whether its datasets may be certified.
    formatter
        Class that reads the files. With None the Butler looks it up in the
        configuration of the repository, which costs more time for each file.
    """

    name: str
    dimensions: tuple[str, ...]
    storage_class: str
    is_calibration: bool = False
    formatter: type[Formatter | FormatterV2] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetKey:
    """Dataset type, run and data ID of the dataset that a file becomes.

    Parameters
    ----------
    kind
        Dataset type.
    run
        Name of the RUN collection.
    values
        Values of the required dimensions, in the order of ``kind.dimensions``.
    id
        UUID that was assigned elsewhere; by default it follows from the rest
        and the content of the file.
    """

    kind: DatasetKind
    run: str
    values: tuple[Any, ...]
    id: uuid.UUID | None = None

    def removal(self, repo: str) -> str:
        """Return the command that removes the dataset.

        Parameters
        ----------
        repo
            Path, URI or label of the repository.
        """
        where = " AND ".join(f"{name}={value!r}" for name, value in zip(self.kind.dimensions, self.values, strict=True))
        return f'butler prune-datasets {repo} --purge {self.run} --datasets {self.kind.name} --where "{where}"'


@dataclasses.dataclass(frozen=True, slots=True)
class DerivedDataset:
    """Dataset that is made from the content of one file and serves many.

    Parameters
    ----------
    dataset
        The dataset. The first file with the content provides it.
    load
        Reads the file and returns the content; None if the file lacks it.
        Raises `DescriptionError` if the file is damaged.
    compare
        Compares the content of the dataset with that of the file, and returns
        a remark if they contradict each other. Raises `DescriptionError` if
        the content of the dataset is damaged: it is then replaced.
    """

    dataset: DatasetKey
    load: Callable[[], Any]
    compare: Callable[[Any], str | None] = lambda content: None


@dataclasses.dataclass(frozen=True, slots=True)
class FileKey:
    """Exposure and dataset of a file.

    Parameters
    ----------
    group
        Files of equal group are ingested in one transaction: the exposure.
        Groups are ingested in ascending order.
    member
        Order of the file in its group.
    dataset
        Dataset that the file becomes.
    """

    group: Any
    member: Any
    dataset: DatasetKey


@dataclasses.dataclass(frozen=True, slots=True)
class RecordDescription:
    """Values that one file has for a dimension record.

    Parameters
    ----------
    element
        Name of the dimension element.
    values
        Values of its fields, the required dimensions first and in their
        order. Fields that the file lacks are None or absent.
    defaults
        Values of fields that belong together, for a record that has none of
        them in the repository or in ``values``.
    cleared
        Fields that become None if ``values`` overwrite others.
    """

    element: str
    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cleared: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class FileDescription:
    """Dataset and dimension records of a file.

    Parameters
    ----------
    dataset
        Dataset that the file becomes.
    records
        Dimension records that the file has values for. An element that others
        depend on comes before them.
    unknown
        Properties that the file lacks, such as ``WCS``: counted in the report.
    remarks
        Properties to be counted in the report, such as that it is a cutout.
    derived
        Dataset that its content can make.
    extent
        Pixels of the frame that a cutout contains; None for a whole frame.
    stored_name
        Path in the datastore, below its root, of a file that is copied or
        linked there; by default the file template of the repository makes it.
    """

    dataset: DatasetKey
    records: tuple[RecordDescription, ...] = ()
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    derived: DerivedDataset | None = None
    extent: Box | None = None
    stored_name: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FileStructure:
    """HDUs of a file.

    Parameters
    ----------
    uri
        URI or local path.
    size
        Size of the file (bytes); None if its server does not report it.
    hdus
        HDUs in the order of the file.
    digest
        SHA-256 of all bytes, hexadecimal; empty if only headers were read.
    """

    uri: str
    size: int | None
    hdus: list[HDUInfo]
    digest: str = ""


_GZIP = b"\x1f\x8b"


def read_structure(uri: str, last: str | None = None) -> FileStructure:
    """Read the headers of a file and check that its data are complete.

    Parameters
    ----------
    uri
        URI or local path.
    last
        HDU up to which a remote file is read; by default all are.

    Raises
    ------
    ProductError
        Raised if the file is damaged.
    DescriptionError
        Raised if it is compressed by gzip.
    OSError
        Raised if it cannot be read.
    """
    with open_source(uri, sparse=True) as source:
        try:
            return FileStructure(uri, source.size, scan_hdus(source, last=None if source.is_local else last))
        except ProductError:
            if source.size == 0 or source.read_at(0, len(_GZIP)) != _GZIP:
                raise
    raise DescriptionError(
        "it is compressed by gzip, and parts of a compressed file cannot be read; decompress it: "
        "gunzip, or gzip -cd FILE > NEW.fits if its name does not end with .gz"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerances:
    """Largest differences between values of a field that count as equal.

    Parameters
    ----------
    time
        Of begin and end of a timespan (ns).
    place
        Of the corners of a region (rad).
    numbers
        Of other numbers, by field; 1e-9 by default.
    """

    time: int = 1_000_000
    place: float = 5e-9
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Reprocessing:
    """Largest differences between the processing runs of one exposure.

    Larger ones are contradictions. All that is not named here is the result of
    the processing: the record has the values of the newest run, and a timespan
    that spans all runs.

    Parameters
    ----------
    time
        Of begin and end of the exposure (ns).
    place
        Of the boresight, and of the corners of a region (rad).
    fixed
        Fields that no processing changes.
    """

    time: int
    place: float
    fixed: frozenset[str]


class FileTranslator(abc.ABC):
    """Translator of the names and headers of one kind of file."""

    instrument: ClassVar[type[Instrument]]
    """Instrument that the files come from."""

    fields: ClassVar[Mapping[str, frozenset[str]]]
    """Fields of dimension records that descriptions have, by element."""

    optional_fields: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Fields, by element, that are left out where the universe of the repository lacks them."""

    type_option: ClassVar[str]
    """Option that names the dataset type."""

    run_option: ClassVar[str | None] = None
    """Option that names the run; None if the files determine it."""

    chain: ClassVar[str | None] = None
    """CHAINED collection that lists all runs, the newest first. Their names begin with its name and a slash."""

    tolerances: ClassVar[Tolerances] = Tolerances()

    reprocessing: ClassVar[Reprocessing | None] = None
    """What processing runs of one exposure may differ in; None where runs are not processing runs."""

    has_many_types: ClassVar[bool] = False
    """Whether files determine their dataset types. A conflict of one dataset type then stops only its own files."""

    fallbacks: Mapping[str, Mapping[str, Any]] = {}
    """Values for fields of new records that no file has, by element."""

    @property
    def distinguishing_option(self) -> str:
        """Option that keeps datasets of equal data ID apart."""
        return self.run_option or self.type_option

    def read(self, uri: str) -> FileStructure:
        """Read the headers of a file.

        Parameters
        ----------
        uri
            URI or local path.
        """
        return read_structure(uri)

    @abc.abstractmethod
    def identify(self, uri: str) -> FileKey | None:
        """Return exposure and dataset of a file by its name.

        Parameters
        ----------
        uri
            URI or local path.

        Returns
        -------
        FileKey or None
            None if the headers have to be read.

        Raises
        ------
        DescriptionError
            Raised if the name is not that of such a file.
        """

    def identify_by_headers(self, structure: FileStructure) -> FileKey:
        """Return exposure and dataset of a file whose name does not contain them.

        Parameters
        ----------
        structure
            HDUs with their header bytes.

        Raises
        ------
        DescriptionError
            Raised if the headers do not contain them either.
        """
        raise DescriptionError("its name does not identify it; rename the file or leave it out")

    @abc.abstractmethod
    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Return dataset and dimension records of a file.

        Parameters
        ----------
        key
            Exposure and dataset by `identify` or `identify_by_headers`.
        structure
            HDUs with their header bytes.

        Raises
        ------
        DescriptionError
            Raised if the headers are wrong, or contradict the name.
        """

    def content_of(self, structure: FileStructure) -> str:
        """Return a fingerprint of the content of a file, which becomes part of the id of its dataset.

        Parameters
        ----------
        structure
            HDUs with their header bytes.

        Returns
        -------
        str
            The same for each copy of the file, wherever it lies. Empty for
            datasets whose ids follow from dataset type, run and data ID alone.
        """
        return ""

    def issue_of(self, structure: FileStructure) -> dict[str, str]:
        """Return what shows the user which issue of a file it is.

        Parameters
        ----------
        structure
            HDUs with their header bytes.

        Returns
        -------
        dict [ str, str ]
            Values by name.
        """
        return {}

    def age_of(self, collection: str) -> Any:
        """Return a key that sorts runs from the oldest to the newest.

        Parameters
        ----------
        collection
            Name of a collection.

        Returns
        -------
        key
            None for a collection that is not such a run.
        """
        return None

    def order_of(self, collection: str) -> Any:
        """Return a key that sorts the runs in a chain from the last to the first one.

        Parameters
        ----------
        collection
            Name of a collection.

        Returns
        -------
        key
            None for a collection that is not such a run.
        """
        return self.age_of(collection)

    def chains_of(self, collection: str) -> tuple[str, ...]:
        """Return the CHAINED collections that list a run.

        Parameters
        ----------
        collection
            Name of a collection.

        Returns
        -------
        tuple [ str ]
            Empty for a collection that is not such a run.
        """
        return () if self.chain is None or self.age_of(collection) is None else (self.chain,)

    def start(self, butler: Butler, dry_run: bool) -> None:  # noqa: B027, not every kind needs it
        """Prepare the repository before the first file.

        Parameters
        ----------
        butler
            The repository, writeable unless it is a dry run.
        dry_run
            Only check.

        Raises
        ------
        IngestError
            Raised if the repository does not fit.
        """

    def finish_batch(
        self, butler: Butler, new: Sequence[DatasetRef], existing: Sequence[DatasetRef], dry_run: bool
    ) -> list[str]:
        """Do what belongs to the transaction of a batch of files.

        Parameters
        ----------
        butler
            The repository, in the transaction.
        new
            Datasets of the batch that were ingested; in a dry run they do not
            exist.
        existing
            Datasets of the batch that existed.
        dry_run
            Change nothing.

        Returns
        -------
        list [ str ]
            Lines for the report.
        """
        return []
