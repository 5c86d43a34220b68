"""Processing runs of the archive and their order."""

from __future__ import annotations

__all__ = ["ProcessingRun"]

import dataclasses
import datetime
import re
from typing import Self

from ._observation import ArchiveNameError

# Pipeline, counter, year and day: l2b-v20-2025-299, l2b_retry-v12-2025-175,
# cal-wcs-v4-2025-254; calibrations from before flight have no counter
# (base-2025-158).
RUN_PATTERN = r"[a-z][a-z0-9_]*(?:-[a-z][a-z0-9_]*)*?(?:-v\d+)?-\d{4}-\d{3}"

_RUN = re.compile(
    r"(?P<pipeline>[a-z][a-z0-9_]*(?:-[a-z][a-z0-9_]*)*?)(?:-v(?P<version>\d+))?-(?P<year>\d{4})-(?P<day>\d{3})"
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
        Counter of the pipeline's runs, 0 if the name has none.
    year, day
        Year and day of year of the processing.
    """

    pipeline: str
    version: int
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
        return cls(match["pipeline"], int(match["version"] or 0), int(match["year"]), int(match["day"]))

    @property
    def age_key(self) -> tuple[int, int, int, bool, str]:
        """Sorts runs from the oldest to the newest processing.

        The date decides before the counter, which begins anew where a pipeline
        gets another name (cal-wcs became cal-swcs); of equal date and counter
        a retry comes after what it retries.
        """
        return self.year, self.day, self.version, self.pipeline.endswith(_RETRY), self.pipeline

    @property
    def date(self) -> datetime.datetime:
        """Begin of the day of the processing, UTC."""
        return datetime.datetime(self.year, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=self.day - 1)

    def __str__(self) -> str:
        version = f"-v{self.version}" if self.version else ""
        return f"{self.pipeline}{version}-{self.year:04d}-{self.day:03d}"
