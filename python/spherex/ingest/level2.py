"""Level 2 images of the public archive: names, headers, records."""

from __future__ import annotations

__all__ = ["FITS_REGEX", "WAVELENGTH_TYPE", "Level2Describer"]

import contextlib
import functools
import math
import posixpath
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spherex.archive import ArchiveNameError, CalibrationName, Level2Name, ObservationId, ProcessingRun
from spherex.fits.layout import check_layout
from spherex.fits.names import FLAGS, IMAGE, VARIANCE
from spherex.geometry import FrameError, frame_corners, polygon_of
from spherex.instrument import FRAME_SIDE, SPHEREx

from .addresses import is_path, name_of
from .cards import number_of, text_of
from .description import (
    DatasetKey,
    DatasetKind,
    DerivedDataset,
    DescriptionError,
    FileDescription,
    FileKey,
    RecordDescription,
)
from .level2_header import identity_of, origin_of, pointing_of, shape_of, timespan_in
from .policy import IngestPolicy, RunChain
from .wavelength import load_wavelength_table
from .words import Remark

if TYPE_CHECKING:
    from spherex.fits.hdus import HDUInfo

    from .reading import FileStructure

FITS_REGEX = r"^(level2_.*|(?!.*_spx_).*)\.fits$"
"""Names of files that are looked at in directories: images, whatever they are
called, but not other products of the archive.
"""

WAVELENGTH_TYPE = "level2_wavelength"
"""Dataset type of the wavelength tables, one for each run and detector."""

_STORAGE_CLASS = "SPHERExImage"
_DIMENSIONS = ("instrument", "exposure", "detector")
_WAVELENGTH_KIND = DatasetKind(WAVELENGTH_TYPE, ("instrument", "detector"), "AstropyHDUList")

_FULL_FRAME = (FRAME_SIDE, FRAME_SIDE)
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
    if prefix != SPHEREx.level2_collection:
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
        last_hdu=IMAGE,
        chain=RunChain(SPHEREx.level2_collection, _age_of),
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
        collection = f"{self.instrument.level2_collection}/{name}"
        dataset = DatasetKey(self._kind, collection, (self.instrument.name, exposure, detector))
        return FileKey(exposure, (detector, name), dataset)

    def _run_of(self, address: str, detector: int) -> ProcessingRun:
        """Run of a file by its directory .../{run}/{detector}/, by the collection in its path, or by the user."""
        path = address if is_path(address) else urllib.parse.urlsplit(address).path
        # In a repository the collection tells it, whatever comes after.
        _, _, below = path.rpartition(f"/{self.instrument.level2_collection}/")
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
        is_cutout = shape != _FULL_FRAME
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
        }
        return RecordDescription("exposure", values)

    def _place(
        self, observation: ObservationId, detector: int, hdu: HDUInfo, shape: tuple[int, int]
    ) -> RecordDescription:
        try:
            corners = frame_corners(hdu.cards, _FULL_FRAME, origin_of(hdu.cards, shape))
        except FrameError as error:
            raise ValueError(str(error)) from None
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
