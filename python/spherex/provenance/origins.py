"""Calibrations that images were made with, compared with those in the repository."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spherex.archive import CalibrationReference, ProcessingRun, calibration_references, time_of_uuid
from spherex.errors import ArchiveNameError, ProductError, first_line, without_secrets
from spherex.fits import IMAGE, history_of, issue_digest, open_source, read_many, scan_hdus
from spherex.headers import date_written
from spherex.repository import dataset_id, has_content_id

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef
    from lsst.resources import ResourcePath


_LONGEST_RUN = datetime.timedelta(days=7)
"""Longest time from the day in the name of a processing run to the end of the run.
Those of Quick Release 1 wrote on that day and on the next one.
"""
_BATCH = 1000
"""Images whose headers are in memory at the same time."""


@dataclasses.dataclass(frozen=True)
class ImageOrigin:
    """Origin of an image, from its header.

    Parameters
    ----------
    written
        Time at which IMAGE was written (UTC); `None` if the header does not
        have it.
    references
        Calibrations that were used.
    issue
        Digest of the headers, see `spherex.fits.issue_digest`.
    """

    written: datetime.datetime | None
    references: tuple[CalibrationReference, ...]
    issue: str

    def younger(self, run: str) -> tuple[CalibrationReference, ...]:
        """Return calibrations that are younger than the image claims to be.

        Such an image was replaced under the same name.

        Parameters
        ----------
        run
            Name of the processing run of the image. The name of a run of the
            archive contains a day.
        """
        claims = [] if self.written is None else [self.written]
        try:
            claims.append(ProcessingRun.parse(run).date + _LONGEST_RUN)
        except ArchiveNameError:
            pass
        if not claims:
            return ()
        times = ((reference, time_of_uuid(reference.id)) for reference in self.references)
        return tuple(reference for reference, time in times if time is not None and time > min(claims))


@dataclasses.dataclass
class OriginReport:
    """Comparison of images with the calibrations in the repository."""

    images: int = 0
    """Images whose header was read."""

    resolved: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """References to calibrations in the repository, by kind of calibration."""

    unresolved: collections.Counter[tuple[str, int | None, uuid.UUID]] = dataclasses.field(
        default_factory=collections.Counter
    )
    """Other references, by kind of calibration, detector of the image and UUID."""

    mistaken: list[tuple[DatasetRef, CalibrationReference, str]] = dataclasses.field(default_factory=list)
    """Images with a reference whose UUID belongs to a dataset of another type
    or detector, and a description of that dataset.
    """

    replaced: list[tuple[DatasetRef, CalibrationReference]] = dataclasses.field(default_factory=list)
    """Images with a calibration that is younger than the image claims to be."""

    changed: list[DatasetRef] = dataclasses.field(default_factory=list)
    """Images whose file was replaced in place after it was ingested."""

    without: list[DatasetRef] = dataclasses.field(default_factory=list)
    """Images without a reference to a calibration."""

    failures: list[tuple[DatasetRef, str]] = dataclasses.field(default_factory=list)
    """Images that could not be read, with URI and reason."""


def read_origin(uri: ResourcePath) -> ImageOrigin:
    """Read the origin of an image from its headers PRIMARY and IMAGE alone.

    Parameters
    ----------
    uri
        URI of the file.

    Raises
    ------
    ProductError
        If the file is damaged, or its date cannot be read.
    OSError
        If the file cannot be read.
    """
    with open_source(uri, sparse=True) as source:
        hdus = scan_hdus(source, last=IMAGE)
    hdu = hdus[-1]
    if hdu.name != IMAGE:
        raise ProductError(f"no HDU {IMAGE}")
    references = calibration_references(history_of(hdu.header_bytes))
    return ImageOrigin(date_written(hdu.cards), references, issue_digest((hdus[0], hdu)))


def check_origins(butler: Butler, refs: Sequence[DatasetRef], threads: int = 1) -> OriginReport:
    """Compare images with the calibrations in the repository.

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
    report
        Results of the comparison.
    """
    report = OriginReport()
    for start in range(0, len(refs), _BATCH):
        batch = refs[start : start + _BATCH]
        uris = butler.get_many_uris(batch, predict=False, allow_missing=True)
        located: dict[DatasetRef, ResourcePath] = {}
        for ref in batch:
            if ref in uris and (uri := uris[ref].primaryURI) is not None:
                located[ref] = uri
            else:
                report.failures.append((ref, "its file is not in the datastore"))
        origins: list[tuple[DatasetRef, ImageOrigin]] = []
        for (ref, uri), future in zip(
            located.items(), read_many(read_origin, located.values(), threads=threads), strict=True
        ):
            try:
                origins.append((ref, future.result()))
            except Exception as error:
                # Remote back ends raise errors of many libraries.
                report.failures.append((ref, without_secrets(f"{uri} cannot be read: {first_line(error)}")))
        _compare(butler, origins, report)
    return report


def _compare(butler: Butler, origins: Sequence[tuple[DatasetRef, ImageOrigin]], report: OriginReport) -> None:
    """Add the comparison of some images to a report."""
    wanted = {reference.id for _, origin in origins for reference in origin.references}
    known = {ref.id: ref for ref in butler.get_many_datasets(list(wanted))}
    report.images += len(origins)
    for ref, origin in origins:
        if not origin.references:
            report.without.append(ref)
        if has_content_id(ref) and ref.id != dataset_id(ref.datasetType, ref.run, ref.dataId, origin.issue):
            report.changed.append(ref)
        report.replaced += [(ref, reference) for reference in origin.younger(ref.run.rpartition("/")[2])]
        for reference in origin.references:
            calibration = known.get(reference.id)
            if calibration is None:
                report.unresolved[reference.type, _detector_of(ref), reference.id] += 1
            # ingest-calibrations may have put a prefix before the archive's name.
            elif not calibration.datasetType.name.endswith(reference.type):
                report.mistaken.append((ref, reference, calibration.datasetType.name))
            elif _detector_of(calibration) not in (None, _detector_of(ref)):
                name = f"{calibration.datasetType.name} of detector {_detector_of(calibration)}"
                report.mistaken.append((ref, reference, name))
            else:
                report.resolved[reference.type] += 1


def _detector_of(ref: DatasetRef) -> int | None:
    detector = ref.dataId.get("detector")
    return None if detector is None else int(detector)
