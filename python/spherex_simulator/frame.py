"""One detector in one exposure: the raw image, the dark current map and the truth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from astropy.table import Column, Table
from astropy.wcs import WCS

from spherex.detectors import PIXEL_SCALE, DetectorDescription
from spherex.fits import WCS_WAVE
from spherex.image import SPHEREX_FLAGS, Box, Plane, SPHERExImage

from .detector import DetectorState, Measurement, add_cosmic_rays, detector_state, measure, within
from .headers import CardValue, make_header, time_values
from .pointing import Pointing, celestial_values, celestial_wcs, pointing_of
from .settings import Settings, Stream
from .sky import Stars, add_images, locate, stars_around, zodiacal_rate
from .telescope import detector_description, electron_rate, psf_sigma, wavelength_of_row, wavelength_table

DARK_RAMPS = 16
"""Dark exposures whose mean is a dark current map."""

_CONTROL_POINTS = 13  # of the wavelengths, along each axis
_MARGIN = 12  # pixels around the frame where a source still adds light to it


@dataclasses.dataclass(frozen=True)
class Frame:
    """One detector in one exposure.

    Parameters
    ----------
    raw
        Image with its dark current, electron/s.
    dark
        Dark current as measured, electron/s.
    sky
        Image without dark current, noise and cosmic rays, electron/s; without variance.
    dark_truth
        Dark current without noise, electron/s, float32, shape (side, side).
    sources
        The sources in the frame and their rates.
    """

    raw: SPHERExImage
    dark: SPHERExImage
    sky: SPHERExImage
    dark_truth: np.ndarray
    sources: Table


def simulate_frame(settings: Settings, exposure: int, detector: int) -> Frame:
    """Simulate one detector in one exposure.

    Pixels that do not function are NaN in image and variance.

    Parameters
    ----------
    settings
        The survey.
    exposure
        Number of the exposure, 0-based.
    detector
        Detector number, 1 to 6.

    Raises
    ------
    ValueError
        If the detector or the exposure does not exist.
    """
    description = detector_description(detector)
    pointing = pointing_of(settings, exposure)
    wcs = celestial_wcs(pointing, detector, settings)
    state = detector_state(settings, detector)
    starlight = np.zeros((settings.side, settings.side))
    sources = _draw_sources(starlight, wcs, description, pointing, settings)
    sky: np.ndarray = (starlight + zodiacal_rate(wcs, description, settings)) * state.response

    rng = settings.rng(Stream.RAW, exposure, detector)
    measured = _measure(sky + state.dark, state, rng)
    hit = add_cosmic_rays(measured.rate, rng)
    flags = state.flags.copy()
    flags[hit] |= SPHEREX_FLAGS.bits("TRANSIENT")
    flags[measured.overflow] |= SPHEREX_FLAGS.bits("OVERFLOW")
    flags[starlight**2 > measured.variance] |= SPHEREX_FLAGS.bits("SOURCE")
    points = np.linspace(1, settings.side, _CONTROL_POINTS).round().astype(np.int32)
    wavelengths = wavelength_table(description, points, settings.side)
    values = _header_values(pointing, detector, settings) | {"IMAGETYP": "SCIENCE"}
    celestial = celestial_values(pointing, detector, settings)
    raw = SPHERExImage(
        measured.rate,
        unit="electron/s",
        variance=measured.variance,
        flags=flags,
        header=make_header("raw_image", values | celestial),
        planes={WCS_WAVE: Plane(wavelengths.hdu())},
    )
    measured = _measure(state.dark, state, settings.rng(Stream.DARK, exposure, detector), ramps=DARK_RAMPS)
    dark = SPHERExImage(
        measured.rate,
        unit="electron/s",
        variance=measured.variance,
        flags=state.flags.copy(),
        header=make_header("raw_dark", values | {"IMAGETYP": "DARK"}),
    )
    truth = SPHERExImage(
        sky.astype(np.float32),
        unit="electron/s",
        flags=state.flags.copy(),
        header=make_header("raw_image", values | celestial | {"IMAGETYP": "TRUTH"}),
        planes=raw.planes,
    )
    return Frame(raw, dark, truth, state.dark.astype(np.float32), sources)


def _draw_sources(
    starlight: np.ndarray, wcs: WCS, detector: DetectorDescription, pointing: Pointing, settings: Settings
) -> Table:
    """Draw the sources into an empty frame, and return a table of the sources inside of it."""
    side = settings.side
    frame = Box(0, side, 0, side)
    radius = math.hypot(side, side) / 2 + 3 * _MARGIN
    ra, dec = wcs.wcs.crval
    stars = stars_around(ra, dec, radius * PIXEL_SCALE / settings.miniature / 3600, settings)
    stars, x, y = locate(stars, wcs, frame, _MARGIN, far=3 * _MARGIN, tolerance=1e-6)
    wavelength = wavelength_of_row(detector, y, side)
    rate = electron_rate(stars.flux_density(wavelength), detector, settings)
    if len(stars):
        add_images(starlight, x, y, rate, psf_sigma(wavelength, pointing.jitter))
    inside = within(frame, x, y)
    table = _source_table(stars[inside], x[inside], y[inside], wavelength[inside], rate[inside])
    table.meta = {"exposure": pointing.exposure, "detector": detector.id, "seed": settings.seed}
    return table


def _source_table(stars: Stars, x: np.ndarray, y: np.ndarray, wavelength: np.ndarray, rate: np.ndarray) -> Table:
    columns = (
        (stars.names, "name", None, "Name, the same in every exposure"),
        (stars.ra.round(7), "ra", "deg", "Right ascension, ICRS"),
        (stars.dec.round(7), "dec", "deg", "Declination, ICRS"),
        (x.round(3), "x", "pixel", "Column of the centre, 0-based"),
        (y.round(3), "y", "pixel", "Row of the centre, 0-based"),
        (wavelength.round(5), "wavelength", "um", "Wavelength of the filter there"),
        (rate.round(5), "rate", "electron/s", "Rate, summed over all pixels"),
    )
    return Table(
        [
            Column(values, name, unit=unit, description=text, dtype="U12" if unit is None else float)
            for values, name, unit, text in columns
        ]
    )


def _measure(current: np.ndarray, state: DetectorState, rng: np.random.Generator, ramps: int = 1) -> Measurement:
    dead = np.isnan(state.response)
    measured = measure(np.where(dead, 0.0, current), rng, ramps)
    measured.rate[dead] = measured.variance[dead] = np.nan
    return measured


def _header_values(pointing: Pointing, detector: int, settings: Settings) -> dict[str, CardValue]:
    ra, dec, roll = pointing.boresight
    return time_values(pointing) | {
        "DETECTOR": detector,
        "OBSID": pointing.name,
        "EXPOSURE": pointing.exposure,
        "SPS_TARG": pointing.target,
        "RA_BORE": round(ra, 9),
        "DEC_BORE": round(dec, 9),
        "ROLL": round(roll, 9),
        "JITTER": round(pointing.jitter, 6),
        "SIM_SEED": settings.seed,
    }
