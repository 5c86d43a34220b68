"""How files of one kind are treated where kinds differ."""

from __future__ import annotations

__all__ = ["IngestPolicy", "RunChain"]

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .description import DescriptionError
    from .reading import FileStructure


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
    last_hdu: str | None = None
    chain: RunChain | None = None
    read: Callable[[str], FileStructure | DescriptionError] | None = None
    has_given_ids: bool = False
    has_many_types: bool = False

    @property
    def apart_option(self) -> str:
        """Option that keeps datasets of equal data ID apart."""
        return self.run_option or self.type_option
