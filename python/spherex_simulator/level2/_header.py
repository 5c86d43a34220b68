"""Headers of the HDUs of a Level 2 image."""

from __future__ import annotations

__all__ = ["ImageFacts", "flags_header", "image_header", "plane_header", "primary_header"]

import dataclasses
import datetime
import functools
import math
from typing import Any

import numpy as np
from astropy.coordinates import spherical_to_cartesian
from astropy.io import fits

from spherex.archive import Level2Name
from spherex.image import Box, FlagPlane

from .._headers import MJD_ZERO
from .._pointing import Pointing, angles_of, ecliptic_axes
from .._ramp import EXPOSURE_TIME
from ._cards import (
    CELESTIAL_COMMENTS,
    COMMENTS,
    COUNTS,
    FLAGS_CARDS,
    IMAGE_CARDS,
    PIXEL_CARDS,
    TIME_CARDS,
    WAVELENGTH_CARDS,
    Block,
    CardRow,
)
from ._orbit import ground_track, spacecraft_state
from ._releases import FLAG_MEANINGS, Release, history_of

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
