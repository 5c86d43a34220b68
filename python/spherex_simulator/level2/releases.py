"""Releases of the archive whose Level 2 images are simulated, and the settings of a simulation."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import uuid
from collections.abc import Mapping
from typing import Self

import numpy as np

from spherex.archive import Level2Name, ObservationId, ProcessingRun
from spherex.detectors import FRAME_SIDE
from spherex.errors import ArchiveNameError
from spherex.fits import flag_table_of, header_bytes
from spherex.image import FlagTable

from ..headers import constant_header, open_keywords
from ..pointing import CADENCE, SLEWS_TO_A_TARGET, Pointing, pointing_of
from ..settings import Settings, check_side
from ..sky import NamedStars
from ..telescope import WavelengthTable, detector_description, wavelength_table

_SHARED = {"gain_factors", "initial_distortion_table", "sband_mnemonics"}
"""Calibrations that are valid for all detectors."""

_ONLY_FIRST = {"aurora_template", "he_template", "xtalk_class1"}
"""Calibrations of detector 1 only."""

_SMILE = 30.0  # rows by which a line of equal wavelength bends towards the sides
_CALIBRATION = "[CALIB] "
_VERSION_OF_ERRATUM = "6.5.5"


@dataclasses.dataclass(frozen=True)
class Release:
    """Release of the archive: the common properties of its Level 2 images.

    Parameters
    ----------
    name
        Name in the archive's tree.
    run
        Default of the processing run.
    version
        Version of the pipeline, card VERSION.
    start
        Begin of exposure 0 by default, UTC: within the observations of the release.
    wavelength_points
        Control points along each axis of the WCS-WAVE table.
    effective_psf
        Whether the PSF is the effective one, in a table EPSF, with flags
        compressed and named by MSKN cards; else the optical one, in a cube
        PSF, with flags plain and named by MP cards.
    calibration_time
        Time in the ids of the calibrations that contain one.
    timed
        Calibrations whose ids contain a time; `None` for all.
    calibration_runs
        Runs of the archive that made the calibrations that are simulated, by type.
    swapped_zones
        Whether the centres of the zones in the PSF header have x and y
        exchanged, as in files of versions up to 6.5.5 (IRSA, erratum of the
        PSF headers).
    """

    name: str
    run: str
    version: str
    start: datetime.datetime
    wavelength_points: int
    effective_psf: bool
    calibration_time: datetime.datetime
    timed: frozenset[str] | None
    calibration_runs: Mapping[str, str]
    swapped_zones: bool = False

    @property
    def image_template(self) -> str:
        """Template of the header of IMAGE."""
        return f"{self.name}_image"

    @property
    def flags_template(self) -> str:
        """Template of the header of FLAGS."""
        return f"{self.name}_flags"

    @functools.cached_property
    def flags(self) -> FlagTable:
        """Names and bits of the flags."""
        return flag_table_of(header_bytes(constant_header(self.flags_template)))

    def wavelengths(self, detector: int) -> WavelengthTable:
        """Return wavelength and bandwidth of each pixel of a detector."""
        return _wavelengths(detector, self.wavelength_points)

    def with_swapped_zones(self) -> Self:
        """Return the release as it was before the erratum of its PSF headers.

        Raises
        ------
        ValueError
            If files of the release never had such headers.
        """
        if self.effective_psf:
            raise ValueError(f"The PSF headers of {self.name} never had x and y exchanged: use qr2.")
        return dataclasses.replace(self, version=_VERSION_OF_ERRATUM, swapped_zones=True)


RELEASES = {
    release.name: release
    for release in (
        Release(
            name="qr2",
            run="l2b-v24-2026-089",
            version="6.5.6",
            start=datetime.datetime(2026, 2, 9),
            wavelength_points=11,
            effective_psf=False,
            calibration_time=datetime.datetime(2025, 12, 16, 22, 22, tzinfo=datetime.UTC),
            timed=frozenset({"nonfunc", "sip", "average_psf"}),
            calibration_runs={
                "spectral_wcs": "cal-wcs-v4-2025-254",
                "solid_angle_pixel_map": "cal-sapm-v2-2025-164",
                "average_psf": "cal-psf-v5-2026-082",
            },
        ),
        Release(
            name="qr3",
            run="l2b-v27-2026-222",
            version="7.0.5",
            start=datetime.datetime(2026, 7, 20),
            wavelength_points=9,
            effective_psf=True,
            calibration_time=datetime.datetime(2026, 7, 11, 12, 0, tzinfo=datetime.UTC),
            timed=None,
            calibration_runs={
                "spectral_wcs": "cal-swcs-v5-2026-191",
                "solid_angle_pixel_map": "cal-sapm-v3-2026-191",
                "epsf": "cal-epsf-v1-2026-191",
            },
        ),
    )
}
"""The releases by name.

Runs, versions and calibration types are those of Level 2 headers of the
archive; the order in which Quick Release 3 lists its calibrations is not known.
"""


@functools.cache
def _wavelengths(detector: int, control_points: int) -> WavelengthTable:
    # Halves are rounded up as in the archive's files: of eleven points the middle is 1021.
    points = np.floor(np.linspace(1, FRAME_SIDE, control_points) + 0.5).astype(np.int32)
    return wavelength_table(detector_description(detector), points, FRAME_SIDE, smile=_SMILE)


def calibration_uuid(release: Release, run: ProcessingRun, type_: str, detector: int) -> uuid.UUID:
    """Return the dataset id of a calibration, the same each time.

    Parameters
    ----------
    release
        Release that the calibration belongs to.
    run
        Processing run that used it. For a run before the time in the ids,
        the ids contain no time.
    type_
        Type of the calibration in the archive.
    detector
        Detector number; ignored for calibrations of all detectors.
    """
    owner = 0 if type_ in _SHARED else detector
    bits = int.from_bytes(hashlib.md5(f"{release.name} {type_} {owner}".encode(), usedforsecurity=False).digest())
    version = 4
    processed = datetime.datetime.strptime(f"{run.year} {run.day} +0000", "%Y %j %z")
    if release.calibration_time < processed and (release.timed is None or type_ in release.timed):
        # RFC 9562, section 5.7: milliseconds since 1970 in the first 48 bits.
        version = 7
        milliseconds = int(release.calibration_time.timestamp() * 1000)
        bits = milliseconds << 80 | bits & (1 << 80) - 1
    bits = bits & ~(0xF << 76) | version << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=bits)


def calibration_values(release: Release, run: ProcessingRun, detector: int) -> dict[str, str | None]:
    """Return the ids of the calibrations that the HISTORY of a Level 2 image lists.

    Parameters
    ----------
    release
        Release of the image.
    run
        Processing run that made it.
    detector
        Detector number.

    Returns
    -------
    values : `dict`
        Ids by the beginning of the HISTORY line; `None` for calibrations that
        the detector does not have.
    """
    kinds = {
        keyword: keyword.removeprefix(_CALIBRATION)
        for keyword in open_keywords(release.image_template)
        if keyword.startswith(_CALIBRATION)
    }
    return {
        keyword: str(calibration_uuid(release, run, type_, detector))
        if detector == 1 or type_ not in _ONLY_FIRST
        else None
        for keyword, type_ in kinds.items()
    }


_PLANNING_PERIOD = datetime.timedelta(days=3.5)
_CADENCE = datetime.timedelta(seconds=CADENCE)


def observation_of(pointing: Pointing) -> ObservationId:
    """Return the name of an observation.

    A week has two planning periods. The large slews are counted from the
    begin of the period by their time, so that observations of simulations
    with different starts have different names.

    Parameters
    ----------
    pointing
        Number and time of the exposure.
    """
    small = pointing.exposure % SLEWS_TO_A_TARGET
    slewed = pointing.begin - small * _CADENCE
    year, week, _ = slewed.isocalendar()
    since_monday = slewed - datetime.datetime.fromisocalendar(year, week, 1)
    plan, since_plan = divmod(since_monday, _PLANNING_PERIOD)
    large = since_plan // (SLEWS_TO_A_TARGET * _CADENCE)
    return ObservationId(year, week, plan + 1, "A", large + 1, small + 1)


@dataclasses.dataclass(frozen=True)
class Level2Settings:
    """Settings of simulated Level 2 images.

    Parameters
    ----------
    survey
        Seed and start; its frames are whole.
    release
        The release whose form the images take.
    run
        Processing run in the names of the images.
    side
        Rows, and columns, of an image; below the side of a frame the image is a
        cutout.
    centre
        Right ascension and declination of the middle of the cutout, deg; by
        default the middle of the frame.
    with_stars
        Whether to add the stars and galaxies of the simulated sky.
    sources
        Further sources to add.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    survey: Settings
    release: Release
    run: ProcessingRun
    side: int = FRAME_SIDE
    centre: tuple[float, float] | None = None
    with_stars: bool = True
    sources: NamedStars | None = None

    def __post_init__(self) -> None:
        if self.survey.side != FRAME_SIDE:
            raise ValueError("The survey of Level 2 images must have whole frames: use Settings without side.")
        check_side(self.side)
        if self.run.pipeline not in ("l2b", "l2b_retry") or self.run.version is None:
            raise ArchiveNameError(f"{self.run} is not a run of Level 2 images: use a name such as {self.release.run}")

    def name_of(self, exposure: int, detector: int) -> Level2Name:
        """Return the archive's name of an image."""
        observation = observation_of(pointing_of(self.survey, exposure))
        return Level2Name(observation, detector, self.run)
