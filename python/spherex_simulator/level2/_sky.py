"""What shines on a frame: solid angles of the pixels, diffuse light, sources."""

from __future__ import annotations

__all__ = ["SolidAngle", "diffuse_light", "solid_angle_of", "sources_near", "within"]

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline

from spherex.detectors import FRAME_SIDE
from spherex.image import Box

from .._settings import Settings
from .._stars import Stars, stars_around
from .._telescope import PIXEL
from .._zodi import zodiacal_intensity
from ._wavelength import WavelengthTable

_NODES = 33
_ARCSEC2_PER_STERADIAN = math.degrees(3600.0) ** 2
_AIRGLOW = 1.083  # um, helium
_FAR = 40  # pixels around the box, where the distortion still has an inverse
_EVERY = 8  # pixels, for the statistics of the solid angle


@dataclasses.dataclass(frozen=True)
class SolidAngle:
    """Solid angles of the pixels of a frame.

    They depend on the detector, not on where the telescope looks.
    """

    spline: RectBivariateSpline

    def over(self, box: Box) -> np.ndarray:
        """Return the solid angle of each pixel of a box, arcsec2."""
        return self.spline(np.arange(box.y0, box.y1), np.arange(box.x0, box.x1))

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the solid angle at positions, 0-based pixels of the frame, arcsec2."""
        return self.spline(y, x, grid=False)

    @property
    def median_and_deviation(self) -> tuple[float, float]:
        """Median and standard deviation over the frame, arcsec2."""
        every = np.arange(0, FRAME_SIDE, _EVERY)
        values = self.spline(every, every)
        return float(np.median(values)), float(values.std())


def solid_angle_of(wcs: WCS) -> SolidAngle:
    """Measure the pixels of a frame.

    Parameters
    ----------
    wcs
        Celestial coordinates of the whole frame.
    """
    nodes = np.linspace(0, FRAME_SIDE - 1, _NODES)
    y, x = np.meshgrid(nodes, nodes, indexing="ij")
    to_right, upwards = (_direction(wcs, x + dx, y + dy) - _direction(wcs, x - dx, y - dy) for dx, dy in _HALVES)
    area = np.linalg.norm(np.cross(to_right, upwards, axis=0), axis=0) * _ARCSEC2_PER_STERADIAN
    return SolidAngle(RectBivariateSpline(nodes, nodes, area))


_HALVES = ((0.5, 0.0), (0.0, 0.5))


def _direction(wcs: WCS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return wcs.pixel_to_world(x, y).cartesian.xyz.value


def diffuse_light(wcs: WCS, wavelengths: WavelengthTable, box: Box, airglow: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the light that comes from everywhere.

    Parameters
    ----------
    wcs
        Celestial coordinates of the whole frame.
    wavelengths
        Wavelength of each pixel.
    box
        The part of the frame that is wanted.
    airglow
        Intensity of the helium line of the upper atmosphere in its middle, MJy/sr.

    Returns
    -------
    zodi, glow : `numpy.ndarray`
        Zodiacal light and airglow, MJy/sr, shape of the box.
    """
    nodes = np.linspace(0, FRAME_SIDE - 1, 8 * _NODES)
    coarse = nodes[:: len(nodes) // 8]
    y, x = np.meshgrid(coarse, coarse, indexing="ij")
    latitude = wcs.pixel_to_world(x, y).transform_to(BarycentricMeanEcliptic()).lat.deg
    y, x = np.meshgrid(nodes, nodes, indexing="ij")
    wavelength, bandwidth = wavelengths.at(x, y)
    zodi = zodiacal_intensity(wavelength, RectBivariateSpline(coarse, coarse, latitude)(nodes, nodes))
    glow = airglow * np.exp(-4 * math.log(2) * ((wavelength - _AIRGLOW) / bandwidth) ** 2)
    rows, columns = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
    of_zodi, of_glow = (RectBivariateSpline(nodes, nodes, plane, kx=1, ky=1)(rows, columns) for plane in (zodi, glow))
    return of_zodi, of_glow


def sources_near(
    wcs: WCS, box: Box, reach: int, settings: Settings, sources: Sequence[Stars], with_stars: bool
) -> list[tuple[Stars, np.ndarray, np.ndarray]]:
    """Return the sources that shine into a box, with their positions.

    Parameters
    ----------
    wcs
        Celestial coordinates of the whole frame.
    box
        The part of the frame.
    reach
        Pixels around the box from where a source still sheds light into it.
    settings
        Survey whose sky it is.
    sources
        Sources besides those of the sky.
    with_stars
        Whether the sky has any.

    Returns
    -------
    near : `list`
        Groups of sources with x and y, 0-based pixels of the whole frame.
    """
    middle_x, middle_y = (box.x0 + box.x1 - 1) / 2, (box.y0 + box.y1 - 1) / 2
    ra, dec = wcs.all_pix2world(middle_x, middle_y, 0)
    radius = math.hypot(*box.shape) / 2 + 2 * _FAR
    groups: list[Stars] = list(sources)
    if with_stars:
        groups.append(stars_around(float(ra), float(dec), radius * PIXEL / 3600, settings))
    found = []
    for stars in groups:
        cosine = _unit(stars.ra, stars.dec) @ _unit(float(ra), float(dec))
        stars = stars[cosine > math.cos(math.radians(radius * PIXEL / 3600))]
        if not len(stars):
            continue
        x, y = wcs.wcs_world2pix(stars.ra, stars.dec, 0)
        stars = stars[within(box, x, y, _FAR)]
        if not len(stars):
            continue
        x, y = wcs.all_world2pix(stars.ra, stars.dec, 0, tolerance=1e-7)
        near = within(box, x, y, reach)
        found.append((stars[near], x[near], y[near]))
    return found


def within(box: Box, x: np.ndarray, y: np.ndarray, margin: float) -> np.ndarray:
    """Return which positions lie in a box or not farther from it than a margin."""
    low_x, high_x, low_y, high_y = box.x0 - 0.5, box.x1 - 0.5, box.y0 - 0.5, box.y1 - 0.5
    inside_x = (x >= low_x - margin) & (x < high_x + margin)
    return inside_x & (y >= low_y - margin) & (y < high_y + margin)


def _unit(ra: np.ndarray | float, dec: np.ndarray | float) -> np.ndarray:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
