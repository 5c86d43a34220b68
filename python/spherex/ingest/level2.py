"""Translator of the Level 2 images of the public archive: header cards become dimension records here."""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import posixpath
import re
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from lsst.daf.butler import Timespan

from spherex.archive import (
    CalibrationName,
    Level2Name,
    Level2NameParts,
    ObservationId,
    ProcessingRun,
    age_of_run,
    calibration_references,
    level2_order,
    level2_parent,
)
from spherex.detectors import DETECTOR_IDS, FRAME_SHAPE, FRAME_SIDE, LEVEL2_COLLECTION, WAVELENGTH_TYPE
from spherex.errors import (
    ArchiveNameError,
    CatalogError,
    DescriptionError,
    HeaderError,
    IngestError,
    ProductError,
    first_line,
)
from spherex.fits import (
    FLAGS,
    IMAGE,
    VARIANCE,
    WCS_WAVE,
    check_layout,
    control_points_in,
    find_hdu,
    history_of,
    issue_digest,
    open_source,
)
from spherex.geometry import boresight_of, frame_corners, polygon_of
from spherex.headers import detector_of, exposure_times, number_of, text_of, version_of
from spherex.image import Box, ControlPoints, WavelengthAxes, check_same_origin, frame_origin, row_of
from spherex.instrument import SPHEREx
from spherex.targets import check_catalog_name

from .descriptions import (
    DatasetKey,
    DatasetKind,
    DerivedDataset,
    FileDescription,
    FileKey,
    FileStructure,
    FileTranslator,
    RecordDescription,
    Reprocessing,
    Tolerances,
    read_structure,
)
from .locations import is_path, name_of
from .simulated import STEM

if TYPE_CHECKING:
    from spherex.fits import HDUInfo


_WHOLE = 1e-6
"""How far from a whole number a pixel coordinate may be (pixel)."""

_POINTING_CARDS = ("SPS_ELON", "SPS_ELAT", "SPS_EPA")


def identity_of(cards: Mapping[str, Any]) -> tuple[ObservationId, int]:
    """Return the observation and the detector of an image.

    Parameters
    ----------
    cards
        Cards of the IMAGE header.

    Returns
    -------
    observation : ObservationId
        The observation.
    detector : int
        Detector number, 1 to 6.

    Raises
    ------
    HeaderError
        Raised if OBSID, EXPIDN or DETECTOR is missing, or they contradict
        each other.
    """
    obsid, expidn, detector = cards.get("OBSID"), cards.get("EXPIDN"), detector_of(cards, DETECTOR_IDS)
    if obsid is None or expidn is None or detector is None:
        missing = "OBSID" if obsid is None else "EXPIDN" if expidn is None else "DETECTOR"
        raise HeaderError(f"{missing} is missing in the header")
    observation = _observation(str(obsid))
    # A number with a decimal point would be equal.
    if type(expidn) is not int or expidn != observation.expidn(detector):
        raise HeaderError(
            f"EXPIDN in the header is {expidn!r}, but OBSID {obsid} and DETECTOR {detector} "
            f"make {observation.expidn(detector)}"
        )
    return observation, detector


@functools.lru_cache(64)
def _observation(text: str) -> ObservationId:
    # The detectors of an exposure share it.
    try:
        return ObservationId.parse(text)
    except ArchiveNameError as error:
        raise HeaderError(f"OBSID in the header: {error}") from None


def timespan_in(cards: Mapping[str, Any]) -> Timespan:
    """Return the timespan of an exposure.

    Parameters
    ----------
    cards
        Cards of the IMAGE header.

    Returns
    -------
    lsst.daf.butler.Timespan
        From MJD-BEG to MJD-END, or from DATE-BEG to DATE-END.

    Raises
    ------
    HeaderError
        Raised if the keywords are missing, not dates, or contradict each other.
    """
    times = exposure_times(cards)
    if times is None:
        raise HeaderError("MJD-BEG and MJD-END are missing in the header")
    return Timespan.model_construct(nsec=times)


def pointing_of(cards: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the planned pointing of the telescope.

    Parameters
    ----------
    cards
        Cards of the IMAGE header.

    Returns
    -------
    dict [ str, float ]
        Fields ra_boresight, dec_boresight and roll of an exposure (deg); None
        if the header lacks them.

    Raises
    ------
    HeaderError
        Raised if a card is not a number.
    """
    longitude, latitude, angle = (number_of(cards, key) for key in _POINTING_CARDS)
    if longitude is None or latitude is None:
        return dict.fromkeys(("ra_boresight", "dec_boresight", "roll"))
    if abs(latitude) > 90.0:
        raise HeaderError(f"SPS_ELAT in the header is not a latitude: {latitude!r}")
    ra, dec, roll = _boresight(longitude, latitude, angle or 0.0)
    return {"ra_boresight": ra, "dec_boresight": dec, "roll": None if angle is None else roll}


@functools.lru_cache(64)
def _boresight(longitude: float, latitude: float, angle: float) -> tuple[float, float, float]:
    return boresight_of(longitude, latitude, angle)


_SPACECRAFT_FIELDS = {
    f"spacecraft_{speed.lower()}{axis.lower()}_{end}": f"{speed}{axis}_SC{suffix}"
    for end, suffix in (("start", "_START"), ("middle", ""), ("end", "_END"))
    for speed in ("", "V")
    for axis in "XYZ"
}
"""Keyword of each field of the spacecraft's state."""
_SPACECRAFT_SYSTEM = "GEOCENTER"
_SAME_POSITION = 10.0
"""Positions that differ by less are the same (km). Detectors of one exposure
differ by 0.01, the way in a millisecond; solutions of the orbit by more.
"""
_SAME_VELOCITY = 0.01
"""The same of velocities (km/s), which change by 0.008 in a second."""


def spacecraft_of(cards: Mapping[str, Any]) -> dict[str, float | None]:
    """Return position and velocity of the spacecraft at start, middle and end of the exposure.

    Parameters
    ----------
    cards
        Cards of the IMAGE header.

    Returns
    -------
    dict [ str, float ]
        Fields spacecraft_x_start (km) to spacecraft_vz_end (km/s) of an
        exposure; None where the header lacks the card, and everywhere if it
        does not name the geocentre as their reference.

    Raises
    ------
    HeaderError
        Raised if a card is not a number.
    """
    if any(cards.get(f"{name}_SC_SYSTEM") != _SPACECRAFT_SYSTEM for name in ("XYZ", "VXYZ")):
        return dict.fromkeys(_SPACECRAFT_FIELDS)
    return {field: number_of(cards, keyword) for field, keyword in _SPACECRAFT_FIELDS.items()}


def shape_of(hdu: HDUInfo) -> tuple[int, int]:
    """Return the shape of an image.

    Parameters
    ----------
    hdu
        The HDU IMAGE.

    Returns
    -------
    tuple [ int, int ]
        Shape (rows, columns).

    Raises
    ------
    HeaderError
        Raised if an axis has no pixels, or more than the detector.
    """
    rows, columns = hdu.image_shape
    if not (0 < rows <= FRAME_SIDE and 0 < columns <= FRAME_SIDE):
        raise HeaderError(f"the image has {columns} x {rows} pixels, but the detector has {FRAME_SIDE} x {FRAME_SIDE}")
    return rows, columns


def origin_of(cards: Mapping[str, Any], shape: tuple[int, int]) -> tuple[int, int]:
    """Return the first pixel of an image in the frame of the detector.

    Parameters
    ----------
    cards
        Cards of the IMAGE header. Its WCS 'A' gives the coordinates of pixels
        in the frame, counted from 0. The reference pixel of the celestial WCS
        must agree with it, and replaces it.
    shape
        Shape of the image (rows, columns).

    Returns
    -------
    tuple [ int, int ]
        Position (x, y) in the frame of the first pixel of the image.

    Raises
    ------
    HeaderError
        Raised if the position of a cutout is missing, coordinate systems
        contradict each other, or the image would leave the frame.
    """
    keys = [f"{name}{axis}A" for name in ("CRPIX", "CRVAL", "CDELT") for axis in (1, 2)]
    known = {key: value for key in keys if (value := number_of(cards, key)) is not None}
    # See frame_origin: a celestial system with a name is not that of the archive.
    is_own = cards.get("WCSNAME") is None
    centre = {key: value for key in ("CRPIX1", "CRPIX2") if is_own and (value := number_of(cards, key)) is not None}
    # The celestial system counts for an axis that A lacks.
    part = {key: value for key, value in centre.items() if f"{key}A" not in known}
    origin = []
    for axis, (size, start) in enumerate(
        zip(shape[::-1], frame_origin(known | part | {"EXPIDN": 1}), strict=True), start=1
    ):
        key = f"CRPIX{axis}A"
        if key not in known and key[:-1] not in part and size != FRAME_SIDE:
            raise HeaderError(f"it is a cutout, but {key}, its position in the frame, is missing")
        whole = round(start)
        is_scaled = known.get(f"CDELT{axis}A", 1.0) != 1.0
        if abs(start - whole) > _WHOLE or not 0 <= whole <= FRAME_SIDE - size or is_scaled:
            text = f"{known[key]:g}" if key in known else "missing"
            raise HeaderError(
                f"by WCS A ({key} is {text}) its {size} pixels on axis {axis} begin at pixel {start:g} of the "
                f"frame, which has {FRAME_SIDE}"
            )
        origin.append(whole)
    frame_origin(known | centre | {"EXPIDN": 1})
    return origin[0], origin[1]


_MOST_FRUITLESS = 3
"""Remote images of a run and detector whose tables are read in vain."""

_SAME_WAVELENGTH = (0.005, 0.2)
"""Parts of wavelength and bandwidth by which the tables of a run may differ.
Tables of cutouts have other control points.
"""


def contradicts(kept: ControlPoints, points: ControlPoints) -> bool:
    """Return whether the wavelengths of a file are not those of the table of its run and detector.

    Parameters
    ----------
    kept
        Control points of the run.
    points
        Control points of the file.
    """
    if points is kept:
        return False
    difference = np.abs(kept.at(points.x, points.y) / points.values - 1)
    # Those of a cutout may lie outside of the frame.
    inside = np.outer(*((1 <= ticks) & (ticks <= FRAME_SIDE) for ticks in (points.y, points.x)))
    return bool((difference > _SAME_WAVELENGTH)[inside].any())


def load_wavelength_table(uri: str) -> fits.HDUList | None:
    """Read the wavelength table of a file if it covers the whole frame.

    Parameters
    ----------
    uri
        Path or URI of a Level 2 file.

    Returns
    -------
    astropy.io.fits.HDUList or None
        An empty primary HDU and the table. None if there is no table, or it
        does not reach from the first to the last row and column of the frame,
        as in some cutouts.

    Raises
    ------
    DescriptionError
        Raised if the file is damaged or cannot be read.
    """
    try:
        with open_source(uri, sparse=True) as source:
            hdu = find_hdu(source, WCS_WAVE)
            if hdu is None:
                return None
            points = control_points_in([hdu])
            table = fits.BinTableHDU.fromstring(source.read_at(hdu.header_offset, hdu.end - hdu.header_offset))
        if points is None or not points.covers(FRAME_SIDE):
            return None
        return fits.HDUList([fits.PrimaryHDU(), table])
    except ProductError as error:
        raise DescriptionError(f"{error}; replace the file with an intact copy") from None
    except Exception as error:
        # Damaged tables and remote back ends raise errors of many kinds.
        raise DescriptionError(
            f"its table {WCS_WAVE} cannot be read ({first_line(error)}); check the file and try again"
        ) from None


_EXTENSION = r"\.(fits?|fts)(\.(gz|fz|\d+))?( ?\(\d+\))?([?&#%].*)?"
# wget appends counters and queries of URIs to the extension.

FITS_REGEX = rf"(?i)^((.*level2_|(?!.*_spx_)).*{_EXTENSION}|.*level2_\w+_spx_[\w-]+)$"
"""Regular expression for the names of files in directories: FITS files with
any name, except other products of the archive, and images of the archive whose
extension was lost.
"""

_STORAGE_CLASS = "SPHERExImage"
_DIMENSIONS = ("instrument", "exposure", "detector")
_WAVELENGTH_KIND = DatasetKind(WAVELENGTH_TYPE, ("instrument", "detector"), "AstropyHDUList")

_LONGEST_LABEL = 24
"""Names of collections have 64 characters: a label leaves 24 for the run."""

_CUTOUT = f"cutout, smaller than the frame of {FRAME_SIDE} x {FRAME_SIDE} pixels"
_PLANES = f"whole frame without {FLAGS} or {VARIANCE}, perhaps cut short"


class Level2Translator(FileTranslator):
    """Translator of Level 2 images, whole frames and cutouts.

    Parameters
    ----------
    dataset_type
        Name of the dataset type of the files.
    processing_run
        Run of files without a run in their names or directories.
    label
        Name of a field whose images become runs of their own; None for images
        without a label.

    Raises
    ------
    IngestError
        Raised if the label cannot be part of the name of a collection, or is
        that of a processing run.
    """

    instrument = SPHEREx
    type_option = "--dataset-type"
    chain = LEVEL2_COLLECTION
    tolerances = Tolerances(
        # Begin and end of an exposure differ by a millisecond between its detectors.
        time=5_000_000,
        # A new astrometric solution may move the corners by about ten pixels.
        place=math.radians(1 / 60),
        numbers={
            field: _SAME_VELOCITY if field.startswith("spacecraft_v") else _SAME_POSITION
            for field in _SPACECRAFT_FIELDS
        },
    )
    reprocessing = Reprocessing(
        # A run may drop or add one sampling interval of 1.53 s (TSAMP). The next
        # exposure begins 11 s after the end of one.
        time=2_000_000_000,
        # Less than half of the smallest slew between two exposures, 11.8 arcmin
        # (SPS_ELAT of 2025W19_2B_0202_2 and _3), and much more than the
        # correction of an astrometric solution.
        place=math.radians(5 / 60),
        fixed=frozenset({"name", "group_name"}),
    )
    optional_fields = {"exposure": frozenset(_SPACECRAFT_FIELDS)}
    fields = {
        **SPHEREx.record_fields,
        "exposure": frozenset(
            {
                "name",
                "timespan",
                "group_name",
                "exposure_time",
                "ra_boresight",
                "dec_boresight",
                "roll",
                "survey",
                "target_name",
            }
        ),
        "exposure_detector_region": frozenset({"region"}),
    }

    def __init__(
        self, dataset_type: str, processing_run: ProcessingRun | None = None, label: str | None = None
    ) -> None:
        if label is not None:
            _check_label(label)
        formatter = self.instrument().getRawFormatter({})
        self._kind = DatasetKind(dataset_type, _DIMENSIONS, _STORAGE_CLASS, formatter=formatter)
        self._processing_run = processing_run
        self._parent = LEVEL2_COLLECTION if label is None else f"{LEVEL2_COLLECTION}/{label}"
        self._fruitless: collections.Counter[DatasetKey] = collections.Counter()
        self._kept: dict[DatasetKey, tuple[fits.HDUList, ControlPoints]] = {}
        self._contradicts = functools.lru_cache(256)(contradicts)

    def read(self, uri: str) -> FileStructure:
        """Read the headers of a file, of a remote file up to the IMAGE; see `FileTranslator`.

        A local file that was cut short shows it only at its end.
        """
        return read_structure(uri, last=IMAGE)

    def age_of(self, collection: str) -> Any:
        """Return a key that sorts processing runs, with or without a label; see `FileTranslator`."""
        return age_of_run(collection, level2_parent(collection))

    def order_of(self, collection: str) -> Any:
        """Return a key that sorts runs in the chains; see `FileTranslator`."""
        return level2_order(collection)

    def chains_of(self, collection: str) -> tuple[str, ...]:
        """Return the chain of all runs, and that of the label; see `FileTranslator`."""
        if self.age_of(collection) is None:
            return ()
        return tuple(dict.fromkeys((LEVEL2_COLLECTION, level2_parent(collection))))

    @property
    def distinguishing_option(self) -> str:
        """Options that keep cutouts of one exposure and detector apart; see `FileTranslator`."""
        return "--label or --dataset-type"

    def identify(self, uri: str) -> FileKey | None:
        """Return exposure, detector and run of a file by its name; see `FileTranslator`."""
        parts = _parts_of(uri)
        if parts.observation is None or parts.detector is None or parts.run is None:
            _check_other_name(name_of(uri))
            return None
        self._check_run(parts.run, "its name")
        return self._key(parts.observation, parts.detector, parts.run)

    def identify_by_headers(self, structure: FileStructure) -> FileKey:
        """Return exposure, detector and run of a file with any name; see `FileTranslator`."""
        # Nothing shows yet that it is an image.
        image = _image_of(structure, ", or leave it out if it is a file of another kind")
        try:
            observation, detector = identity_of(image.cards)
        except ProductError as error:
            raise DescriptionError(f"{error}; fix the header or leave the file out") from None
        parts = _parts_of(structure.uri)
        _check_identity(observation, detector, parts.observation or observation, parts.detector or detector)
        if parts.run is None:
            run = self._run_of(structure.uri, detector)
            self._check_run(run, "its directory")
            return self._key(observation, detector, run)
        self._check_run(parts.run, "its name")
        return self._key(observation, detector, parts.run)

    def _check_run(self, run: ProcessingRun, where: str) -> None:
        """Check that the run of a file is that of the user, if there is one."""
        if self._processing_run not in (None, run):
            raise DescriptionError(
                f"{where} contains the run {run}, but --processing-run is {self._processing_run}; "
                "rename the file, or leave out the option or the file"
            )

    def _key(self, observation: ObservationId, detector: int, run: ProcessingRun) -> FileKey:
        exposure, name = observation.exposure, str(run)
        collection = f"{self._parent}/{name}"
        dataset = DatasetKey(self._kind, collection, (self.instrument.name, exposure, detector))
        return FileKey(exposure, (detector, name), dataset)

    def _run_of(self, uri: str, detector: int) -> ProcessingRun:
        """Return the run of a file by its directory {run}/{detector}/ or {run}/, its collection, or the user."""
        path = uri if is_path(uri) else urllib.parse.urlsplit(uri).path
        # The path of a file in a repository contains the collection.
        _, _, below = path.rpartition(f"/{LEVEL2_COLLECTION}/")
        for part in below.split("/")[:2]:
            # The first one may be a label.
            with contextlib.suppress(ArchiveNameError):
                return ProcessingRun.parse(part)
        *_, above, directory = ["", "", *posixpath.dirname(path).split("/")]
        with contextlib.suppress(ArchiveNameError):
            run = ProcessingRun.parse(directory)
            # Any word with a date would be a run.
            if run.pipeline.startswith("l2b"):
                return run
        try:
            run = ProcessingRun.parse(above)
        except ArchiveNameError:
            if self._processing_run is not None:
                return self._processing_run
            raise DescriptionError(
                "neither its name nor its directory contains its processing run; "
                "add --processing-run, such as --processing-run l2b-v20-2025-299"
            ) from None
        if directory.removeprefix("D") != str(detector):
            raise HeaderError(f"DETECTOR in the header is {detector}, but its directory is {directory}")
        return run

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Return records and region from the IMAGE header; see `FileTranslator`."""
        check_layout(structure.hdus)
        hdu = _image_of(structure)
        try:
            observation, detector = identity_of(hdu.cards)
            _, exposure_id, expected = key.dataset.values
            named, _ = ObservationId.from_expidn(exposure_id * 10 + expected)
            _check_identity(observation, detector, named, expected)
            shape = shape_of(hdu)
            exposure = self._exposure(observation, hdu.cards)
            x0, y0 = origin_of(hdu.cards, shape)
            if hdu.wavelength_axes is not None:
                check_same_origin(hdu.wavelength_axes.origin, (x0, y0), "W")
            place = self._place(observation, detector, hdu, (x0, y0))
        except ProductError as error:
            raise DescriptionError(f"{error}; fix the header or leave the file out") from None
        is_cutout = shape != FRAME_SHAPE
        names = {hdu.name for hdu in structure.hdus}
        remarks = [_CUTOUT] if is_cutout else []
        # Whether headers were read beyond that of the image.
        is_read_to_end = structure.hdus[-1].name != IMAGE or structure.size == structure.hdus[-1].end
        if not is_cutout and is_read_to_end and not {FLAGS, VARIANCE} <= names:
            remarks.append(_PLANES)
        return FileDescription(
            key.dataset,
            (exposure, place),
            remarks=tuple(remarks),
            derived=self._derived(structure, key.dataset, is_read_to_end),
            extent=Box(x0, x0 + shape[1], y0, y0 + shape[0]) if is_cutout else None,
            stored_name=_stored_name(key.dataset, observation, detector),
        )

    def content_of(self, structure: FileStructure) -> str:
        """Return the SHA-256 of the headers PRIMARY and IMAGE; see `FileTranslator`.

        The archive issues images again under their old names. Each issue has
        its time of writing (DATE), the version of the pipeline (VERSION) and
        the UUIDs of the calibrations (HISTORY) in these headers, all of which
        count, and so does the astrometry. The size of the file does not: some
        servers do not report it, and a compressed copy has another one. The
        headers are those that an ingest reads anyhow, and the same in copies
        from a disk, S3 and https.
        """
        return issue_digest((structure.hdus[0], _image_of(structure)))

    def issue_of(self, structure: FileStructure) -> dict[str, str]:
        """Return version, time of writing, size and calibrations; see `FileTranslator`."""
        image = _image_of(structure)
        issue = {
            "VERSION": version_of(structure.hdus[0].cards, image.cards),
            "DATE": text_of(image.cards, "DATE") or text_of(structure.hdus[0].cards, "DATE"),
            "size": None if structure.size is None else f"{structure.size} bytes",
        }
        references = calibration_references(history_of(image.header_bytes))
        issue |= {reference.type: str(reference.id) for reference in references}
        return {name: value for name, value in issue.items() if value is not None}

    def _exposure(self, observation: ObservationId, cards: Mapping[str, Any]) -> RecordDescription:
        values = {
            "instrument": self.instrument.name,
            "id": observation.exposure,
            "name": str(observation),
            "group_name": observation.planning_period,
            "timespan": timespan_in(cards),
            "exposure_time": number_of(cards, "XPOSURE", least=0.0),
            "survey": text_of(cards, "SPS_FLAGS"),
            "target_name": text_of(cards, "SPS_TARGET"),
            **pointing_of(cards),
            **spacecraft_of(cards),
        }
        return RecordDescription("exposure", values)

    def _place(
        self, observation: ObservationId, detector: int, hdu: HDUInfo, origin: tuple[int, int]
    ) -> RecordDescription:
        corners = frame_corners(hdu.cards, FRAME_SHAPE, origin)
        if corners is None:
            raise HeaderError("the header has no celestial WCS")
        return RecordDescription(
            "exposure_detector_region",
            {
                "instrument": self.instrument.name,
                "exposure": observation.exposure,
                "detector": detector,
                "region": polygon_of(corners),
            },
        )

    def _derived(self, structure: FileStructure, dataset: DatasetKey, is_read_to_end: bool) -> DerivedDataset | None:
        instrument, _, detector = dataset.values
        key = DatasetKey(_WAVELENGTH_KIND, dataset.run, (instrument, detector))
        points = control_points_in(structure.hdus)
        if points is None and (is_read_to_end or self._fruitless[key] >= _MOST_FRUITLESS):
            return None
        load = functools.partial(self._load_wavelength, structure.uri, key, points)
        return DerivedDataset(key, load, functools.partial(self._compare_wavelength, key, points))

    def _compare_wavelength(self, key: DatasetKey, points: ControlPoints | None, content: fits.HDUList) -> str | None:
        kept, kept_points = self._kept.get(key, (None, None))
        if kept is not content:
            kept_points = _points_of(content)
            self._kept[key] = content, kept_points
        if points is None or kept_points is None or not self._contradicts(kept_points, points):
            return None
        return f"with a table {WCS_WAVE} that contradicts the {WAVELENGTH_TYPE} of its run and detector"

    def _load_wavelength(self, uri: str, key: DatasetKey, points: ControlPoints | None) -> Any:
        if points is not None and not points.covers(FRAME_SIDE):
            return None
        # Images of a run are all alike: if some lack a table of the whole frame,
        # there is no need to look for it in thousands more.
        if points is None and self._fruitless[key] >= _MOST_FRUITLESS:
            return None
        table = load_wavelength_table(uri)
        if table is None:
            self._fruitless[key] += 1
        return table


def _check_label(label: str) -> None:
    try:
        check_catalog_name(label)
    except CatalogError:
        raise IngestError(
            f"a label consists of letters, digits and . _ + - and begins with a letter or a digit: {label!r}."
        ) from None
    with contextlib.suppress(ArchiveNameError):
        ProcessingRun.parse(label)
        raise IngestError(f"{label!r} is the name of a processing run; choose another label.")
    if len(label) > _LONGEST_LABEL:
        raise IngestError(f"a label has at most {_LONGEST_LABEL} characters, but {label!r} has {len(label)}.")


def _points_of(content: fits.HDUList) -> ControlPoints:
    """Return the control points of the wavelength table of a run, checked."""
    points = ControlPoints.of_row(row_of(content[WCS_WAVE]), WavelengthAxes.of_table(WCS_WAVE))
    if not points.covers(FRAME_SIDE):
        raise ProductError(f"the table {WCS_WAVE} of the run does not cover the frame")
    return points


def _image_of(structure: FileStructure, or_else: str = "") -> HDUInfo:
    """Return the HDU with the image; fail with a further remedy without one."""
    for hdu in structure.hdus:
        if hdu.name == IMAGE and len(hdu.image_shape) == 2:
            return hdu
    raise DescriptionError(f"no 2-D image in HDU {IMAGE}; replace the file with an intact copy{or_else}")


def _parts_of(uri: str) -> Level2NameParts:
    """Return the parts of the archive's name in the name of a file, or in the query of its URI."""
    text = name_of(uri)
    if not is_path(uri):
        text = f"{text}?{urllib.parse.unquote(urllib.parse.urlsplit(uri).query)}"
    try:
        return Level2NameParts.find(text)
    except ArchiveNameError as error:
        raise DescriptionError(f"{error}; rename the file") from None


def _stored_name(dataset: DatasetKey, observation: ObservationId, detector: int) -> str:
    """Return the path of an image in the datastore, which ends with the archive's name."""
    # File templates can take a run as a whole only, with the collection before it. The directories are those of the
    # template in configs/butler.yaml.
    run = ProcessingRun.parse(dataset.run.rpartition("/")[2])
    name = Level2Name(observation, detector, run)
    return f"{dataset.run}/{dataset.kind.name}/{detector}/{observation.planning_period}/{name}"


def _check_identity(observation: ObservationId, detector: int, named: ObservationId, expected: int) -> None:
    """Check that the header of an image agrees with its name."""
    pairs = {"OBSID": (observation, named), "DETECTOR": (detector, expected)}
    differences = [
        f"{keyword} in the header is {value}, but the file name has {in_name}"
        for keyword, (value, in_name) in pairs.items()
        if value != in_name
    ]
    if differences:
        raise DescriptionError(f"{', and '.join(differences)}; rename the file, fix the header or leave it out")


def _check_other_name(name: str) -> None:
    """Check that a name that is not that of an image is not that of another product of the archive.

    Raises
    ------
    DescriptionError
        Raised for calibrations, for images of the simulator, and for names of images with a slip.
    """
    if re.match(STEM, name):
        raise DescriptionError("its name is that of a raw image of the simulator; use butler ingest-simulated")
    if "level2_" in name and "_spx_" in name:
        raise DescriptionError(
            "its name is not level2_<observation>D<detector>_spx_<run>.fits with a detector 1 to 6, as in "
            "level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits; rename it"
        )
    try:
        CalibrationName.parse(name)
    except ArchiveNameError:
        return
    raise DescriptionError("its name is that of a calibration; leave it out, for instance by --regex '^level2_'")
