"""Names and identifiers of observations, processing runs and files of the archive."""

from __future__ import annotations

import calendar
import dataclasses
import datetime
import re
from typing import Self

from spherex.errors import ArchiveNameError

OBSID_PATTERN = r"(?P<year>\d{4})W(?P<week>\d{2})_(?P<plan>\d)(?P<letter>[A-Z])_(?P<large>\d{4})_(?P<small>\d)"

_OBSID = re.compile(OBSID_PATTERN)
_EXPIDN = re.compile(
    r"(?P<year>\d{4})(?P<week>\d{2})(?P<plan>\d)(?P<letter>\d{2})(?P<large>\d{4})(?P<small>\d)(?P<detector>[1-6])"
)


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


# Pipeline, counter, year and day: l2b-v20-2025-299, l2b_retry-v12-2025-175,
# cal-wcs-v4-2025-254; calibrations from before flight have no counter
# (base-2025-158). A counter with zeros in front is none, nor part of the
# pipeline's name.
_WORD = "[a-z][a-z0-9_]*"
_PIPELINE = rf"{_WORD}(?:-(?!v\d+-){_WORD})*?"
_COUNTER = r"0|[1-9]\d*"
_YEAR, _DAY = r"\d{4}", r"\d{3}"

RUN_PATTERN = rf"{_PIPELINE}(?:-v(?:{_COUNTER}))?-{_YEAR}-{_DAY}"

_RUN = re.compile(
    rf"(?P<pipeline>{_PIPELINE})(?:-v(?P<version>{_COUNTER}))?-(?P<year>{_YEAR})-(?P<day>{_DAY})", re.ASCII
)
_RETRY = "_retry"


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessingRun:
    """One run of a pipeline, the last part of the archive's file names.

    Parameters
    ----------
    pipeline
        What was run: l2b, l2b_retry, cal-wcs, base.
    version
        Counter of the pipeline's runs, `None` if the name has none.
    year, day
        Year and day of year of the processing.
    """

    pipeline: str
    version: int | None
    year: int
    day: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the name of a run.

        Raises
        ------
        ArchiveNameError
            If it is none.
        """
        match = _RUN.fullmatch(text)
        if match is None:
            raise ArchiveNameError(f"{text!r} is no processing run of the form l2b-v20-2025-299")
        version = None if match["version"] is None else int(match["version"])
        year, day = int(match["year"]), int(match["day"])
        # There is a year 0 in no calendar of Python's.
        if year == 0 or not 1 <= day <= 365 + calendar.isleap(year):
            raise ArchiveNameError(f"{text!r} is no processing run: {year:04d} has no day {day:03d}")
        return cls(match["pipeline"], version, year, day)

    @property
    def age_key(self) -> tuple[int, int, int, bool, str]:
        """Sorts runs from the oldest to the newest processing.

        The date decides before the counter, which begins anew where a pipeline
        gets another name (cal-wcs became cal-swcs); of equal date and counter
        a retry comes after what it retries.
        """
        version = -1 if self.version is None else self.version
        return self.year, self.day, version, self.pipeline.endswith(_RETRY), self.pipeline

    @property
    def date(self) -> datetime.datetime:
        """Begin of the day of the processing, UTC."""
        return datetime.datetime(self.year, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=self.day - 1)

    def __str__(self) -> str:
        version = "" if self.version is None else f"-v{self.version}"
        return f"{self.pipeline}{version}-{self.year:04d}-{self.day:03d}"


LEVEL2_REGEX = rf"^level2_{OBSID_PATTERN}D(?P<detector>[1-6])_spx_(?P<run>{RUN_PATTERN})\.fits$"
"""Names of Level 2 images in the archive."""

CALIBRATION_REGEX = (
    rf"^(?P<type>[a-z][a-z0-9_]*?)(?:_D(?P<detector>[1-6]))?_spx_(?P<run>{RUN_PATTERN})\.(?P<extension>fits|yaml)$"
)
"""Names of calibration products in the archive."""

_LEVEL2 = re.compile(LEVEL2_REGEX)
_CALIBRATION = re.compile(CALIBRATION_REGEX)


@dataclasses.dataclass(frozen=True, slots=True)
class Level2Name:
    """What the name of a Level 2 image says.

    Parameters
    ----------
    observation
        The observation.
    detector
        Detector number, 1 to 6.
    run
        Processing run.
    """

    observation: ObservationId
    detector: int
    run: ProcessingRun

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a file name without its directory.

        Raises
        ------
        ArchiveNameError
            If it is not the name of a Level 2 image.
        """
        match = _LEVEL2.search(name)
        if match is None:
            raise ArchiveNameError(f"{name!r} is no name of a Level 2 image of the archive")
        observation = ObservationId.parse(name[len("level2_") : match.start("detector") - 1])
        return cls(observation, int(match["detector"]), ProcessingRun.parse(match["run"]))

    @property
    def tree(self) -> str:
        """Path below the directory ``level2`` of a release, with ``/``."""
        return f"{self.observation.planning_period}/{self.run}/{self.detector}/{self}"

    def __str__(self) -> str:
        return f"level2_{self.observation}D{self.detector}_spx_{self.run}.fits"


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationName:
    """What the name of a calibration product says.

    Parameters
    ----------
    type
        Kind of calibration by the archive's name, such as spectral_wcs.
    detector
        Detector number, 1 to 6; `None` if it holds for all detectors.
    run
        Processing run.
    extension
        ``fits`` or ``yaml``.
    """

    type: str
    detector: int | None
    run: ProcessingRun
    extension: str = "fits"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a file name without its directory.

        Raises
        ------
        ArchiveNameError
            If it is not the name of a calibration product.
        """
        match = _CALIBRATION.search(name)
        if match is None or match["type"] == "level2":
            raise ArchiveNameError(f"{name!r} is no name of a calibration product of the archive")
        detector = None if match["detector"] is None else int(match["detector"])
        return cls(match["type"], detector, ProcessingRun.parse(match["run"]), match["extension"])

    @property
    def tree(self) -> str:
        """Path below the directory of a release, with ``/``."""
        level = "" if self.detector is None else f"{self.detector}/"
        return f"{self.type}/{self.run}/{level}{self}"

    def __str__(self) -> str:
        detector = "" if self.detector is None else f"_D{self.detector}"
        return f"{self.type}{detector}_spx_{self.run}.{self.extension}"
