"""What the IMAGE header of a Level 2 file says."""

from __future__ import annotations

__all__ = ["identity_of", "origin_of", "pointing_of", "shape_of", "timespan_in"]

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spherex.archive import ArchiveNameError, ObservationId
from spherex.geometry import boresight_of
from spherex.image import frame_origin
from spherex.instrument import FRAME_SIDE

from .cards import number_of
from .times import exposure_times, mjd_of, timespan_of

if TYPE_CHECKING:
    from lsst.daf.butler import Timespan

    from spherex.fits.hdus import HDUInfo

_SAME_DATE = 0.005 / 86400
"""Dates in days and as texts agree if they differ by less (d): texts are
rounded to milliseconds.
"""
_WHOLE = 1e-6
"""How far from a whole number a pixel coordinate may be (pixel)."""

_TIME_CARDS = tuple((f"MJD-{end}", f"DATE-{end}") for end in ("BEG", "END"))
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
    if type(detector) is not int or not 1 <= detector <= 6:
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
    for mjd, (number, text) in zip(times, _TIME_CARDS, strict=True):
        date = cards.get(text)
        if date is not None and cards.get(number) is not None and abs(mjd_of(text, date) - mjd) >= _SAME_DATE:
            raise ValueError(f"{text} in the header is {date}, but {number} is {mjd}")
    return _timespan(*times, str(cards.get("TIMESYS", "UTC")).upper())


@functools.lru_cache(64)
def _timespan(begin: float, end: float, scale: str) -> Timespan:
    return timespan_of(begin, end, scale)


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
