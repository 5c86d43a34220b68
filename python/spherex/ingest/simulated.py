"""Translator of the files of the SPHEREx simulator: header cards become dimension records here."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import Timespan

from spherex.detectors import DARK_TYPE, DETECTOR_IDS, RAW_TYPE
from spherex.errors import DescriptionError, FileNameError, HeaderError, ProductError
from spherex.file_names import check_directory_name, check_file_name
from spherex.fits import FLAGS, IMAGE, VARIANCE, check_layout
from spherex.geometry import frame_corners, polygon_of
from spherex.headers import detector_of, exposure_times, number_of, observation_date, text_of
from spherex.instrument import SimulatorInstrument

from .descriptions import (
    DatasetKey,
    DatasetKind,
    FileDescription,
    FileKey,
    FileStructure,
    FileTranslator,
    RecordDescription,
)
from .locations import name_of

if TYPE_CHECKING:
    from spherex.fits import HDUInfo


STEM = r"^sim_exposure_(?P<exposure>[0-9]+)_array_(?P<detector>[0-9]+)"
_DARK = r"_dark_current"
RAW_REGEX = rf"{STEM}\.fits$"
"""Regular expression for the names of raw images."""
_NAME = re.compile(rf"{STEM}({_DARK})?\.fits\Z")

STORAGE_CLASS = "SPHERExImage"
_DIMENSIONS = ("instrument", "exposure", "detector")

_KIND_CARD = "IMAGETYP"

_LARGEST_ID = 2**63 - 1

_NUMBERS: Mapping[str, tuple[str, float, float]] = {
    "exposure_time": ("XPOSURE", 0.0, math.inf),
    "ra_boresight": ("RA_BORE", 0.0, 360.0),
    "dec_boresight": ("DEC_BORE", -90.0, 90.0),
    "roll": ("ROLL", -360.0, 360.0),
    "gaussian_jitter": ("JITTER", 0.0, math.inf),
}
"""Keyword, least and largest value of the fields of an exposure that are numbers."""

_TEXTS = {"survey": "SPS_FLAGS", "target_name": "SPS_TARG"}
"""Keywords of the fields of an exposure that are texts."""


class SimulatedTranslator(FileTranslator):
    """Translator of simulated raw images and dark current maps.

    Parameters
    ----------
    dataset_type
        Name of the dataset type of the files.
    run
        Name of the RUN collection of the files.
    group
        Name of the group of their exposures. The default is the date of the
        observation, or ``today`` for files without it.
    today
        Date of this ingest, YYYYMMDD, UTC; the default is the present date.

    Raises
    ------
    ValueError
        Raised if the name of the group cannot be used.
    """

    instrument = SimulatorInstrument
    type_option = "--ingest-type"
    run_option = "--output-run"
    fields = {
        **SimulatorInstrument.record_fields,
        "exposure": frozenset({"name", "group_name", "group_id", "timespan", *_NUMBERS, *_TEXTS}),
        "exposure_detector_region": frozenset({"region"}),
    }
    optional_fields = {"exposure_detector_region": frozenset({"columns", "rows"})}

    def __init__(self, dataset_type: str, run: str, group: str | None = None, today: str | None = None) -> None:
        formatter = self.instrument().getRawFormatter({})
        self._kind = DatasetKind(dataset_type, _DIMENSIONS, STORAGE_CLASS, formatter=formatter)
        self._run = run
        self._group = None if group is None else _group_fields(group)
        if self._group is None:
            today = today or f"{datetime.datetime.now(datetime.UTC):%Y%m%d}"
            self.fallbacks = {"exposure": _group_fields(today)}

    def identify(self, uri: str) -> FileKey:
        """Return exposure, detector and dataset of a file by its name; see `FileTranslator`."""
        match = _NAME.search(name_of(uri))
        if match is None:
            raise DescriptionError(
                "its name is not sim_exposure_<exposure>_array_<detector>.fits or the same with _dark_current; "
                "rename it, or leave it out with --regex"
            )
        exposure, detector = int(match["exposure"]), int(match["detector"])
        if detector not in DETECTOR_IDS:
            raise DescriptionError(f"there is no detector {detector}, only 1 to {DETECTOR_IDS[-1]}; rename the file")
        if exposure >= self.instrument.exposure_max:
            raise DescriptionError(
                f"exposure {exposure} is beyond the last one, {self.instrument.exposure_max - 1}; rename the file"
            )
        dataset = DatasetKey(self._kind, self._run, (self.instrument.name, exposure, detector))
        return FileKey(exposure, detector, dataset)

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Return records and region from the IMAGE header; see `FileTranslator`."""
        check_layout(structure.hdus)
        hdus = {hdu.name: hdu for hdu in structure.hdus}
        try:
            for name in (IMAGE, FLAGS, VARIANCE):
                # A file that was cut between two HDUs shows it in no other way.
                if name not in hdus or len(hdus[name].image_shape) != 2:
                    raise DescriptionError(f"no 2-D image in HDU {name}; replace the file with an intact copy")
            hdu = hdus[IMAGE]
            self._check_kind(hdu.cards)
            self._check_identity(key, hdu.cards)
            exposure = self._exposure(key, hdu.cards)
            region = self._region(hdu)
        except HeaderError as error:
            raise DescriptionError(f"{error}; fix the header of HDU {IMAGE} or leave the file out") from None
        except ProductError as error:
            raise DescriptionError(f"{error}; fix it or leave the file out") from None
        unknown = [name for name, value in (("WCS", region), ("time", exposure.values["timespan"])) if value is None]
        # The frame of a miniature telescope has the region of a real one, and fewer pixels.
        rows, columns = (None, None) if region is None else hdu.image_shape
        place = RecordDescription(
            "exposure_detector_region",
            {
                "instrument": self.instrument.name,
                "exposure": key.group,
                "detector": key.member,
                "region": region,
                "columns": columns,
                "rows": rows,
            },
        )
        return FileDescription(key.dataset, (exposure, place), tuple(unknown))

    def _check_kind(self, cards: Mapping[str, Any]) -> None:
        """Check that a raw image is not ingested as a dark, or a dark as a raw image."""
        is_dark = {"DARK": True, "SCIENCE": False}.get(str(cards.get(_KIND_CARD, "")).strip())
        wants_dark = {DARK_TYPE: True, RAW_TYPE: False}.get(self._kind.name)
        if is_dark is None or wants_dark is None or is_dark is wants_dark:
            return
        raise DescriptionError(
            f"it is a dark current map ({_KIND_CARD} is DARK), not a raw image; add --ingest-type {DARK_TYPE}"
            if is_dark
            else f"it is a raw image ({_KIND_CARD} is SCIENCE), not a dark; add --regex dark_current.fits"
        )

    def _check_identity(self, key: FileKey, cards: Mapping[str, Any]) -> None:
        for card, value, expected in (
            ("INSTRUME", cards.get("INSTRUME"), self.instrument.name),
            ("EXPOSURE", cards.get("EXPOSURE"), key.group),
            ("DETECTOR", detector_of(cards, DETECTOR_IDS), key.member),
        ):
            if value is not None and value != expected:
                raise HeaderError(f"{card} in the header is {value!r}, but the file name has {expected!r}")

    def _exposure(self, key: FileKey, cards: Mapping[str, Any]) -> RecordDescription:
        values: dict[str, Any] = {
            "instrument": self.instrument.name,
            "id": key.group,
            "name": self._name(key, cards),
        }
        for field, (card, least, most) in _NUMBERS.items():
            values[field] = number_of(cards, card, least, most)
        if values["ra_boresight"] == 360.0:
            values["ra_boresight"] = 0.0
        for field, card in _TEXTS.items():
            values[field] = text_of(cards, card)
        times = exposure_times(cards)
        defaults: Mapping[str, Any] = {}
        if times is None:
            values["timespan"] = None
        else:
            values["timespan"] = Timespan.model_construct(nsec=times)
            defaults = _group_fields(observation_date(times[0]))
        if self._group is None:
            return RecordDescription("exposure", values, defaults)
        cleared = tuple(name for name, value in self._group.items() if value is None)
        return RecordDescription("exposure", values | self._group, cleared=cleared)

    def _name(self, key: FileKey, cards: Mapping[str, Any]) -> str:
        name = text_of(cards, "OBSID") or f"sim_{key.group:06d}"
        try:
            # The room for it is checked with that of all texts.
            check_file_name(name, longest=len(name))
        except FileNameError as error:
            raise HeaderError(f"OBSID in the header {error}") from None
        return name

    def _region(self, hdu: HDUInfo) -> Any:
        rows, columns = hdu.image_shape
        corners = frame_corners(hdu.cards, (rows, columns))
        return None if corners is None else polygon_of(corners)


def _group_fields(name: str) -> dict[str, Any]:
    try:
        check_directory_name(name)
    except FileNameError as error:
        raise ValueError(f"{name!r} is not a name of a group: it {error}") from None
    number = int(name) if name.isascii() and name.isdigit() else None
    if number is not None and number > _LARGEST_ID:
        raise ValueError(f"{name} is too large for the number of a group, at most {_LARGEST_ID}")
    return {"group_name": name, "group_id": number}
