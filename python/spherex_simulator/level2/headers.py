"""Headers of the HDUs of a Level 2 image."""

from __future__ import annotations

import datetime
import math

import numpy as np
from astropy.coordinates import spherical_to_cartesian
from astropy.io import fits

from spherex.detectors import FRAME_SIDE
from spherex.image import Box, FlagPlane

from ..headers import CardValue, make_header, open_keywords, time_values
from ..pointing import Pointing, angles_of, celestial_values, ecliptic_axes, ground_track, spacecraft_state
from .releases import Level2Settings, calibration_values

_FIRST_TARGET = 28492
_DEEP_FIELDS = {
    "deep_north": spherical_to_cartesian(1, math.radians(90.0), 0.0),
    "deep_south": spherical_to_cartesian(1, math.radians(-82.0), math.radians(-44.8)),
}
_DEEP_COSINE = math.cos(math.radians(5.6))  # of the radius of 100 square degrees

_COUNTED_ALONE = {"TRAN_NB": "TRANSIENT", "PERS_NB": "PERSIST", "BLOOM_NS": "BLOOM", "SNOW_NS": "SNOWBALL"}
"""Counts of a flag outside of bad pixels (_NB) or of sources (_NS), and the flag."""

_OTHER_COUNTS = {"NBLMPIX": "BLOOM", "NHALOPIX": "HALO", "NSNOWPIX": "SNOWBALL", "L2 N_MISSING": "MISSING_DATA"}
"""Counts with other keywords than ``L2 N_<flag>``, and the flag."""


def level2_headers(
    settings: Level2Settings,
    pointing: Pointing,
    detector: int,
    box: Box,
    flags: FlagPlane,
    solid_angle: tuple[float, float],
    fwhm: float,
    matched: int,
) -> dict[str, fits.Header]:
    """Return the headers of a Level 2 image by HDU.

    Parameters
    ----------
    settings
        Settings of the simulation.
    pointing
        Attitude and times of the detector.
    detector
        Detector number.
    box
        The part of the frame that the image contains.
    flags
        Flags of the pixels.
    solid_angle
        Median and standard deviation over the frame, arcsec2.
    fwhm
        Median width of the point spread function, arcsec.
    matched
        Number of stars that were used to find the coordinates.

    Returns
    -------
    headers : `dict`
        Headers of PRIMARY, IMAGE, FLAGS, VARIANCE and ZODI.
    """
    release = settings.release
    values: dict[str, CardValue | None] = {"VERSION": release.version}
    values |= _identity(settings, pointing, detector)
    values |= _planning(pointing)
    values |= _orbit(pointing)
    values |= time_values(pointing)
    values |= _coordinates(settings, pointing, detector, box)
    values |= _counts(flags, {*open_keywords(release.image_template), *open_keywords(release.flags_template)})
    values |= calibration_values(release, settings.run, detector)
    values |= {
        "PXSRCMSK": round(100 * int(np.count_nonzero(flags.has("SOURCE"))) / flags.array.size, 2),
        "OMEGA_MEDIAN": solid_angle[0],
        "OMEGA_STDDEV": solid_angle[1],
        "MATCH_NSTARS": matched,
        "PSF_FWHM": fwhm,
    }
    planes = {"VARIANCE": "MJy2 / sr2", "ZODI": "MJy / sr"}
    return {
        "PRIMARY": make_header("level2_primary", values),
        "IMAGE": make_header(release.image_template, values),
        "FLAGS": make_header(release.flags_template, values),
        **{
            name: make_header("level2_plane", values | {"EXTNAME": name, "BUNIT": unit})
            for name, unit in planes.items()
        },
    }


def _identity(settings: Level2Settings, pointing: Pointing, detector: int) -> dict[str, CardValue]:
    name = settings.name_of(pointing.exposure, detector)
    day = datetime.datetime(name.run.year, 1, 1, 12) + datetime.timedelta(days=name.run.day - 1)
    made = day + datetime.timedelta(milliseconds=(pointing.exposure * 6 + detector) * 1237 % 40_000_000)
    return {
        "DETECTOR": detector,
        "OBSID": str(name.observation),
        "EXPIDN": name.observation.expidn(detector),
        "DATE": made.isoformat(timespec="milliseconds"),
    }


def _planning(pointing: Pointing) -> dict[str, CardValue]:
    attitude = pointing.attitude @ ecliptic_axes().T
    longitude, latitude, angle = angles_of(attitude[0], attitude[2])
    south, east, distance = ground_track(pointing.middle)
    return {
        "SPS_FLAGS": next(
            (name for name, middle in _DEEP_FIELDS.items() if attitude[0] @ middle > _DEEP_COSINE), "all_sky"
        ),
        "SPS_TARGET": _FIRST_TARGET + pointing.target,
        "SGT_LAT_MIDPT": round(south, 6),
        "SGT_LON_MIDPT": round(east, 6),
        "SGT_MIN_GCD2SAA": round(distance, 6),
        "SPS_ELON": longitude,
        "SPS_ELAT": latitude,
        # The plan has two angles only; the telescope is off by arcseconds.
        "SPS_EPA": round(angle / 180.0) % 2 * 180.0,
    }


def _orbit(pointing: Pointing) -> dict[str, CardValue]:
    values: dict[str, CardValue] = {}
    for suffix, time in (("_START", pointing.begin), ("", pointing.middle), ("_END", pointing.end)):
        for prefix, vector in zip(("", "V"), spacecraft_state(time), strict=True):
            for axis, value in zip("XYZ", vector, strict=True):
                values[f"{prefix}{axis}_SC{suffix}"] = float(value)
    return values


def _coordinates(settings: Level2Settings, pointing: Pointing, detector: int, box: Box) -> dict[str, CardValue]:
    """Return the coordinates of the frame, shifted to the box."""
    values: dict[str, CardValue] = {**celestial_values(pointing, detector, settings.survey)}
    middle = (FRAME_SIDE + 1) / 2
    for axis, origin in ((1, box.x0), (2, box.y0)):
        values[f"CRPIX{axis}"] = middle - origin
        values[f"CRPIX{axis}A"] = values[f"CRPIX{axis}W"] = 1.0 - origin
    return values


def _counts(flags: FlagPlane, keywords: set[str]) -> dict[str, CardValue]:
    """Return the numbers of pixels with the flags that keywords name; 0 for flags unknown to the release."""
    bad, source = flags.has("NONFUNC", "HOT", "COLD"), flags.has("SOURCE")
    values: dict[str, CardValue] = {}
    for keyword in keywords:
        suffix = keyword.removeprefix("L2 N_")
        if suffix in _COUNTED_ALONE:
            pixels = flags.has(_COUNTED_ALONE[suffix]) & ~(bad if suffix.endswith("_NB") else source)
        elif keyword in _OTHER_COUNTS or suffix != keyword:
            name = _OTHER_COUNTS.get(keyword, suffix)
            pixels = flags.has(name) if name in flags.table else np.False_
        else:
            continue
        values[keyword] = int(np.count_nonzero(pixels))
    return values
