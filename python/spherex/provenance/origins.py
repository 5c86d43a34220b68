"""Which calibrations images were made with, and whether the repository has them."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import datetime
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from spherex.archive import CalibrationReference, ProcessingRun, calibration_references, time_of_uuid
from spherex.errors import ArchiveNameError, ProductError
from spherex.fits import IMAGE, history_of, open_source, scan_hdus
from spherex.headers import date_written

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef
    from lsst.resources import ResourcePath


_LONGEST_RUN = datetime.timedelta(days=7)
"""How long after the day in its name a processing run may write. Those of
Quick Release 1 wrote on the day and on the next one.
"""
_AT_ONCE = 1000
"""Images whose headers are in memory at a time."""


@dataclasses.dataclass(frozen=True)
class ImageOrigin:
    """What the header of an image says of how it was made.

    Parameters
    ----------
    written
        When its IMAGE was written (UTC), None if the header does not tell.
    references
        Calibrations that were used.
    """

    written: datetime.datetime | None
    references: tuple[CalibrationReference, ...]

    def younger(self, run: str) -> tuple[CalibrationReference, ...]:
        """Return calibrations that were made after the image, by its own words.

        Such an image was made anew under its old name.

        Parameters
        ----------
        run
            Name of its processing run, which tells a day as well; another
            name tells none.
        """
        claims = [] if self.written is None else [self.written]
        try:
            claims.append(ProcessingRun.parse(run).date + _LONGEST_RUN)
        except ArchiveNameError:
            pass
        if not claims:
            return ()
        times = ((one, time_of_uuid(one.id)) for one in self.references)
        return tuple(one for one, time in times if time is not None and time > min(claims))


@dataclasses.dataclass
class OriginReport:
    """What came of a comparison of images with the ingested calibrations."""

    images: int = 0
    """Images whose header was read."""

    resolved: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """References to ingested calibrations, by kind of calibration."""

    unresolved: collections.Counter[tuple[str, int | None, uuid.UUID]] = dataclasses.field(
        default_factory=collections.Counter
    )
    """References to others, by kind of calibration, detector of the image and id."""

    mistaken: list[tuple[DatasetRef, CalibrationReference, str]] = dataclasses.field(default_factory=list)
    """Images with a reference to an id that the repository has for a dataset
    of another type or detector, with what it has.
    """

    reissued: list[tuple[DatasetRef, CalibrationReference]] = dataclasses.field(default_factory=list)
    """Images with a calibration younger than themselves."""

    without: list[DatasetRef] = dataclasses.field(default_factory=list)
    """Images whose header names no calibration."""

    failures: list[tuple[DatasetRef, str]] = dataclasses.field(default_factory=list)
    """Images that could not be read, with the reason."""


def read_origin(uri: ResourcePath) -> ImageOrigin:
    """Read how an image was made, from its IMAGE header alone.

    Parameters
    ----------
    uri
        Address of the file.

    Raises
    ------
    spherex.fits.ProductError
        If the file is damaged, or its date cannot be understood.
    OSError
        If the file cannot be read.
    """
    with open_source(uri, sparse=True) as source:
        hdu = next((hdu for hdu in scan_hdus(source, last=IMAGE) if hdu.name == IMAGE), None)
    if hdu is None:
        raise ProductError(f"it has no HDU {IMAGE}")
    return ImageOrigin(date_written(hdu.cards), calibration_references(history_of(hdu.header_bytes)))


def check_origins(butler: Butler, refs: Sequence[DatasetRef], threads: int = 1) -> OriginReport:
    """Compare images with the calibrations that are in the repository.

    Parameters
    ----------
    butler
        The repository.
    refs
        The images, of a dataset type with a detector.
    threads
        Number of headers that are read at the same time.

    Returns
    -------
    report : `OriginReport`
        What was found.
    """
    report = OriginReport()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(refs), _AT_ONCE):
            part = refs[start : start + _AT_ONCE]
            uris = butler.get_many_uris(part, predict=False, allow_missing=True)
            located = [ref for ref in part if ref in uris and uris[ref].primaryURI is not None]
            report.failures += [(ref, "its file is not in the datastore") for ref in part if ref not in located]
            origins = pool.map(_try_to_read, (uris[ref].primaryURI for ref in located))
            _compare(butler, zip(located, origins, strict=True), report)
    return report


def _try_to_read(uri: ResourcePath) -> ImageOrigin | str:
    try:
        return read_origin(uri)
    except Exception as error:
        # Remote back ends raise errors of many libraries.
        return (str(error).strip() or type(error).__name__).splitlines()[0]


def _compare(butler: Butler, read: Iterable[tuple[DatasetRef, ImageOrigin | str]], report: OriginReport) -> None:
    origins: list[tuple[DatasetRef, ImageOrigin]] = []
    for ref, origin in read:
        if isinstance(origin, str):
            report.failures.append((ref, origin))
        else:
            origins.append((ref, origin))
    wanted = {one.id for _, origin in origins for one in origin.references}
    known = {ref.id: ref for ref in butler.get_many_datasets(list(wanted))}
    report.images += len(origins)
    for ref, origin in origins:
        if not origin.references:
            report.without.append(ref)
        report.reissued += [(ref, one) for one in origin.younger(ref.run.rpartition("/")[2])]
        for one in origin.references:
            calibration = known.get(one.id)
            if calibration is None:
                report.unresolved[one.type, _detector_of(ref), one.id] += 1
            # The ingest may have put a prefix before the archive's name.
            elif not calibration.datasetType.name.endswith(one.type):
                report.mistaken.append((ref, one, calibration.datasetType.name))
            elif _detector_of(calibration) not in (None, _detector_of(ref)):
                what = f"{calibration.datasetType.name} of detector {_detector_of(calibration)}"
                report.mistaken.append((ref, one, what))
            else:
                report.resolved[one.type] += 1


def _detector_of(ref: DatasetRef) -> int | None:
    detector = ref.dataId.get("detector")
    return None if detector is None else int(detector)
