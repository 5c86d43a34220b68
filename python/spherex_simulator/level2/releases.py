"""Releases of the archive whose Level 2 images are simulated, and the settings of a simulation."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import uuid
from typing import Self

from spherex.archive import ArchiveNameError, CalibrationReference, Level2Name, ObservationId, ProcessingRun
from spherex.image import FlagTable
from spherex.instrument import FRAME_SIDE

from ..pointing import CADENCE, SLEWS_TO_A_TARGET, Pointing, pointing_of
from ..settings import MINIMUM_SIDE, Settings
from ..sky import NamedStars

_BASE_FLAGS = {
    "TRANSIENT": 0, "OVERFLOW": 1, "SUR_ERROR": 2, "NONFUNC": 6, "DICHROIC": 7, "MISSING_DATA": 9, "HOT": 10,
    "COLD": 11, "FULLSAMPLE": 12, "PHANMISS": 14, "NONLINEAR": 15, "PERSIST": 17, "OUTLIER": 19, "SOURCE": 21,
    "GHOST": 22, "GHOST_FPA": 23, "GHOST_EXT": 24, "BLOOM": 26, "SNOWBALL": 27, "HALO": 28,
}  # fmt: skip

FLAG_MEANINGS = {
    "TRANSIENT": "Transient detected during SUR",
    "OVERFLOW": "Overflow detected during SUR",
    "SUR_ERROR": "Error in onboard processing",
    "PHANTOM": "Phantom pixel",
    "REFERENCE": "Reference pixel",
    "NONFUNC": "Permanently unusable",
    "DICHROIC": "Low efficiency due to dichroic",
    "MISSING_DATA": "Onboard data lost",
    "HOT": "Hot pixel",
    "COLD": "Anomalously low signal",
    "FULLSAMPLE": "Pixel full sample history is available",
    "PHANMISS": "Phantom correction was not applied",
    "NONLINEAR": "Nonlinearity correction cannot be applied reliably",
    "PERSIST": "Persistent charge above threshold",
    "OUTLIER": "Pixel flagged by Detect Outliers",
    "SOURCE": "Pixel mapped to a known source",
    "GHOST": "Affected by a bright source inside the exposure",
    "GHOST_FPA": "Affected by a bright source on another detector",
    "GHOST_EXT": "Pixel affected by a bright source outside FOV",
    "BLOOM": "Pixel part of a bloom artifact",
    "SNOWBALL": "Pixel part of a snowball artifact",
    "HALO": "Pixel part of a transient halo",
}
"""Comments of the cards that name the flags in Quick Release 2."""

_SHARED = {"gain_factors", "initial_distortion_table", "sband_mnemonics"}
"""Calibrations that hold for all detectors."""

_ONLY_FIRST = {"aurora_template", "he_template", "xtalk_class1"}
"""Calibrations that only detector 1 has."""

_VERSION_OF_ERRATUM = "6.5.5"


@dataclasses.dataclass(frozen=True)
class Release:
    """What is common to the Level 2 images of one release.

    Parameters
    ----------
    name
        Name in the archive's tree.
    run
        Processing run that is simulated by default.
    version
        Version of the pipeline, card VERSION.
    start
        Begin of exposure 0 by default, UTC: within the observations of the release.
    flags
        Names and bits of the flags.
    wavelength_points
        Control points along each axis of the WCS-WAVE table.
    effective_psf
        Whether the PSF is the effective one, in a table EPSF, with flags
        compressed and named by MSKN cards; else the optical one, in a cube
        PSF, with flags plain and named by MP cards.
    calibration_time
        When those calibrations were made whose ids tell a time.
    calibrations
        Calibrations that each of the three steps of the pipeline lists.
    timed
        Those of them whose ids tell a time; `None` for all.
    swapped_zones
        Whether the PSF header gives the centres of the zones with x and y
        exchanged, as files of versions up to 6.5.5 do (IRSA, erratum of the
        PSF headers).
    """

    name: str
    run: str
    version: str
    start: datetime.datetime
    flags: FlagTable
    wavelength_points: int
    effective_psf: bool
    calibration_time: datetime.datetime
    calibrations: tuple[tuple[str, ...], ...]
    timed: frozenset[str] | None
    swapped_zones: bool = False

    def with_swapped_zones(self) -> Self:
        """Return the release as it was before the erratum of its PSF headers.

        Raises
        ------
        ValueError
            If the release has no such headers.
        """
        if self.effective_psf:
            raise ValueError(f"The PSF headers of {self.name} never had x and y exchanged; those of qr2 had.")
        return dataclasses.replace(self, version=_VERSION_OF_ERRATUM, swapped_zones=True)


RELEASES = {
    release.name: release
    for release in (
        Release(
            name="qr2",
            run="l2b-v24-2026-089",
            version="6.5.6",
            start=datetime.datetime(2026, 2, 9),
            flags=FlagTable(dict(sorted((_BASE_FLAGS | {"PHANTOM": 4, "REFERENCE": 5}).items(), key=lambda i: i[1]))),
            wavelength_points=11,
            effective_psf=False,
            calibration_time=datetime.datetime(2025, 12, 16, 22, 22, tzinfo=datetime.UTC),
            calibrations=(
                ("dichroic", "gain_factors", "initial_distortion_table", "nonfunc", "spectral_wcs"),
                ("gain_factors", "nonlinear_pars", "readnoise_pars"),
                ("abs_gain_matrix", "average_psf", "dark", "sip", "spectral_wcs"),
            ),
            timed=frozenset({"nonfunc", "sip", "average_psf"}),
        ),
        Release(
            name="qr3",
            run="l2b-v27-2026-222",
            version="7.0.5",
            start=datetime.datetime(2026, 7, 20),
            flags=FlagTable(
                dict(
                    sorted(
                        (_BASE_FLAGS | {"CROSSTALK": 20, "STREAK": 25, "SATELLITE_HALO": 29}).items(),
                        key=lambda i: i[1],
                    )
                )
            ),
            wavelength_points=9,
            effective_psf=True,
            calibration_time=datetime.datetime(2026, 7, 11, 12, 0, tzinfo=datetime.UTC),
            calibrations=(
                (
                    "dichroic", "gain_factors", "initial_distortion_table", "nonfunc_v2", "sband_mnemonics",
                    "spectral_wcs", "xtalk_class1", "xtalk_class2",
                ),
                ("gain_factors", "nonlinear_pars", "readnoise_pars"),
                (
                    "abs_gain_matrix", "aurora_template", "dark", "epsf", "he_template", "spectral_wcs",
                    "zodi_scaling_v2",
                ),
            ),
            timed=None,
        ),
    )
}  # fmt: skip
"""The releases by name.

Runs, versions and calibration types are those of Level 2 headers of the
archive; the order in which Quick Release 3 lists its calibrations is not known.
"""

_MODULES = (
    (
        "GDS Image Association, SSDC-MS-002 v2.1.1",
        "Estimate Coarse Astrometry, SSDC-MS-003 v2.4",
        "Convert to Engineering Units, SSDC-MS-005 v3.2",
        "Correct Preamplifier, SSDC-MS-006 v1.5",
        "Create Image Data Files, SSDC-MS-007 v1.2.1",
        "Perform Data Quality Assessment for Level 1, SSDC-MS-009 v1.3",
    ),
    (
        "GDS Image Association, SSDC-MS-002 v2.1.1",
        "Source blooming and cosmic ray halo flagging, SSDC-MS-0011 v1",
        "Correct Non-Linearity, SSDC-MS-010 v3.2",
        "Create Variance Map, SSDC-MS-011 v4.2",
        "Update Persistence Mask, SSDC-MS-012 v2.2.1",
    ),
    (
        "Apply Bad Pixel Mask, SSDC-MS-013 v1.1",
        "Apply Flat Field and Photometric Calibration, SSDC-MS-014 v1.5",
        "Estimate Fine Astrometry, SSDC-MS-016 v2.5",
        "Create Source Mask, SSDC-MS-019 v3.3",
        "Detect Outlier Pixels, SSDC-MS-020 v1.4",
        "Get Zodi Model, SSDC-MS-022 v2.3",
        "Measure Per-Exposure PSF, SSDC-MS-023 v3.3",
        "Create Spectral Image, SSDC-MS-024 v2.2",
        "Perform Data Quality Assessment for Level 2, SSDC-MS-025 v1.4",
    ),
)


def calibration_uuid(release: Release, run: ProcessingRun, type_: str, detector: int) -> uuid.UUID:
    """Return the dataset id of a calibration, the same each time.

    Parameters
    ----------
    release
        Release that the calibration belongs to.
    run
        Processing run that used it. One from before the time that the ids
        tell gets ids without a time.
    type_
        Kind of calibration by the archive's name.
    detector
        Detector number, which does not matter where one calibration serves all.
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


def history_of(release: Release, run: ProcessingRun, detector: int) -> list[str]:
    """Return the HISTORY lines of a Level 2 image: modules and calibrations, step by step."""
    lines: list[str] = []
    for modules, types in zip(_MODULES, release.calibrations, strict=True):
        lines += modules
        lines += [
            str(CalibrationReference(type_, calibration_uuid(release, run, type_, detector)))
            for type_ in types
            if detector == 1 or type_ not in _ONLY_FIRST
        ]
    return lines


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
    """What distinguishes one simulated set of Level 2 images from another.

    Parameters
    ----------
    survey
        Seed and start; its frames are whole.
    release
        The release whose form the images take.
    run
        Processing run that they are said to come from.
    side
        Rows, and columns, of an image. Fewer than a whole frame has make it a
        cutout of the frame.
    centre
        Right ascension and declination, deg, around which is cut; by default
        the middle of the frame.
    with_stars
        Whether the sky has its own stars and galaxies.
    sources
        Further sources.

    Raises
    ------
    ValueError
        If one of them is out of range.
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
            raise ValueError("A Level 2 image is cut from a whole frame, not made by a miniature telescope.")
        if not MINIMUM_SIDE <= self.side <= FRAME_SIDE:
            raise ValueError(f"The side must be {MINIMUM_SIDE} to {FRAME_SIDE} pixels, not {self.side}.")
        if self.run.pipeline not in ("l2b", "l2b_retry") or self.run.version is None:
            raise ArchiveNameError(f"{self.run} is no run that makes Level 2 images, such as {self.release.run}")

    def name_of(self, exposure: int, detector: int) -> Level2Name:
        """Return the archive's name of an image."""
        observation = observation_of(pointing_of(self.survey, exposure))
        return Level2Name(observation, detector, self.run)
