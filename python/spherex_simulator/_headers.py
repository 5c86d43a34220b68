"""Header cards of the simulated products."""

from __future__ import annotations

__all__ = ["MJD_ZERO", "dark_header", "raw_header", "sky_header"]

import datetime
from typing import Any

from astropy.io import fits

from ._astrometry import celestial_cards
from ._filters import pixel_cards, wavelength_cards
from ._pointing import Pointing
from ._ramp import EXPOSURE_TIME, SAMPLE_TIME
from ._settings import Settings

MJD_ZERO = datetime.datetime(1858, 11, 17)
"""Begin of the count of modified Julian days."""


def raw_header(pointing: Pointing, detector: int, settings: Settings) -> fits.Header:
    """Return the header of the IMAGE of an exposure.

    Parameters
    ----------
    pointing
        Attitude and time of the exposure.
    detector
        Detector number.
    settings
        The survey.
    """
    coordinates = celestial_cards(pointing, detector, settings) + pixel_cards() + wavelength_cards()
    return _header("SCIENCE", pointing, detector, settings, coordinates)


def dark_header(pointing: Pointing, detector: int, settings: Settings) -> fits.Header:
    """Return the header of the IMAGE of a dark current map, which has no place on the sky.

    Parameters
    ----------
    pointing
        Attitude and time of the exposure that the map belongs to.
    detector
        Detector number.
    settings
        The survey.
    """
    return _header("DARK", pointing, detector, settings, [])


def sky_header(pointing: Pointing, detector: int, settings: Settings) -> fits.Header:
    """Return the header of the noise-free sky that belongs to an exposure; see `raw_header`."""
    header = raw_header(pointing, detector, settings)
    header["IMAGETYP"] = "TRUTH"
    return header


def _header(
    kind: str, pointing: Pointing, detector: int, settings: Settings, coordinates: list[fits.Card]
) -> fits.Header:
    ra, dec, roll = pointing.boresight
    cards: list[tuple[str, Any, str]] = [
        ("EXTNAME", "IMAGE", "extension name"),
        ("EXTTYPE", "IMAGE", "Extension supports mask overlay"),
        ("BUNIT", "electron/s", "Unit of pixel value"),
        ("TELESCOP", "SPHEREx", "Telescope"),
        ("INSTRUME", "simulator", "Not the instrument in flight"),
        ("DETECTOR", detector, "1-3: SWIR, 4-6: MWIR"),
        ("IMAGETYP", kind, "Kind of image"),
        ("OBSID", pointing.name, "Observation ID"),
        ("EXPOSURE", pointing.exposure, "Number of the simulated exposure"),
        ("TSAMP", SAMPLE_TIME, "[s] Interval between pixel readouts (frame)"),
        ("SPS_TARG", pointing.target, "Target ID assigned by survey planning"),
        ("HIERARCH SPS_FLAGS", "all_sky", "Survey, as defined by survey planning"),
        ("RA_BORE", round(ra, 9), "[deg] RA of the boresight, ICRS"),
        ("DEC_BORE", round(dec, 9), "[deg] Dec of the boresight, ICRS"),
        ("ROLL", round(roll, 9), "[deg] PA of FP y axis at boresight, ICRS"),
        ("JITTER", round(pointing.jitter, 6), "[arcsec] Jitter, standard deviation"),
        ("SIM_SEED", settings.seed, "Seed of the simulation"),
    ]
    header = fits.Header([fits.Card(*card) for card in cards])
    header.extend(coordinates, unique=False, update=False)
    header.extend(_time_cards(pointing))
    return header


def _time_cards(pointing: Pointing) -> list[fits.Card]:
    cards: list[tuple[str, Any, str]] = [
        ("TIMESYS", "UTC", "Time scale"),
        ("MJDREF", 0.0, "[d] MJD of fiducial time"),
    ]
    for suffix, time, what in (
        ("OBS", pointing.begin, "time of observation"),
        ("BEG", pointing.begin, "start of observation"),
        ("AVG", pointing.middle, "midpoint of observation"),
        ("END", pointing.end, "end of observation"),
    ):
        mjd = (time - MJD_ZERO) / datetime.timedelta(days=1)
        cards.append((f"DATE-{suffix}", time.isoformat(timespec="milliseconds"), f"ISO-8601 {what}"))
        cards.append((f"MJD-{suffix}", round(mjd, 9), f"[d] MJD of {what}"))
    cards.append(("XPOSURE", EXPOSURE_TIME, "[s] Exposure (integration) time"))
    return [fits.Card(*card) for card in cards]
