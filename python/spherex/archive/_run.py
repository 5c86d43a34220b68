"""Processing runs of the archive and their order."""

from __future__ import annotations

__all__ = ["ProcessingRun"]

import calendar
import dataclasses
import datetime
import re
from typing import Self

from ._observation import ArchiveNameError

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
