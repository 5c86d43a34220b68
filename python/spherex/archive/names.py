"""Names and identifiers of observations, processing runs and files of the archive."""

from __future__ import annotations

import calendar
import dataclasses
import datetime
import functools
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, Self

from spherex.detectors import LEVEL2_COLLECTION
from spherex.errors import ArchiveNameError

ARCHIVE_URL = "https://irsa.ipac.caltech.edu/"
"""Start of the URIs of the archive's server; its tables contain relative ones too."""

ARCHIVE_BUCKET = "s3://nasa-irsa-spherex/"
"""Start of the URIs of the archive's copy in the cloud, which anybody can read."""

_TREE = "ibe/data/spherex/"
"""Directory of the files on the archive's server; in the bucket it is the root."""


def cloud_uri(text: str) -> str:
    """Return the URI of a copy in the cloud.

    Parameters
    ----------
    text
        JSON of the archive's tables (``cloud_access``).

    Returns
    -------
    uri
        The first URI in it; empty if there is none.
    """
    try:
        return next(_cloud_uris(json.loads(text)), "")
    except ValueError:
        return ""


def _cloud_uris(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        bucket, key = value.get("bucket_name") or value.get("bucket"), value.get("key")
        if bucket and key:
            yield f"s3://{bucket}/{urllib.parse.quote(str(key).lstrip('/'))}"
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _cloud_uris(part)
    elif isinstance(value, str) and value.startswith("s3://"):
        yield value


def mirror_uri(uri: str) -> str:
    """Return the URI of the same file in the archive's bucket.

    Parameters
    ----------
    uri
        URI of a file on the archive's server.

    Returns
    -------
    uri
        Empty for a URI of another server.

    Notes
    -----
    Both trees are the same (Caltech-IPAC, spherex-archive-documentation, data
    access).
    """
    start = ARCHIVE_URL + _TREE
    return ARCHIVE_BUCKET + uri.removeprefix(start) if uri.startswith(start) else ""


_OBSID_PATTERN = r"(?P<year>\d{4})W(?P<week>\d{2})_(?P<plan>\d)(?P<letter>[A-Z])_(?P<large>\d{4})_(?P<small>\d)"

_OBSID = re.compile(_OBSID_PATTERN)
_EXPIDN = re.compile(
    r"(?P<year>\d{4})(?P<week>\d{2})(?P<plan>\d)(?P<letter>\d{2})(?P<large>\d{4})(?P<small>\d)(?P<detector>[1-6])"
)


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class ObservationId:
    """Identifier of a pointed observation, which all detectors take at once.

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
    Terms as in the archive documentation (Caltech-IPAC,
    spherex-archive-documentation, data products). The digits of EXPIDN are not
    documented there: they follow from the headers of 42 files of Quick
    Release 1, and agree with files of later releases.
    """

    year: int
    week: int
    plan: int
    letter: str
    large: int
    small: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a value of OBSID, such as 2025W51_1A_0684_2.

        Raises
        ------
        ArchiveNameError
            If the text has another form.
        """
        match = _OBSID.fullmatch(text)
        if match is None:
            raise ArchiveNameError(f"{text!r} is not an observation ID of the form 2025W51_1A_0684_2")
        return cls._of_fields(match.groupdict())

    @classmethod
    def from_expidn(cls, expidn: int) -> tuple[Self, int]:
        """Parse a value of EXPIDN, such as 202551101068423.

        Returns
        -------
        observation
            Observation.
        detector
            Detector number, 1 to 6.

        Raises
        ------
        ArchiveNameError
            If the number has another form.
        """
        match = _EXPIDN.fullmatch(str(expidn))
        if match is None or not 1 <= int(match["letter"]) <= 26:
            raise ArchiveNameError(f"{expidn!r} is not an integer exposure ID of the form 202551101068423")
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
        """Name of the planning period of about 3.5 days, such as 2025W51_1A."""
        return f"{self.year:04d}W{self.week:02d}_{self.plan}{self.letter}"

    @property
    def exposure(self) -> int:
        """Exposure id of 14 digits: EXPIDN without the detector."""
        letter = ord(self.letter) - ord("A") + 1
        return int(f"{self.year:04d}{self.week:02d}{self.plan}{letter:02d}{self.large:04d}{self.small}")

    def expidn(self, detector: int) -> int:
        """Return the EXPIDN of one detector."""
        return self.exposure * 10 + detector

    def __str__(self) -> str:
        return f"{self.planning_period}_{self.large:04d}_{self.small}"


# Pipeline, counter, year and day: l2b-v20-2025-299, l2b_retry-v12-2025-175,
# cal-wcs-v4-2025-254. Calibrations from before the flight do not have a counter
# (base-2025-158). A counter does not begin with zeros.
_WORD = "[a-z][a-z0-9_]*"
_PIPELINE = rf"{_WORD}(?:-(?!v\d+-){_WORD})*?"
_COUNTER = r"0|[1-9]\d*"
_YEAR, _DAY = r"\d{4}", r"\d{3}"

_RUN_PATTERN = rf"{_PIPELINE}(?:-v(?:{_COUNTER}))?-{_YEAR}-{_DAY}"

_RUN = re.compile(
    rf"(?P<pipeline>{_PIPELINE})(?:-v(?P<version>{_COUNTER}))?-(?P<year>{_YEAR})-(?P<day>{_DAY})", re.ASCII
)
_RETRY = "_retry"


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessingRun:
    """Run of a pipeline of the mission, the last part of the archive's file names.

    Parameters
    ----------
    pipeline
        Name of the pipeline: l2b, l2b_retry, cal-wcs, base.
    version
        Counter of the runs of the pipeline; `None` if the name does not contain one.
    year, day
        Year and day of year of the processing.
    """

    pipeline: str
    version: int | None
    year: int
    day: int

    # An ingest has thousands of files of a run.
    @classmethod
    @functools.lru_cache(64)
    def parse(cls, text: str) -> Self:
        """Parse the name of a run.

        Raises
        ------
        ArchiveNameError
            If the text has another form, or the year does not have such a day.
        """
        match = _RUN.fullmatch(text)
        if match is None:
            raise ArchiveNameError(f"{text!r} is not a processing run of the form l2b-v20-2025-299")
        version = None if match["version"] is None else int(match["version"])
        year, day = int(match["year"]), int(match["day"])
        # datetime does not have a year 0.
        if year == 0 or not 1 <= day <= 365 + calendar.isleap(year):
            raise ArchiveNameError(f"{text!r} is not a processing run: {year:04d} does not have a day {day:03d}")
        return cls(match["pipeline"], version, year, day)

    @property
    def age_key(self) -> tuple[int, int, int, bool, str]:
        """Key that sorts runs from the oldest to the newest.

        The date counts before the counter, which starts again when a pipeline
        is renamed (cal-wcs to cal-swcs). A retry follows the run of the same
        date and counter.
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


def age_of_run(collection: str, parent: str) -> tuple[Any, ...] | None:
    """Return a key that sorts RUN collections from the oldest to the newest.

    Parameters
    ----------
    collection
        Name of a collection.
    parent
        Name in front of that of the processing run.

    Returns
    -------
    key
        None for a collection that is not a processing run below ``parent``.
    """
    prefix, _, run = collection.rpartition("/")
    try:
        return ProcessingRun.parse(run).age_key if prefix == parent else None
    except ArchiveNameError:
        return None


def level2_parent(collection: str) -> str:
    """Return the chain that lists the runs of the same label as a RUN collection of Level 2 images.

    Parameters
    ----------
    collection
        Name of the run, ``SPHEREx/level2/[LABEL/]RUN``.
    """
    parent = collection.rpartition("/")[0]
    return parent if parent.rpartition("/")[0] == LEVEL2_COLLECTION else LEVEL2_COLLECTION


def level2_order(collection: str) -> tuple[Any, ...] | None:
    """Return a key that sorts the runs of Level 2 images in a chain from the last to the first one.

    Of one processing run, the images without a label come first, then the
    labels in the order of the alphabet.

    Parameters
    ----------
    collection
        Name of a collection.

    Returns
    -------
    key
        None for a collection that is not such a run.
    """
    parent = level2_parent(collection)
    age = age_of_run(collection, parent)
    return None if age is None else (age, (*[-ord(char) for char in parent.removeprefix(LEVEL2_COLLECTION)], 1))


_LEVEL2 = re.compile(rf"^level2_{_OBSID_PATTERN}D(?P<detector>[1-6])_spx_(?P<run>{_RUN_PATTERN})\.fits$")
_ANYWHERE = re.compile(
    rf"level2_(?P<observation>{_OBSID_PATTERN})D(?P<detector>[1-6])_spx_(?P<run>{_RUN_PATTERN})(?!\d)", re.ASCII
)
_OBSID_ANYWHERE = re.compile(rf"(?<![0-9])(?P<observation>{_OBSID_PATTERN})(?:_?D(?P<detector>[1-6]))?(?!\d)", re.ASCII)
# Other runs of an image, such as that of its dark, are not in names of images.
_RUN_ANYWHERE = re.compile(
    rf"(?<![A-Za-z0-9])(?P<run>l2b(?:_[a-z0-9_]+)?-v(?:{_COUNTER})-{_YEAR}-{_DAY})(?!\d)", re.ASCII
)
_CALIBRATION = re.compile(
    rf"^(?P<type>[a-z][a-z0-9_]*?)(?:_D(?P<detector>[1-6]))?_spx_(?P<run>{_RUN_PATTERN})\.(?P<extension>fits|yaml)$"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Level2Name:
    """File name of a Level 2 image.

    Parameters
    ----------
    observation
        Observation.
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
        """Parse a file name without its directory.

        Raises
        ------
        ArchiveNameError
            If it is not the name of a Level 2 image.
        """
        match = _LEVEL2.search(name)
        if match is None:
            raise ArchiveNameError(f"{name!r} is not a name of a Level 2 image of the archive")
        observation = ObservationId.parse(name[len("level2_") : match.start("detector") - 1])
        return cls(observation, int(match["detector"]), ProcessingRun.parse(match["run"]))

    @property
    def tree(self) -> str:
        """Path of the file below the directory ``level2`` of a release."""
        return f"{self.observation.planning_period}/{self.run}/{self.detector}/{self}"

    def __str__(self) -> str:
        return f"level2_{self.observation}D{self.detector}_spx_{self.run}.fits"


@dataclasses.dataclass(frozen=True, slots=True)
class Level2NameParts:
    """What the name of a renamed Level 2 image still contains.

    Parameters
    ----------
    observation
        Observation.
    detector
        Detector number, 1 to 6.
    run
        Processing run.
    """

    observation: ObservationId | None = None
    detector: int | None = None
    run: ProcessingRun | None = None

    @classmethod
    def find(cls, name: str) -> Self:
        """Find the parts of the archive's name anywhere in a text.

        Download tools, scripts and browsers put targets, sizes and counters
        before and after the archive's name, or keep only a part of it.

        Parameters
        ----------
        name
            Name of a file, or query of a URI.

        Returns
        -------
        Level2NameParts
            Parts that are missing are None.

        Raises
        ------
        ArchiveNameError
            If the text contains two different observations, detectors or runs, or
            a day that the year does not have.
        """
        whole = list(_ANYWHERE.finditer(name))
        patterns = (_OBSID_ANYWHERE, _RUN_ANYWHERE) if not whole else ()
        matches = [*whole, *(match for pattern in patterns for match in pattern.finditer(name))]
        found = {}
        for part in ("observation", "detector", "run"):
            values = {text for match in matches if (text := match.groupdict().get(part)) is not None}
            if len(values) > 1:
                raise ArchiveNameError(f"{name!r} contains more than one {part}: {', '.join(sorted(values))}")
            found[part] = values.pop() if values else None
        return cls(
            None if found["observation"] is None else ObservationId.parse(found["observation"]),
            None if found["detector"] is None else int(found["detector"]),
            None if found["run"] is None else ProcessingRun.parse(found["run"]),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationName:
    """File name of a calibration product.

    Parameters
    ----------
    type
        Kind of calibration, such as spectral_wcs.
    detector
        Detector number, 1 to 6; `None` for a file of all detectors.
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
        """Parse a file name without its directory.

        Raises
        ------
        ArchiveNameError
            If it is not the name of a calibration product.
        """
        match = _CALIBRATION.search(name)
        if match is None or match["type"] == "level2":
            raise ArchiveNameError(f"{name!r} is not a name of a calibration product of the archive")
        detector = None if match["detector"] is None else int(match["detector"])
        return cls(match["type"], detector, ProcessingRun.parse(match["run"]), match["extension"])

    @property
    def tree(self) -> str:
        """Path of the file below the directory of a release."""
        level = "" if self.detector is None else f"{self.detector}/"
        return f"{self.type}/{self.run}/{level}{self}"

    def __str__(self) -> str:
        detector = "" if self.detector is None else f"_D{self.detector}"
        return f"{self.type}{detector}_spx_{self.run}.{self.extension}"
