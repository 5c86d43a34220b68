"""What the engine has to know of a file, whatever its kind."""

from __future__ import annotations

__all__ = [
    "DatasetKey",
    "DatasetKind",
    "Describer",
    "DescriptionError",
    "FileDescription",
    "FileKey",
    "RecordDescription",
]

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lsst.daf.butler import Formatter, FormatterV2
    from lsst.pipe.base import Instrument

    from .reading import FileStructure


class DescriptionError(Exception):
    """A file cannot be ingested. The message says why and what to do."""


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
    """

    kind: DatasetKind
    run: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class FileKey:
    """What the name of a file tells.

    Parameters
    ----------
    group
        Files of equal group are ingested in one transaction: the exposure.
        Groups are ingested in ascending order.
    member
        Order of the file in its group.
    dataset
        Dataset that the file becomes, if its name tells.
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
        Values for fields that neither the repository nor ``values`` know.
    """

    element: str
    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
    """

    dataset: DatasetKey
    records: tuple[RecordDescription, ...] = ()
    unknown: tuple[str, ...] = ()


class Describer(Protocol):
    """Knows one kind of file and nothing of repositories."""

    @property
    def instrument(self) -> type[Instrument]:
        """Instrument that the files come from."""

    @property
    def fields(self) -> Mapping[str, frozenset[str]]:
        """Fields of dimension records that descriptions give, by element."""

    @property
    def last_resorts(self) -> Mapping[str, Mapping[str, Any]]:
        """Values for fields of new records that no file knows, by element."""

    def identify(self, name: str) -> FileKey:
        """Tell from the name of a file where it belongs.

        Parameters
        ----------
        name
            Name of the file without its directory.

        Raises
        ------
        DescriptionError
            Raised if it is not the name of such a file.
        """

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Tell from the headers of a file what to record.

        Parameters
        ----------
        key
            What its name told.
        structure
            Its HDUs with their header bytes.

        Raises
        ------
        DescriptionError
            Raised if the file is not what its name promises.
        """
