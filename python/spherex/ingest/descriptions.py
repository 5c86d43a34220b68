"""Description of a file for the ingest engine, whatever its kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import uuid

    from lsst.daf.butler import Formatter, FormatterV2
    from lsst.pipe.base import Instrument

    from spherex.errors import DescriptionError, Remark

    from .reader import FileStructure


@dataclasses.dataclass(frozen=True, slots=True)
class RunChain:
    """A CHAINED collection that lists runs, the newest first.

    Parameters
    ----------
    name
        Name of the collection.
    age_key
        Returns for the name of a collection what sorts it from the oldest to
        the newest run; None for a collection that is none of the runs, which
        is left where it is.
    """

    name: str
    age_key: Callable[[str], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class IngestPolicy:
    """How files of one kind are treated.

    Parameters
    ----------
    type_option
        Option by which the user chooses the dataset type.
    run_option
        Option by which the user chooses the run; None if the files tell it.
    same_time
        Times that differ by less are the same (ns).
    same_place
        Corners that differ by less are the same (rad).
    tolerances
        Largest difference between equal numbers, by field; 1e-9 by default.
    optional_fields
        Fields, by element, that are left out where the universe of the
        repository lacks them.
    last_hdu
        HDU up to which headers of remote files are read; None for all. All
        headers of local files are read in any case, because a file that was
        cut short shows it only at its end.
    chain
        Collection that lists the runs.
    read
        Reads a file of a given address; by default its FITS headers are read.
    has_given_ids
        Whether datasets may have UUIDs that do not follow from what they are.
    has_many_types
        Whether files tell their dataset types, so that one of which the
        repository has another definition is no matter of the other files.
    """

    type_option: str
    run_option: str | None = None
    same_time: int = 1_000_000
    same_place: float = 5e-9
    tolerances: Mapping[str, float] = dataclasses.field(default_factory=dict)
    optional_fields: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    last_hdu: str | None = None
    chain: RunChain | None = None
    read: Callable[[str], FileStructure | DescriptionError] | None = None
    has_given_ids: bool = False
    has_many_types: bool = False

    @property
    def apart_option(self) -> str:
        """Option that keeps datasets of equal data ID apart."""
        return self.run_option or self.type_option


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetKind:
    """A dataset type, not yet bound to a repository.

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
        Class that reads the files; None if that is left to the configuration
        of the repository, which costs more time for each file.
    """

    name: str
    dimensions: tuple[str, ...]
    storage_class: str
    is_calibration: bool = False
    formatter: type[Formatter | FormatterV2] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetKey:
    """The dataset that a file becomes.

    Parameters
    ----------
    kind
        Its dataset type.
    run
        Name of its RUN collection.
    values
        Values of the required dimensions, in the order of ``kind.dimensions``.
    id
        Its UUID if that was given to it elsewhere; by default it follows from
        the rest.
    """

    kind: DatasetKind
    run: str
    values: tuple[Any, ...]
    id: uuid.UUID | None = None

    @property
    def removal(self) -> str:
        """Command by which a user removes it."""
        where = " AND ".join(f"{name}={value!r}" for name, value in zip(self.kind.dimensions, self.values, strict=True))
        return f'butler prune-datasets REPO --purge {self.run} --datasets {self.kind.name} --where "{where}"'


@dataclasses.dataclass(frozen=True, slots=True)
class DerivedDataset:
    """A dataset made from the contents of a file, once for many files.

    Parameters
    ----------
    dataset
        The dataset. It is made from the first file that is ingested and can
        serve for it.
    load
        Reads the file and returns what is to be put; None if the file cannot
        serve. Raises `DescriptionError` if the file is damaged.
    """

    dataset: DatasetKey
    load: Callable[[], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class FileKey:
    """Where a file belongs.

    Parameters
    ----------
    group
        Files of equal group are ingested in one transaction: the exposure.
        Groups are ingested in ascending order.
    member
        Order of the file in its group.
    dataset
        Dataset that the file becomes, if that is known already.
    """

    group: Any
    member: Any
    dataset: DatasetKey | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RecordDescription:
    """A dimension record as far as one file knows it.

    Parameters
    ----------
    element
        Name of the dimension element.
    values
        Values of its fields, the required dimensions first and in their
        order. Fields that the file does not know are None or absent.
    defaults
        Values for fields that belong together, if neither the repository nor
        ``values`` know any of them.
    emptied
        Fields that have no value beside ``values``: if those overwrite others,
        these become None.
    """

    element: str
    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    emptied: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class FileDescription:
    """All that has to be known of a file to ingest it.

    Parameters
    ----------
    dataset
        Dataset that the file becomes.
    records
        Dimension records that the file knows something of. An element that
        others depend on stands before them.
    unknown
        What the file should tell but does not, such as ``WCS``: counted in the
        report.
    remarks
        What else is to be counted in the report, such as that it is a cutout.
    derived
        Datasets that its contents can make.
    """

    dataset: DatasetKey
    records: tuple[RecordDescription, ...] = ()
    unknown: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    derived: tuple[DerivedDataset, ...] = ()


class Describer(Protocol):
    """Knows one kind of file and nothing of repositories."""

    @property
    def instrument(self) -> type[Instrument]:
        """Instrument that the files come from."""

    @property
    def policy(self) -> IngestPolicy:
        """How such files are treated."""

    @property
    def fields(self) -> Mapping[str, frozenset[str]]:
        """Fields of dimension records that descriptions give, by element."""

    @property
    def last_resorts(self) -> Mapping[str, Mapping[str, Any]]:
        """Values for fields of new records, by element, if no file knows any of them."""

    def identify(self, address: str, structure: FileStructure | None = None) -> FileKey | None:
        """Tell where a file belongs.

        Parameters
        ----------
        address
            Path or URI of the file.
        structure
            Its HDUs, when it is asked for the second time.

        Returns
        -------
        FileKey or None
            Where it belongs; None if its name does not tell and its headers
            have to be read.

        Raises
        ------
        DescriptionError
            Raised if it is not such a file.
        """

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Tell from the headers of a file what to record.

        Parameters
        ----------
        key
            What `identify` told.
        structure
            Its HDUs with their header bytes.

        Raises
        ------
        DescriptionError
            Raised if the file is not what its name promises.
        """
