"""Level 2 images of the public archive: names, headers, records."""

from __future__ import annotations

import contextlib
import functools
import math
import posixpath
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from lsst.daf.butler import Timespan

from spherex.archive import CalibrationName, Level2Name, ObservationId, ProcessingRun
from spherex.detectors import DETECTOR_IDS, FRAME_SHAPE, FRAME_SIDE, LEVEL2_COLLECTION, WAVELENGTH_TYPE
from spherex.errors import ArchiveNameError, DescriptionError, ProductError, Remark
from spherex.fits import FLAGS, IMAGE, VARIANCE, WCS_WAVE, check_layout, open_source, scan_hdus
from spherex.geometry import boresight_of, frame_corners, polygon_of
from spherex.headers import exposure_times, number_of, text_of
from spherex.image import frame_origin
from spherex.instrument import SPHEREx

from .descriptions import (
    DatasetKey,
    DatasetKind,
    DerivedDataset,
    FileDescription,
    FileKey,
    IngestPolicy,
    RecordDescription,
    RunChain,
)
from .locations import is_path, name_of

if TYPE_CHECKING:
    from spherex.fits import ByteSource, HDUInfo

    from .reader import FileStructure


_WHOLE = 1e-6
"""How far from a whole number a pixel coordinate may be (pixel)."""

_POINTING_CARDS = ("SPS_ELON", "SPS_ELAT", "SPS_EPA")


def identity_of(cards: Mapping[str, Any]) -> tuple[ObservationId, int]:
    """Tell which observation and detector an image is from.

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
    ValueError
        Raised if OBSID, EXPIDN or DETECTOR is missing, or they contradict
        each other.
    """
    missing = [key for key in ("OBSID", "EXPIDN", "DETECTOR") if cards.get(key) is None]
    if missing:
        raise ValueError(f"{missing[0]} is missing in the header")
    obsid, expidn, detector = cards["OBSID"], cards["EXPIDN"], cards["DETECTOR"]
    observation = _observation(str(obsid))
    # A number with a decimal point would be equal.
    if type(detector) is not int or detector not in DETECTOR_IDS:
        raise ValueError(f"DETECTOR in the header is {detector!r}, not 1 to 6")
    if type(expidn) is not int or expidn != observation.expidn(detector):
        raise ValueError(
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
        raise ValueError(f"OBSID in the header: {error}") from None


def timespan_in(cards: Mapping[str, Any]) -> Timespan:
    """Tell when an image was taken.

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
    ValueError
        Raised if the cards are missing, no dates, or contradict each other.
    """
    times = exposure_times(cards)
    if times is None:
        raise ValueError("it tells no time: MJD-BEG and MJD-END are missing in the header")
    return Timespan.model_construct(nsec=times)


def pointing_of(cards: Mapping[str, Any]) -> dict[str, float | None]:
    """Tell where the telescope was to point.

    Parameters
    ----------
    cards
        Cards of the IMAGE header.

    Returns
    -------
    dict [ str, float ]
        Fields ra_boresight, dec_boresight and roll of an exposure (deg); None
        if the header does not tell them.

    Raises
    ------
    ValueError
        Raised if a card is not a number.
    """
    longitude, latitude, angle = (number_of(cards, key) for key in _POINTING_CARDS)
    if longitude is None or latitude is None:
        return dict.fromkeys(("ra_boresight", "dec_boresight", "roll"))
    if abs(latitude) > 90.0:
        raise ValueError(f"SPS_ELAT in the header is not a latitude: {latitude!r}")
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
    ValueError
        Raised if a card is not a number.
    """
    if any(cards.get(f"{name}_SC_SYSTEM") != _SPACECRAFT_SYSTEM for name in ("XYZ", "VXYZ")):
        return dict.fromkeys(_SPACECRAFT_FIELDS)
    return {field: number_of(cards, keyword) for field, keyword in _SPACECRAFT_FIELDS.items()}


def shape_of(hdu: HDUInfo) -> tuple[int, int]:
    """Tell how many pixels an image has.

    Parameters
    ----------
    hdu
        The HDU IMAGE.

    Returns
    -------
    tuple [ int, int ]
        Number of pixels along the first and second FITS axis.

    Raises
    ------
    ValueError
        Raised if they are none, or more than the detector has.
    """
    rows, columns = hdu.image_shape
    if not (0 < rows <= FRAME_SIDE and 0 < columns <= FRAME_SIDE):
        raise ValueError(f"the image has {columns} x {rows} pixels, the detector {FRAME_SIDE} x {FRAME_SIDE}")
    return columns, rows


def origin_of(cards: Mapping[str, Any], shape: tuple[int, int]) -> tuple[int, int]:
    """Tell where in the frame of the detector an image begins.

    Parameters
    ----------
    cards
        Cards of the IMAGE header. Its WCS 'A' gives the coordinates of pixels
        in the frame, counted from 0.
    shape
        Number of pixels along the first and second FITS axis.

    Returns
    -------
    tuple [ int, int ]
        Pixels of the frame before the first one of the image, along both axes.

    Raises
    ------
    ValueError
        Raised if a cutout does not tell, or the image would not lie in the
        frame.
    """
    keys = [f"{name}{axis}A" for name in ("CRPIX", "CRVAL", "CDELT") for axis in (1, 2)]
    known = {key: value for key in keys if (value := number_of(cards, key)) is not None}
    origin = []
    for axis, (size, start) in enumerate(zip(shape, frame_origin(known), strict=True), start=1):
        key = f"CRPIX{axis}A"
        if key not in known and size != FRAME_SIDE:
            raise ValueError(f"it is a cutout, but {key}, which tells where in the frame it was, is missing")
        whole = round(start)
        is_scaled = known.get(f"CDELT{axis}A", 1.0) != 1.0
        if abs(start - whole) > _WHOLE or not 0 <= whole <= FRAME_SIDE - size or is_scaled:
            told = f"{known[key]:g}" if key in known else "missing"
            raise ValueError(
                f"by WCS A ({key} is {told}) its {size} pixels on axis {axis} begin at pixel {start:g} of the "
                f"frame, which has {FRAME_SIDE}"
            )
        origin.append(whole)
    return origin[0], origin[1]


_AXES = ("X", "Y")


def load_wavelength_table(address: str) -> fits.HDUList | None:
    """Read the table of wavelengths if it is that of the whole frame.

    Parameters
    ----------
    address
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
        Raised if the file is damaged or out of reach.
    """
    try:
        with open_source(address, sparse=True) as source:
            hdu = scan_hdus(source, last=WCS_WAVE)[-1]
            return _table(source, hdu) if hdu.name == WCS_WAVE else None
    except ProductError as error:
        raise DescriptionError(f"{error}; replace it by a good copy") from None
    except Exception as error:
        # Damaged tables and remote back ends raise errors of many kinds.
        text = str(error).strip() or type(error).__name__
        raise DescriptionError(
            f"its table {WCS_WAVE} cannot be read ({text.splitlines()[0]}); check the file and try again"
        ) from None


def _table(source: ByteSource, hdu: HDUInfo) -> fits.HDUList | None:
    table = fits.BinTableHDU.fromstring(source.read_at(hdu.header_offset, hdu.end - hdu.header_offset))
    points = [np.asarray(table.data[axis]) for axis in _AXES]
    if any(values.min() > 1 or values.max() < FRAME_SIDE for values in points):
        return None
    return fits.HDUList([fits.PrimaryHDU(), table])


FITS_REGEX = r"^(level2_.*|(?!.*_spx_).*)\.fits$"
"""Names of files that are looked at in directories: images, whatever they are
called, but not other products of the archive.
"""

_STORAGE_CLASS = "SPHERExImage"
_DIMENSIONS = ("instrument", "exposure", "detector")
_WAVELENGTH_KIND = DatasetKind(WAVELENGTH_TYPE, ("instrument", "detector"), "AstropyHDUList")

_SMALLER = f"smaller than the frame of {FRAME_SIDE} x {FRAME_SIDE} pixels"
_CUTOUT = Remark(f"is a cutout, {_SMALLER}", f"are cutouts, {_SMALLER}")
_WITHOUT = f"without {FLAGS} or {VARIANCE}"
_PLANES = Remark(
    f"is a whole frame {_WITHOUT}: was it cut short?", f"are whole frames {_WITHOUT}: were they cut short?"
)

_SAME_TIME = 5_000_000
"""Begin and end of an exposure differ by a millisecond between its detectors (ns)."""
_SAME_PLACE = math.radians(1 / 60)
"""How far the corners of a frame may move when its astrometry is solved anew:
about ten pixels.
"""


def _age_of(collection: str) -> Any:
    """Sorts collections of processing runs by age."""
    prefix, _, run = collection.rpartition("/")
    if prefix != LEVEL2_COLLECTION:
        return None
    try:
        return ProcessingRun.parse(run).age_key
    except ArchiveNameError:
        return None


class Level2Describer:
    """Describes Level 2 images, whole frames and cutouts.

    Parameters
    ----------
    dataset_type
        Name of the dataset type that files become.
    processing_run
        Run of files that tell it neither by their name nor by their directory.
    """

    instrument = SPHEREx
    policy = IngestPolicy(
        "--dataset-type",
        same_time=_SAME_TIME,
        same_place=_SAME_PLACE,
        tolerances={
            field: _SAME_VELOCITY if field.startswith("spacecraft_v") else _SAME_POSITION
            for field in _SPACECRAFT_FIELDS
        },
        optional_fields={"exposure": frozenset(_SPACECRAFT_FIELDS)},
        last_hdu=IMAGE,
        chain=RunChain(LEVEL2_COLLECTION, _age_of),
    )
    fields: Mapping[str, frozenset[str]] = {
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
    last_resorts: Mapping[str, Mapping[str, Any]] = {}

    def __init__(self, dataset_type: str, processing_run: ProcessingRun | None = None) -> None:
        formatter = self.instrument().getRawFormatter({})
        self._kind = DatasetKind(dataset_type, _DIMENSIONS, _STORAGE_CLASS, formatter=formatter)
        self._processing_run = processing_run
        self._fruitless: set[DatasetKey] = set()

    def identify(self, address: str, structure: FileStructure | None = None) -> FileKey | None:
        """Tell exposure, detector and run, see `Describer`."""
        name = name_of(address)
        try:
            parsed = Level2Name.parse(name)
        except ArchiveNameError:
            _refuse_other_products(name)
        else:
            return self._key(parsed.observation, parsed.detector, parsed.run)
        if structure is None:
            return None
        try:
            observation, detector = identity_of(_image_of(structure).cards)
            return self._key(observation, detector, self._run_of(address, detector))
        except ValueError as error:
            raise DescriptionError(f"{error}; mend the header or leave the file out") from None

    def _key(self, observation: ObservationId, detector: int, run: ProcessingRun) -> FileKey:
        exposure, name = observation.exposure, str(run)
        collection = f"{LEVEL2_COLLECTION}/{name}"
        dataset = DatasetKey(self._kind, collection, (self.instrument.name, exposure, detector))
        return FileKey(exposure, (detector, name), dataset)

    def _run_of(self, address: str, detector: int) -> ProcessingRun:
        """Run of a file by its directory .../{run}/{detector}/, by the collection in its path, or by the user."""
        path = address if is_path(address) else urllib.parse.urlsplit(address).path
        # In a repository the collection tells it, whatever comes after.
        _, _, below = path.rpartition(f"/{LEVEL2_COLLECTION}/")
        with contextlib.suppress(ArchiveNameError):
            return ProcessingRun.parse(below.partition("/")[0])
        *_, directory, number = ["", "", *posixpath.dirname(path).split("/")]
        try:
            run = ProcessingRun.parse(directory)
        except ArchiveNameError:
            if self._processing_run is not None:
                return self._processing_run
            raise DescriptionError(
                "neither its name nor its directory tells its processing run; "
                "add --processing-run, such as --processing-run l2b-v20-2025-299"
            ) from None
        if number != str(detector):
            raise ValueError(f"DETECTOR in the header is {detector}, but it lies in a directory {number}")
        return run

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Tell records and region from the IMAGE header, see `Describer`."""
        assert key.dataset is not None, "identify always tells the dataset"
        check_layout(structure.hdus)
        hdu = _image_of(structure)
        try:
            observation, detector = identity_of(hdu.cards)
            _, exposure_id, expected = key.dataset.values
            if (observation.exposure, detector) != (exposure_id, expected):
                raise DescriptionError(_contradiction(observation, detector, exposure_id, expected))
            shape = shape_of(hdu)
            exposure = self._exposure(observation, hdu.cards)
            place = self._place(observation, detector, hdu, shape)
        except ValueError as error:
            raise DescriptionError(f"{error}; mend the header or leave the file out") from None
        is_cutout = shape != FRAME_SHAPE
        names = {hdu.name for hdu in structure.hdus}
        remarks = [_CUTOUT] if is_cutout else []
        if not is_cutout and _is_all_known(structure) and not {FLAGS, VARIANCE} <= names:
            remarks.append(_PLANES)
        return FileDescription(
            key.dataset,
            (exposure, place),
            remarks=tuple(remarks),
            derived=self._derived(structure.address, key.dataset, is_cutout),
        )

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
        self, observation: ObservationId, detector: int, hdu: HDUInfo, shape: tuple[int, int]
    ) -> RecordDescription:
        corners = frame_corners(hdu.cards, FRAME_SHAPE, origin_of(hdu.cards, shape))
        if corners is None:
            raise ValueError("it has no celestial WCS")
        return RecordDescription(
            "exposure_detector_region",
            {
                "instrument": self.instrument.name,
                "exposure": observation.exposure,
                "detector": detector,
                "region": polygon_of(corners),
            },
        )

    def _derived(self, address: str, dataset: DatasetKey, is_cutout: bool) -> tuple[DerivedDataset, ...]:
        instrument, _, detector = dataset.values
        key = DatasetKey(_WAVELENGTH_KIND, dataset.run, (instrument, detector))
        if is_cutout and key in self._fruitless:
            return ()
        return (DerivedDataset(key, functools.partial(self._load_wavelength, address, key, is_cutout)),)

    def _load_wavelength(self, address: str, key: DatasetKey, is_cutout: bool) -> Any:
        # Cutouts of a run are all alike: if the table of one was cut too,
        # there is no need to read those of thousands more.
        if is_cutout and key in self._fruitless:
            return None
        table = load_wavelength_table(address)
        if table is None and is_cutout:
            self._fruitless.add(key)
        return table


def _image_of(structure: FileStructure) -> HDUInfo:
    """Return the HDU with the image."""
    for hdu in structure.hdus:
        if hdu.name == IMAGE and len(hdu.image_shape) == 2:
            return hdu
    raise DescriptionError(f"it has no image in an HDU {IMAGE}; replace it by a good copy")


def _contradiction(observation: ObservationId, detector: int, exposure: int, expected: int) -> str:
    """Say what the name of a file tells otherwise than its header."""
    named, _ = ObservationId.from_expidn(exposure * 10 + expected)
    pairs = {"OBSID": (observation, named), "DETECTOR": (detector, expected)}
    told = [
        f"{key} in the header is {one}, but its name says {other}"
        for key, (one, other) in pairs.items()
        if one != other
    ]
    return f"{', and '.join(told)}; rename the file, mend the header or leave it out"


def _is_all_known(structure: FileStructure) -> bool:
    """Whether headers were read beyond that of the image."""
    return structure.hdus[-1].name != IMAGE or structure.size == structure.hdus[-1].end


def _refuse_other_products(name: str) -> None:
    """Raise if a name follows the archive's pattern, but is not that of an image.

    Raises
    ------
    DescriptionError
        Raised for calibrations, and for names of images with a slip.
    """
    if name.startswith("level2_") and "_spx_" in name:
        raise DescriptionError(
            "its name is not level2_<observation>D<detector>_spx_<run>.fits with a detector 1 to 6, as in "
            "level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits; rename it"
        )
    try:
        CalibrationName.parse(name)
    except ArchiveNameError:
        return
    raise DescriptionError("its name is that of a calibration; leave it out, for instance by --regex '^level2_'")
