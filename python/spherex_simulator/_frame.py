"""One detector in one exposure: the raw image, the dark current map and the truth."""

from __future__ import annotations

__all__ = ["DARK_RAMPS", "Frame", "simulate_frame"]

import dataclasses
import math

import numpy as np
from astropy.table import Column, Table
from astropy.wcs import WCS

from spherex.detectors import DETECTORS, DetectorDescription
from spherex.fits import WCS_WAVE
from spherex.image import SPHEREX_FLAGS, Plane, SPHERExImage

from ._astrometry import celestial_wcs
from ._detector import DetectorState, add_cosmic_rays, detector_state
from ._filters import wavelength_table
from ._headers import dark_header, raw_header, sky_header
from ._pointing import Pointing, pointing_of
from ._ramp import Measurement, measure
from ._settings import Settings, Stream
from ._stars import Stars, add_images, stars_around
from ._telescope import PIXEL, electron_rate, psf_sigma, wavelength_of_row
from ._zodi import zodiacal_rate

DARK_RAMPS = 16
"""Dark exposures whose mean is a dark current map."""

_MARGIN = 12  # pixels around the frame from where a source still sheds light into it


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
        What the image would be without dark current, noise and cosmic rays,
        electron/s; it has no variance.
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
        If there is no such detector or exposure.
    """
    description = next((one for one in DETECTORS if one.id == detector), None)
    if description is None:
        raise ValueError(f"There is no detector {detector}; SPHEREx has the detectors 1 to {len(DETECTORS)}.")
    if exposure < 0:
        raise ValueError(f"Exposures are numbered from 0; there is none with number {exposure}.")
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
    raw = SPHERExImage(
        measured.rate,
        unit="electron/s",
        variance=measured.variance,
        flags=flags,
        header=raw_header(pointing, detector, settings),
        planes={WCS_WAVE: Plane(wavelength_table(description, settings.side))},
    )
    measured = _measure(state.dark, state, settings.rng(Stream.DARK, exposure, detector), ramps=DARK_RAMPS)
    dark = SPHERExImage(
        measured.rate,
        unit="electron/s",
        variance=measured.variance,
        flags=state.flags.copy(),
        header=dark_header(pointing, detector, settings),
    )
    truth = SPHERExImage(
        sky.astype(np.float32),
        unit="electron/s",
        flags=state.flags.copy(),
        header=sky_header(pointing, detector, settings),
        planes=raw.planes,
    )
    return Frame(raw, dark, truth, state.dark.astype(np.float32), sources)


def _draw_sources(
    starlight: np.ndarray, wcs: WCS, detector: DetectorDescription, pointing: Pointing, settings: Settings
) -> Table:
    """Draw the sources into an empty frame; return those inside of it as a table."""
    side = settings.side
    radius = math.hypot(side, side) / 2 + 3 * _MARGIN
    ra, dec = wcs.wcs.crval
    stars = stars_around(ra, dec, radius * PIXEL / settings.miniature / 3600, settings)
    # Far outside of the frame the distortion polynomial has no inverse.
    x, y = wcs.wcs_world2pix(stars.ra, stars.dec, 0)
    stars = stars[_within(x, y, side, 3 * _MARGIN)]
    x, y = wcs.all_world2pix(stars.ra, stars.dec, 0, tolerance=1e-6)
    near = _within(x, y, side, _MARGIN)
    stars, x, y = stars[near], x[near], y[near]
    wavelength = wavelength_of_row(detector, y, side)
    rate = electron_rate(stars.flux_density(wavelength), detector, settings)
    if len(stars):
        add_images(starlight, x, y, rate, psf_sigma(wavelength, pointing.jitter))
    inside = _within(x, y, side, 0)
    table = _source_table(stars[inside], x[inside], y[inside], wavelength[inside], rate[inside])
    table.meta = {"exposure": pointing.exposure, "detector": detector.id, "seed": settings.seed}
    return table


def _within(x: np.ndarray, y: np.ndarray, side: int, margin: float) -> np.ndarray:
    low, high = -0.5 - margin, side - 0.5 + margin
    return (x >= low) & (x < high) & (y >= low) & (y < high)


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
