"""Identifiers of observations, as words and as integers."""

from __future__ import annotations

__all__ = ["ArchiveNameError", "ObservationId"]

import dataclasses
import re
from typing import Self

OBSID_PATTERN = r"(?P<year>\d{4})W(?P<week>\d{2})_(?P<plan>\d)(?P<letter>[A-Z])_(?P<large>\d{4})_(?P<small>\d)"

_OBSID = re.compile(OBSID_PATTERN)
_EXPIDN = re.compile(
    r"(?P<year>\d{4})(?P<week>\d{2})(?P<plan>\d)(?P<letter>\d{2})(?P<large>\d{4})(?P<small>\d)(?P<detector>[1-6])"
)


class ArchiveNameError(ValueError):
    """Something is not a name or identifier of the archive. The message says what and why."""


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class ObservationId:
    """One pointed observation of the mission, taken with all detectors.

    Parameters
    ----------
    year, week
        ISO year and week of the planning period.
    plan
        Number of the plan in that week.
    letter
        Revision of the plan, A to Z.
    large, small
        Counters of the large slew in the plan and of the small slew after it.

    Notes
    -----
    The words are those of the archive documentation (Caltech-IPAC,
    spherex-archive-documentation, data products). How EXPIDN is composed is
    not documented; it was derived from the headers of 42 files of Quick
    Release 1 and checked on files of the later ones.
    """

    year: int
    week: int
    plan: int
    letter: str
    large: int
    small: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an OBSID card, such as 2025W51_1A_0684_2.

        Raises
        ------
        ArchiveNameError
            If it is none.
        """
        match = _OBSID.fullmatch(text)
        if match is None:
            raise ArchiveNameError(f"{text!r} is no observation ID of the form 2025W51_1A_0684_2")
        return cls._of_fields(match.groupdict())

    @classmethod
    def from_expidn(cls, expidn: int) -> tuple[Self, int]:
        """Read an EXPIDN card, such as 202551101068423.

        Returns
        -------
        observation : `ObservationId`
            The observation.
        detector : `int`
            Detector number, 1 to 6.

        Raises
        ------
        ArchiveNameError
            If it is none.
        """
        match = _EXPIDN.fullmatch(str(expidn))
        if match is None or not 1 <= int(match["letter"]) <= 26:
            raise ArchiveNameError(f"{expidn!r} is no integer exposure ID of the form 202551101068423")
        fields = match.groupdict()
        detector = int(fields.pop("detector"))
        fields["letter"] = chr(ord("A") + int(fields["letter"]) - 1)
        return cls._of_fields(fields), detector

    @classmethod
    def _of_fields(cls, fields: dict[str, str]) -> Self:
        numbers = {name: int(fields[name]) for name in ("year", "week", "plan", "large", "small")}
        return cls(letter=fields["letter"], **numbers)

    @property
    def planning_period(self) -> str:
        """Planning period of about 3.5 days, such as 2025W51_1A."""
        return f"{self.year:04d}W{self.week:02d}_{self.plan}{self.letter}"

    @property
    def exposure(self) -> int:
        """Exposure id of 14 digits: EXPIDN without the detector."""
        letter = ord(self.letter) - ord("A") + 1
        return int(f"{self.year:04d}{self.week:02d}{self.plan}{letter:02d}{self.large:04d}{self.small}")

    def expidn(self, detector: int) -> int:
        """Return the integer that EXPIDN has for one detector."""
        return self.exposure * 10 + detector

    def __str__(self) -> str:
        return f"{self.planning_period}_{self.large:04d}_{self.small}"
