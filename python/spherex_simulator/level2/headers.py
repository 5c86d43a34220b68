"""Headers of the HDUs of a Level 2 image."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import math
from typing import Any

import numpy as np
from astropy.coordinates import spherical_to_cartesian
from astropy.io import fits

from spherex.archive import Level2Name
from spherex.fits.names import WCS_WAVE
from spherex.image import Box, FlagPlane

from ..detector import EXPOSURE_TIME
from ..frame import MJD_ZERO
from ..pointing import Pointing, angles_of, ecliptic_axes, ground_track, spacecraft_state
from .releases import FLAG_MEANINGS, Release, history_of


class Block(enum.Enum):
    """Groups of cards that several headers have."""

    CELESTIAL = enum.auto()
    DISTORTION = enum.auto()
    PIXELS = enum.auto()
    TIMES = enum.auto()
    WAVELENGTH = enum.auto()
    FLAG_NAMES = enum.auto()


CardRow = tuple[str, str | int | float | bool | None, str] | Block

IMAGE_CARDS: tuple[CardRow, ...] = (
    ("EXTNAME", "IMAGE", "extension name"),
    ("EXTTYPE", "IMAGE", "Extension supports mask overlay"),
    ("BUNIT", "MJy / sr", "Unit of pixel value"),
    ("DETECTOR", None, "1-3: SWIR, 4-6: MWIR"),
    ("OBSID", None, "Observation ID"),
    ("EXPIDN", None, "Integer Exposure ID"),
    ("DATE", None, "HDU creation time (UTC)"),
    ("TSAMP", 1.5349, "[s] Interval between pixel readouts (frame)"),
    ("KOVR_A", 25000, "[adu] Overflow detection limit, active pixels"),
    ("KOVR_R", 25000, "[adu] Overflow detection limit, ref pixels"),
    ("KOVR_P", 25000, "[adu] Overflow detection limit, phantom pixels"),
    ("OVRDLY", 5, "threshold for overflow error flag"),
    ("SURLIM", 77, "Number of frames detector accumulated charge"),
    ("SURDLY", 3, "Frame count when SUR sums accumulation begins"),
    ("TRANDLY", 7, "Frame count when transient detection begins"),
    ("TCUT", 38, "threshold for transient error flag"),
    ("KEN_A", 20000, "Transient white noise threshold, active pixels"),
    ("KEN_R", 10000, "Transient white noise threshold, ref pixels"),
    ("KEN_P", 500, "Transient white noise threshold, phantom pixels"),
    ("KSN_A", 100, "Transient shot noise threshold, active pixels"),
    ("KSN_R", 0, "Transient shot noise threshold, ref pixels"),
    ("KSN_P", 0, "Transient shot noise threshold, phantom pixels"),
    ("NSKIP", 32, "Number of rows skipped after a full row is read"),
    ("HIERARCH NVISITROW", 4, "Number of visits to each reference row"),
    ("HIERARCH NVISITCOL", 1, "Number of visits to each reference col"),
    ("MPHAN", 4, "Number of phantom columns reads"),
    ("NCHANNEL", 32, "Number of readout channels"),
    ("WCHANNEL", 64, "Number of columns in each readout channel"),
    ("JREF", 8, "Number of physical reference rows on H2RG"),
    ("KREF", 8, "Number of physical reference cols on H2RG"),
    ("JACTIVE", 2040, "Number of light-sensitive pixel rows"),
    ("KACTIVE", 2040, "Number of light-sensitive pixel cols"),
    ("HIERARCH SPS_TARGET", None, "Target ID assigned by Survey Planning"),
    ("HIERARCH SPS_FLAGS", None, "Flags defined by Survey Planning"),
    ("HIERARCH OBS_IN_SBAND", "False", "Observed during S-band transmission"),
    ("HIERARCH NON_SURVEY", "False", "Observation is not part of a science survey"),
    ("HIERARCH SGT_LAT_MIDPT", None, "[deg] Ground track latitude at midpoint"),
    ("HIERARCH SGT_LON_MIDPT", None, "[deg] Ground track longitude at midpoint"),
    ("HIERARCH SGT_MIN_GCD2SAA", None, "[deg] Closest ground track dist to SAA"),
    ("SPS_ELON", None, "[deg] Ecliptic longitude of planned telescope boresight"),
    ("SPS_ELAT", None, "[deg] Ecliptic latitude of planned telescope boresight"),
    ("SPS_EPA", None, "[deg] PA of FP y axis at planned boresight, E of ecl N"),
    ("L1DQAFLG", "Pass", "L1 DQA outcome"),
    ("RADESYS", "ICRS", "Equatorial coordinate system"),
    ("HIERARCH X_SC_START", None, "[km] Exposure START x position"),
    ("HIERARCH Y_SC_START", None, "[km] Exposure START y position"),
    ("HIERARCH Z_SC_START", None, "[km] Exposure START z position"),
    ("HIERARCH VX_SC_START", None, "[km/s] Exposure START v_x velocity"),
    ("HIERARCH VY_SC_START", None, "[km/s] Exposure START v_y velocity"),
    ("HIERARCH VZ_SC_START", None, "[km/s] Exposure START v_z velocity"),
    ("HIERARCH XYZ_SC_SYSTEM", "GEOCENTER", "Reference frame for spacecraft position"),
    ("HIERARCH VXYZ_SC_SYSTEM", "GEOCENTER", "Reference frame for spacecraft velocity"),
    ("X_SC", None, "[km] Exposure MID x position"),
    ("Y_SC", None, "[km] Exposure MID y position"),
    ("Z_SC", None, "[km] Exposure MID z position"),
    ("VX_SC", None, "[km/s] Exposure MID v_x velocity"),
    ("VY_SC", None, "[km/s] Exposure MID v_y velocity"),
    ("VZ_SC", None, "[km/s] Exposure MID v_z velocity"),
    ("X_SC_END", None, "[km] Exposure END x position"),
    ("Y_SC_END", None, "[km] Exposure END y position"),
    ("Z_SC_END", None, "[km] Exposure END z position"),
    ("HIERARCH VX_SC_END", None, "[km/s] Exposure END v_x velocity"),
    ("HIERARCH VY_SC_END", None, "[km/s] Exposure END v_y velocity"),
    ("HIERARCH VZ_SC_END", None, "[km/s] Exposure END v_z velocity"),
    ("NBLMPIX", None, "Number of Pixels Bloom Flag"),
    ("NHALOPIX", None, "Number of Pixels Halo Flag"),
    ("NSNOWPIX", None, "Number of Pixels Snowball Flag"),
    ("HIERARCH L2 N_NONLINEAR", None, "number of pixels flagged nonlinear"),
    ("PSTHRESH", 0.1, "[electron/s] persistence threshold"),
    ("HIERARCH L2 N_PERSIST", None, "number of pixels flagged persist"),
    ("DETCOORD", "sky", "MWIR pixels flipped on X to match SWIR view"),
    ("HIERARCH L2 N_HOT", None, "number of pixels flagged hot"),
    ("HIERARCH L2 N_COLD", None, "number of pixels flagged cold"),
    ("HIERARCH L2 N_TRAN_NB", None, "number of not bad transient pixels"),
    ("HIERARCH L2 N_PERS_NB", None, "number of persistence and not bad pixels"),
    ("HIERARCH OMEGA_MEDIAN", None, " [arcsec**2] solid angle pixel map median"),
    ("HIERARCH OMEGA_STDDEV", None, " [arcsec**2] solid angle pixel map standard deviation"),
    ("FINAST", 0, "good fine-astrometric solution"),
    ("DAXIS", 1.3391179933075352, ""),
    ("HIERARCH CONTRAST", 76.6, ""),
    ("HIERARCH MATCH_NSTARS", None, ""),
    ("HIERARCH QS_NMATCH_VAR", 0.011758466292862218, ""),
    ("HIERARCH ASTRONETSOLVED", True, ""),
    Block.CELESTIAL,
    ("PXSRCMSK", None, "Percentage of pixels with SOURCE flag"),
    ("HIERARCH L2 N_SOURCE", None, "number of source flagged pixels"),
    ("HIERARCH L2 N_GHOST", None, "number of ghost flagged pixels"),
    ("HIERARCH L2 N_GHOST_FPA", None, "number of ghost_fpa flagged pixels"),
    ("HIERARCH L2 N_GHOST_EXT", None, "number of ghost_ext flagged pixels"),
    ("HIERARCH L2 N_BLOOM_NS", None, "number of BLOOM flagged pixels not flagged SOURCE"),
    ("HIERARCH L2 N_SNOW_NS", None, "number of SNOW flagged pixels not flagged SOURCE"),
    ("HIERARCH L2 N_OUTLIER", None, "number of flagged outlier pixels"),
    ("PSF_FWHM", None, " [arcsec] PSF FWHM Median"),
    ("L2DQAFLG", "Pass", "L2 DQA outcome"),
    ("HIERARCH REFCAT.VERSION", "SPHEREx_RefCat_v0.73", "Reference catalog version"),
    ("HIERARCH L2 N_TRANSIENT", None, "number of flagged transient pixels"),
    ("HIERARCH L2 N_OVERFLOW", None, "number of flagged overflow pixels"),
    ("HIERARCH L2 N_SUR_ERROR", None, "number of flagged sur error pixels"),
    ("HIERARCH L2 N_NONFUNC", None, "number of flagged nonfunctional pixels"),
    ("HIERARCH L2 N_DICHROIC", None, "number of flagged pixels due to low efficiency of dichroic"),
    ("HIERARCH L2 N_MISSING", None, "number of flagged pixels with missing data"),
    ("HIERARCH L2 N_FULLSAMPLE", None, "number of flagged full-sample pixels"),
    ("HIERARCH L2 N_PHANMISS", None, "number of flagged phanmiss pixels"),
    Block.DISTORTION,
    Block.PIXELS,
    Block.TIMES,
    Block.WAVELENGTH,
)

FLAGS_CARDS: tuple[CardRow, ...] = (
    ("HIERARCH L2 N_OUTLIER", None, "number of flagged outlier pixels"),
    ("HIERARCH L2 N_TRANSIENT", None, "number of flagged transient pixels"),
    ("HIERARCH L2 N_OVERFLOW", None, "number of flagged overflow pixels"),
    ("HIERARCH L2 N_SUR_ERROR", None, "number of flagged sur error pixels"),
    ("HIERARCH L2 N_PHANTOM", None, "number of flagged phantom pixels"),
    ("HIERARCH L2 N_REFERENCE", None, "number of flagged reference pixels"),
    ("HIERARCH L2 N_NONFUNC", None, "number of flagged nonfunctional pixels"),
    ("HIERARCH L2 N_DICHROIC", None, "number of flagged pixels due to low efficiency of dichroic"),
    ("HIERARCH L2 N_MISSING", None, "number of flagged pixels with missing data"),
    ("HIERARCH L2 N_FULLSAMPLE", None, "number of flagged full-sample pixels"),
    ("HIERARCH L2 N_PHANMISS", None, "number of flagged phanmiss pixels"),
    ("BUNIT", "", "Unit of flag pixel value (dimensionless)"),
    ("EXTTYPE", "MASK", "Extension can be used as a mask overlay"),
    Block.FLAG_NAMES,
    ("EXTNAME", "FLAGS", "extension name"),
    ("RADESYS", "ICRS", "Equatorial coordinate system"),
    Block.CELESTIAL,
    Block.DISTORTION,
    Block.PIXELS,
    Block.TIMES,
    Block.WAVELENGTH,
)

COUNTS = {
    "NBLMPIX": "BLOOM",
    "NHALOPIX": "HALO",
    "NSNOWPIX": "SNOWBALL",
    "HIERARCH L2 N_MISSING": "MISSING_DATA",
}
"""Flags that are counted in cards not called ``L2 N_`` and their name."""

CELESTIAL_COMMENTS = {
    "WCSAXES": "Number of coordinate axes",
    "CRPIX1": "Pixel coordinate of reference point",
    "CRPIX2": "Pixel coordinate of reference point",
    "PC1_1": "Coordinate transformation matrix element",
    "PC1_2": "Coordinate transformation matrix element",
    "PC2_1": "Coordinate transformation matrix element",
    "PC2_2": "Coordinate transformation matrix element",
    "CDELT1": "[deg] Coordinate increment at reference point",
    "CDELT2": "[deg] Coordinate increment at reference point",
    "CUNIT1": "Units of coordinate increment and value",
    "CUNIT2": "Units of coordinate increment and value",
    "CTYPE1": "TAN (gnomonic) projection + SIP distortions",
    "CTYPE2": "TAN (gnomonic) projection + SIP distortions",
    "CRVAL1": "[deg] Coordinate value at reference point",
    "CRVAL2": "[deg] Coordinate value at reference point",
    "LONPOLE": "[deg] Native longitude of celestial pole",
    "LATPOLE": "[deg] Native latitude of celestial pole",
}
"""Cards of the celestial coordinates without the distortion, in their order."""

PIXEL_CARDS: tuple[CardRow, ...] = (
    ("WCSAXESA", 2, "Number of coordinate axes"),
    ("CRPIX1A", None, "Pixel coordinate of reference point"),
    ("CRPIX2A", None, "Pixel coordinate of reference point"),
    ("CDELT1A", 1.0, "[pixel] Coordinate increment at reference point"),
    ("CDELT2A", 1.0, "[pixel] Coordinate increment at reference point"),
    ("CUNIT1A", "pixel", "Units of coordinate increment and value"),
    ("CUNIT2A", "pixel", "Units of coordinate increment and value"),
    ("CTYPE1A", "LINEAR", "Coordinate type code"),
    ("CTYPE2A", "LINEAR", "Coordinate type code"),
    ("CRVAL1A", 0.0, "[pixel] Coordinate value at reference point"),
    ("CRVAL2A", 0.0, "[pixel] Coordinate value at reference point"),
    ("LATPOLEA", 90.0, "[deg] Native latitude of celestial pole"),
    ("WCSNAMEA", "0-based active pixel coordinates", "Coordinate system title"),
)

TIME_CARDS: tuple[CardRow, ...] = (
    ("TIMESYS", "UTC", "Time scale"),
    ("MJDREF", 0.0, "[d] MJD of fiducial time"),
    ("DATE-OBS", None, "ISO-8601 time of observation"),
    ("MJD-OBS", None, "[d] MJD of observation"),
    ("DATE-BEG", None, "ISO-8601 time at start of observation"),
    ("MJD-BEG", None, "[d] MJD at start of observation"),
    ("DATE-AVG", None, "ISO-8601 time at midpoint of observation"),
    ("MJD-AVG", None, "[d] MJD at midpoint of observation"),
    ("DATE-END", None, "ISO-8601 time at end of observation"),
    ("MJD-END", None, "[d] MJD at end of observation"),
    ("XPOSURE", None, "[s] Exposure (integration) time"),
    ("TELAPSE", 118.1873, "[s] Elapsed time (start to stop)"),
)

WAVELENGTH_CARDS: tuple[CardRow, ...] = (
    ("WCSAXESW", 2, "Two output axes: wavelength and bandwidth"),
    ("WCSNAMEW", "Approximated per-pixel wavelength and bandwidth", "WCS label"),
    ("CNAME1W", "Wavelength", "First output axis is central wavelength"),
    ("CNAME2W", "Bandwidth", "Second output axis is bandwidth"),
    ("CRPIX1W", None, "Lookup table is in raw FITS coordinates"),
    ("CRPIX2W", None, "Lookup table is in raw FITS coordinates"),
    ("CDELT1W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("CDELT2W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("CUNIT1W", "um", "Wavelength is reported in microns"),
    ("CUNIT2W", "um", "Bandwidth is reported in microns"),
    ("CTYPE1W", "WAVE-TAB", "Bilinear lookup table, FITS Paper 3, Sect 6.1"),
    ("CTYPE2W", "WAVE-TAB", "Bilinear lookup table, FITS Paper 3, Sect 6.1"),
    ("CRVAL1W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("CRVAL2W", 1, "[pixel] Lookup table is in raw FITS coordinates"),
    ("PV1_3W", 1, "Index of wavelength in VALUES array"),
    ("PV2_3W", 2, "Index of bandwidth in VALUES array"),
    ("PS1_0W", WCS_WAVE, "Extension with wavelength lookup table"),
    ("PS2_0W", WCS_WAVE, "Extension with bandwidth lookup table"),
    ("PS1_1W", "VALUES", "Column with values for wavelength"),
    ("PS2_1W", "VALUES", "Column with values for bandwidth"),
    ("PS1_2W", "X", "Column with control points for detector in X"),
    ("PS2_2W", "Y", "Column with control points for detector in Y"),
)

COMMENTS = (
    "TELAPSE ends at MJD-END, starts prior to MJD-BEG:",
    "  includes discarded frames",
    "XPOSURE is the scientifically meaningful exposure time:",
    "  the time between the start and end of collecting data that",
    "  contributes to the photocurrent",
)


_CARD = 80
_FREE_FORMAT = ("SPS_ELON", "SPS_ELAT", "SPS_EPA")
_FIRST_TARGET = 28492
_DEEP_FIELDS = {
    "deep_north": spherical_to_cartesian(1, math.radians(90.0), 0.0),
    "deep_south": spherical_to_cartesian(1, math.radians(-82.0), math.radians(-44.8)),
}
_DEEP_COSINE = math.cos(math.radians(5.6))  # of the radius of 100 square degrees
_OTHER_COUNTS = {"TRAN_NB": "TRANSIENT", "PERS_NB": "PERSIST", "BLOOM_NS": "BLOOM", "SNOW_NS": "SNOWBALL"}


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What the headers of one image tell.

    Parameters
    ----------
    name
        The archive's name of the image.
    release
        Its release.
    pointing
        Attitude and times of the detector.
    box
        The part of the frame that the image holds.
    celestial
        Cards of the celestial coordinates of the whole frame.
    flags
        Flags of the pixels.
    solid_angle
        Median and standard deviation over the frame, arcsec2.
    fwhm
        Median width of the point spread function, arcsec.
    matched
        Stars with which the coordinates were found.
    """

    name: Level2Name
    release: Release
    pointing: Pointing
    box: Box
    celestial: list[fits.Card]
    flags: FlagPlane
    solid_angle: tuple[float, float]
    fwhm: float
    matched: int

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """Values of the cards that differ from image to image."""
        return _identity(self) | _planning(self) | _orbit(self.pointing) | _quality(self) | _places(self)


def primary_header(release: Release) -> fits.Header:
    """Return the cards of the primary HDU."""
    cards: list[tuple[str, Any, str]] = [
        ("SIMPLE", True, "conforms to FITS standard"),
        ("BITPIX", 8, "array data type"),
    ]
    cards += [("NAXIS", 0, "number of array dimensions"), ("EXTEND", True, "")]
    cards += [("VERSION", release.version, "SSDC Pipelines software version")]
    return fits.Header([fits.Card(*card) for card in cards])


def image_header(facts: ImageFacts) -> fits.Header:
    """Return the header of IMAGE, with the COMMENT and HISTORY cards."""
    header = _header(IMAGE_CARDS, facts)
    for comment in COMMENTS:
        header.add_comment(comment)
    for line in history_of(facts.release, facts.name.run, facts.name.detector):
        header.add_history(line)
    return header


def flags_header(facts: ImageFacts) -> fits.Header:
    """Return the header of FLAGS, which names the flags as the release does."""
    return _header(FLAGS_CARDS, facts)


def plane_header(facts: ImageFacts, name: str, unit: str) -> fits.Header:
    """Return the header of a further plane of pixels."""
    rows: tuple[CardRow, ...] = (
        ("EXTNAME", name, "extension name"),
        ("EXTTYPE", "IMAGE", "Extension supports mask overlay"),
        ("BUNIT", unit, "Unit of pixel value"),
        ("RADESYS", "ICRS", "Equatorial coordinate system"),
        Block.CELESTIAL,
        Block.DISTORTION,
        Block.PIXELS,
        Block.TIMES,
        Block.WAVELENGTH,
    )
    return _header(rows, facts)


def _header(rows: tuple[CardRow, ...], facts: ImageFacts) -> fits.Header:
    header = fits.Header()
    for row in rows:
        if row is Block.FLAG_NAMES:
            cards = _flag_names(facts.release)
        elif row is Block.CELESTIAL or row is Block.DISTORTION:
            cards = _celestial(facts, distortion=row is Block.DISTORTION)
        elif isinstance(row, Block):
            group = {Block.PIXELS: PIXEL_CARDS, Block.TIMES: TIME_CARDS, Block.WAVELENGTH: WAVELENGTH_CARDS}[row]
            cards = [_card(one, facts.values) for one in group if not isinstance(one, Block)]
        else:
            cards = [_card(row, facts.values)]
        header.extend(cards, unique=False, update=False)
    return header


def _card(row: tuple[str, Any, str], values: dict[str, Any]) -> fits.Card:
    keyword, value, comment = row
    value = values[keyword] if value is None else value
    if keyword in _FREE_FORMAT:
        return fits.Card.fromstring(f"{keyword:8}= {value:.6f} / {comment}"[:_CARD])
    if not comment:
        return fits.Card(keyword, value)
    # A comment is cut where the card ends, as in the archive's files.
    room = _CARD + 1 - len(str(fits.Card(keyword, value, "x")).rstrip())
    return fits.Card(keyword, value, comment[:room])


def _identity(facts: ImageFacts) -> dict[str, Any]:
    name = facts.name
    day = datetime.datetime(name.run.year, 1, 1, 12) + datetime.timedelta(days=name.run.day - 1)
    made = day + datetime.timedelta(milliseconds=(facts.pointing.exposure * 6 + name.detector) * 1237 % 40_000_000)
    return {
        "DETECTOR": name.detector,
        "OBSID": str(name.observation),
        "EXPIDN": name.observation.expidn(name.detector),
        "DATE": made.isoformat(timespec="milliseconds"),
    }


def _planning(facts: ImageFacts) -> dict[str, Any]:
    attitude = facts.pointing.attitude @ ecliptic_axes().T
    longitude, latitude, angle = angles_of(attitude[0], attitude[2])
    south, east, distance = ground_track(facts.pointing.middle)
    return {
        "HIERARCH SPS_FLAGS": next(
            (name for name, middle in _DEEP_FIELDS.items() if attitude[0] @ middle > _DEEP_COSINE), "all_sky"
        ),
        "HIERARCH SPS_TARGET": _FIRST_TARGET + facts.pointing.target,
        "HIERARCH SGT_LAT_MIDPT": round(south, 6),
        "HIERARCH SGT_LON_MIDPT": round(east, 6),
        "HIERARCH SGT_MIN_GCD2SAA": round(distance, 6),
        "SPS_ELON": longitude,
        "SPS_ELAT": latitude,
        # Planned is one of two angles; the telescope is off by arcseconds.
        "SPS_EPA": round(angle / 180.0) % 2 * 180.0,
    }


def _orbit(pointing: Pointing) -> dict[str, Any]:
    values = {}
    for suffix, time in (("_START", pointing.begin), ("", pointing.middle), ("_END", pointing.end)):
        for prefix, vector in zip(("", "V"), spacecraft_state(time), strict=True):
            for axis, value in zip("XYZ", vector, strict=True):
                keyword = f"{prefix}{axis}_SC{suffix}"
                values[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = float(value)
    return values


def _quality(facts: ImageFacts) -> dict[str, Any]:
    flags = facts.flags
    counts = {
        name: int(np.count_nonzero(flags.has(name))) if name in flags.table else 0
        for name in (*FLAG_MEANINGS, *flags.table)
    }
    values: dict[str, Any] = {keyword: counts[name] for keyword, name in COUNTS.items()}
    values |= {f"HIERARCH L2 N_{name}": count for name, count in counts.items()}
    bad, source = flags.has("NONFUNC", "HOT", "COLD"), flags.has("SOURCE")
    for suffix, name in _OTHER_COUNTS.items():
        out = bad if suffix.endswith("NB") else source
        values[f"HIERARCH L2 N_{suffix}"] = int(np.count_nonzero(flags.has(name) & ~out))
    return values | {
        "PXSRCMSK": round(100 * counts["SOURCE"] / flags.array.size, 2),
        "HIERARCH OMEGA_MEDIAN": facts.solid_angle[0],
        "HIERARCH OMEGA_STDDEV": facts.solid_angle[1],
        "HIERARCH MATCH_NSTARS": facts.matched,
        "PSF_FWHM": facts.fwhm,
    }


def _places(facts: ImageFacts) -> dict[str, Any]:
    values: dict[str, Any] = {"XPOSURE": EXPOSURE_TIME}
    for axis, origin in ((1, facts.box.x0), (2, facts.box.y0)):
        for key in "AW":
            values[f"CRPIX{axis}{key}"] = 1.0 - origin
    pointing = facts.pointing
    times = {"OBS": pointing.begin, "BEG": pointing.begin, "AVG": pointing.middle, "END": pointing.end}
    for suffix, time in times.items():
        values[f"DATE-{suffix}"] = time.isoformat(timespec="milliseconds")
        values[f"MJD-{suffix}"] = round((time - MJD_ZERO) / datetime.timedelta(days=1), 9)
    return values


def _celestial(facts: ImageFacts, *, distortion: bool) -> list[fits.Card]:
    cards = {card.keyword: card for card in facts.celestial}
    if not distortion:
        origin = {"CRPIX1": facts.box.x0, "CRPIX2": facts.box.y0}
        return [
            fits.Card(keyword, cards[keyword].value - origin.get(keyword, 0), comment)
            if keyword in origin
            else fits.Card(keyword, cards[keyword].value, comment)
            for keyword, comment in CELESTIAL_COMMENTS.items()
        ]
    rest = [card for keyword, card in cards.items() if keyword.startswith(("A_", "B_", "AP_", "BP_"))]
    return [fits.Card(card.keyword, card.value, _distortion_comment(card.keyword)) for card in rest]


def _distortion_comment(keyword: str) -> str:
    if not keyword.endswith("_ORDER"):
        return "SIP distortion coefficient"
    direction = "sky to detector" if keyword[1] == "P" else "detector to sky"
    return f"SIP polynomial order, axis {'AB'.index(keyword[0])}, {direction}"


def _flag_names(release: Release) -> list[fits.Card]:
    if release.effective_psf:
        return [fits.Card(f"MSKN{bit:04d}", name) for name, bit in release.flags.items()]
    cards = []
    for name, bit in release.flags.items():
        keyword = f"MP_{name}"
        row = (keyword if len(keyword) <= 8 else f"HIERARCH {keyword}", bit, FLAG_MEANINGS[name])
        cards.append(_card(row, {}))
    return cards
