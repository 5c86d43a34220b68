"""The simulated sky: stars, galaxies and zodiacal light, and the images of point sources."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Self

import numpy as np
from astropy import constants
from astropy.coordinates import BarycentricMeanEcliptic
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline
from scipy.special import erf

from spherex.detectors import DetectorDescription
from spherex.image import Box

from .detector import within
from .settings import Settings, Stream
from .telescope import electron_rate, pixel_solid_angle, wavelength_of_row

_PLANCK = (constants.h * constants.c / constants.k_B).to_value("um K")


def black_body(wavelength: np.ndarray, temperature: float | np.ndarray, reference: float) -> np.ndarray:
    """Return the spectrum of a black body, per unit frequency.

    Parameters
    ----------
    wavelength
        Wavelength, um.
    temperature
        Temperature, K.
    reference
        Wavelength where the spectrum is 1, um.
    """
    exponent = _PLANCK / temperature
    return (wavelength / reference) ** -3 * np.expm1(exponent / reference) / np.expm1(exponent / wavelength)


REFERENCE_WAVELENGTH = 1.6
"""Wavelength of the magnitudes, um."""

ZERO_POINT = 3631.0
"""Flux density of a source of AB magnitude 0, Jy."""

_BRIGHTEST, _FAINTEST = 7.0, 17.0  # AB magnitudes
_DENSITY = 4000.0  # per square degree down to the faintest
_SLOPE = 0.4  # of the logarithm of the number per magnitude
_GALAXIES = 0.2  # share of sources whose spectrum is a power law

_HALO_SHARE, _HALO_SIZE = 0.08, 3.0
"""Share of the light in the wings of the point spread function, and their width over that of the core."""

_REACH = 5.0  # standard deviations that are drawn
_BATCH = 10_000  # sources drawn at once, to bound memory


@dataclasses.dataclass(frozen=True)
class Stars:
    """Point sources, one array element each.

    Parameters
    ----------
    cell
        Cell of the sky that contains the source.
    number
        Number of the source in its cell.
    ra, dec
        Position, ICRS, deg.
    magnitude
        AB magnitude at 1.6 um.
    temperature
        Temperature of a black body, K; infinite for a power law.
    slope
        Exponent of wavelength in the flux density of a power law.
    """

    cell: np.ndarray
    number: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    magnitude: np.ndarray
    temperature: np.ndarray
    slope: np.ndarray

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, chosen: np.ndarray) -> Self:
        return type(self)(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    @property
    def names(self) -> list[str]:
        """Names, the same in every exposure."""
        return [f"S{cell:05d}-{number:05d}" for cell, number in zip(self.cell, self.number, strict=True)]

    def flux_density(self, wavelength: np.ndarray) -> np.ndarray:
        """Return flux densities.

        Parameters
        ----------
        wavelength
            Wavelength for each source, um.

        Returns
        -------
        flux_density : `numpy.ndarray`
            In Jy.
        """
        shape = (wavelength / REFERENCE_WAVELENGTH) ** self.slope
        star = np.isfinite(self.temperature)
        shape[star] = black_body(wavelength[star], self.temperature[star], REFERENCE_WAVELENGTH)
        return ZERO_POINT * 10 ** (-0.4 * self.magnitude) * shape


@dataclasses.dataclass(frozen=True)
class NamedStars(Stars):
    """Point sources with names of their own; see `Stars`.

    Parameters
    ----------
    label
        Names.
    """

    label: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names, as in the file of sources."""
        return list(self.label)


def limiting_magnitude(settings: Settings) -> float:
    """Return the magnitude of the faintest sources; it is brighter for a miniature."""
    return _FAINTEST + 5 * math.log10(settings.miniature)


def stars_around(ra: float, dec: float, radius: float, settings: Settings) -> Stars:
    """Return the sources of the sky in a circle, and some outside of it.

    The sky is divided into cells of about a square degree, each with random
    numbers of its own, so that the sources are the same in every exposure.

    Parameters
    ----------
    ra, dec
        Centre of the circle, deg.
    radius
        Radius of the circle, deg.
    settings
        The survey.
    """
    west, east, south, north = _cells()
    middle_ra, middle_dec = np.radians((west + east) / 2), np.radians((south + north) / 2)
    cosine = np.sin(middle_dec) * math.sin(math.radians(dec)) + np.cos(middle_dec) * math.cos(
        math.radians(dec)
    ) * np.cos(middle_ra - math.radians(ra))
    cell_radius = 1.0  # deg, more than the half diagonal of any cell
    near = np.flatnonzero(cosine >= math.cos(math.radians(radius + cell_radius)))
    parts = [_stars_of_cell(int(cell), settings) for cell in near]
    fields = [field.name for field in dataclasses.fields(Stars)]
    return Stars(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def locate(
    stars: Stars, wcs: WCS, box: Box, margin: float, *, far: float, tolerance: float
) -> tuple[Stars, np.ndarray, np.ndarray]:
    """Return the sources in a box or not farther from it than a margin, and their positions.

    Parameters
    ----------
    stars
        Sources in the hemisphere around the frame.
    wcs
        Celestial coordinates of the whole frame.
    box
        Part of the frame.
    margin
        Distance from the box, pixels.
    far
        Distance from the box within which the distortion can be inverted, pixels.
    tolerance
        Of the positions, pixels.

    Returns
    -------
    stars, x, y
        The sources, and their columns and rows in the whole frame, 0-based.
    """
    x, y = wcs.wcs_world2pix(stars.ra, stars.dec, 0)
    stars = stars[within(box, x, y, far)]
    if len(stars):
        x, y = wcs.all_world2pix(stars.ra, stars.dec, 0, tolerance=tolerance)
        near = within(box, x, y, margin)
        stars, x, y = stars[near], x[near], y[near]
    return stars, x[: len(stars)], y[: len(stars)]


def add_images(image: np.ndarray, x: np.ndarray, y: np.ndarray, flux: np.ndarray, sigma: np.ndarray) -> None:
    """Add the images of point sources, integrated over pixels, in place.

    Parameters
    ----------
    image
        Rate of each pixel, float64.
    x, y
        Positions, 0-based pixels; may lie outside of the image.
    flux
        Rates of the sources, in the unit of the image.
    sigma
        Widths of the core of their images, pixels.
    """
    for share, size in ((1 - _HALO_SHARE, 1.0), (_HALO_SHARE, _HALO_SIZE)):
        for first in range(0, len(x), _BATCH):
            batch = slice(first, first + _BATCH)
            _add_gaussians(image, x[batch], y[batch], share * flux[batch], size * sigma[batch])


def _add_gaussians(image: np.ndarray, x: np.ndarray, y: np.ndarray, flux: np.ndarray, sigma: np.ndarray) -> None:
    reach = math.ceil(_REACH * sigma.max() + 0.5)
    pixels = np.arange(-reach, reach + 1)
    edges = np.append(pixels - 0.5, reach + 0.5)
    indices, weights = [], []
    for centre in (y, x):
        nearest = np.floor(centre + 0.5).astype(int)
        distance = nearest[:, np.newaxis] + edges - centre[:, np.newaxis]
        weights.append(np.diff(erf(distance / (math.sqrt(2) * sigma[:, np.newaxis]))) / 2)
        indices.append(nearest[:, np.newaxis] + pixels)
    light = (flux[:, np.newaxis] * weights[0])[:, :, np.newaxis] * weights[1][:, np.newaxis, :]
    add_stamps(image, indices[0], indices[1], light)


def add_stamps(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, light: np.ndarray) -> None:
    """Add small images, which may overlap and reach over the edge, in place.

    Parameters
    ----------
    image
        Light in each pixel, float64.
    rows, columns
        Rows and columns of each small image, shapes (images, rows) and (images, columns).
    light
        Their pixels, shape (images, rows, columns); those outside of the image are set to 0.
    """
    inside = [(index >= 0) & (index < length) for index, length in zip((rows, columns), image.shape, strict=True)]
    light *= inside[0][:, :, np.newaxis] & inside[1][:, np.newaxis, :]
    rows, columns = (np.clip(index, 0, length - 1) for index, length in zip((rows, columns), image.shape, strict=True))
    place = rows[:, :, np.newaxis] * image.shape[1] + columns[:, np.newaxis, :]
    image += np.bincount(place.ravel(), light.ravel(), image.size).reshape(image.shape)


@functools.cache
def _cells() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the limits of the cells, deg: west, east, south, north."""
    limits = []
    for south in range(-90, 90):
        cells = max(round(360 * math.cos(math.radians(south + 0.5))), 1)
        edges = np.linspace(0.0, 360.0, cells + 1)
        limits.append([edges[:-1], edges[1:], np.full(cells, float(south)), np.full(cells, south + 1.0)])
    west, east, south_edges, north_edges = (np.concatenate(parts) for parts in zip(*limits, strict=True))
    return west, east, south_edges, north_edges


def _stars_of_cell(cell: int, settings: Settings) -> Stars:
    west, east, south, north = (float(edge[cell]) for edge in _cells())
    low, high = math.sin(math.radians(south)), math.sin(math.radians(north))
    rng = settings.rng(Stream.SKY, cell)
    count = rng.poisson(_DENSITY * math.degrees(high - low) * (east - west))
    ra = rng.uniform(west, east, count)
    dec = np.degrees(np.arcsin(rng.uniform(low, high, count)))
    rarest = 10 ** (_SLOPE * (_BRIGHTEST - _FAINTEST))
    magnitude = _FAINTEST + np.log10(rng.uniform(rarest, 1.0, count)) / _SLOPE
    temperature = rng.uniform(3000.0, 9000.0, count)
    slope = rng.normal(1.0, 0.7, count)
    temperature[rng.uniform(size=count) < _GALAXIES] = np.inf
    stars = Stars(np.full(count, cell), np.arange(count), ra, dec, magnitude, temperature, slope)
    return stars[magnitude < limiting_magnitude(settings)]


_SCATTERED, _SCATTERED_WAVELENGTH, _SUN = 0.042, 1.25, 5800.0
"""Intensity of scattered sunlight at the ecliptic pole, MJy/sr, at a wavelength, um; temperature, K."""

_THERMAL, _THERMAL_WAVELENGTH, _DUST = 0.2, 4.9, 260.0
"""The same of the thermal emission of the dust."""

_DISC_THICKNESS = 0.06
_GRID = 9


def zodiacal_intensity(wavelength: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return the surface brightness of the zodiacal light.

    Sunlight scattered by dust and thermal emission of the dust, in a flat
    layer that is seen under the ecliptic latitude.

    Parameters
    ----------
    wavelength
        Wavelength, um.
    latitude
        Ecliptic latitude, deg.

    Returns
    -------
    intensity : `numpy.ndarray`
        In MJy/sr; shapes are broadcast.
    """
    spectrum = _SCATTERED * black_body(wavelength, _SUN, _SCATTERED_WAVELENGTH)
    spectrum = spectrum + _THERMAL * black_body(wavelength, _DUST, _THERMAL_WAVELENGTH)
    return spectrum / np.sqrt(np.sin(np.radians(latitude)) ** 2 + _DISC_THICKNESS)


def zodiacal_rate(wcs: WCS, detector: DetectorDescription, settings: Settings) -> np.ndarray:
    """Return the rate that the zodiacal light causes in each pixel.

    Parameters
    ----------
    wcs
        Celestial coordinates of the frame.
    detector
        Detector with its filter.
    settings
        The survey.

    Returns
    -------
    rate : `numpy.ndarray`
        In electron/s, shape (side, side).
    """
    nodes = np.linspace(0, settings.side - 1, _GRID)
    y, x = np.meshgrid(nodes, nodes, indexing="ij")
    latitude = wcs.pixel_to_world(x, y).transform_to(BarycentricMeanEcliptic()).lat.deg
    rows = np.arange(settings.side, dtype=float)
    latitude = RectBivariateSpline(nodes, nodes, latitude)(rows, rows)
    wavelength = wavelength_of_row(detector, rows, settings.side)[:, np.newaxis]
    jansky = 1e6 * zodiacal_intensity(wavelength, latitude) * pixel_solid_angle(settings)
    return electron_rate(jansky, detector, settings)
