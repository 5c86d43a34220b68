"""One Level 2 image and the truth about it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math

import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic
from astropy.io import fits
from astropy.table import Column, Table, vstack
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline

from spherex.archive import Level2Name
from spherex.detectors import FRAME_SIDE, PIXEL_SCALE
from spherex.fits import WCS_WAVE, header_bytes
from spherex.image import Box, FlagPlane, FlagTable, Plane, SPHERExImage

from ..detector import DetectorState, add_cosmic_rays, detector_state, measure, within
from ..pointing import Pointing, celestial_wcs, pointing_of
from ..settings import Settings, Stream
from ..sky import zodiacal_intensity
from ..telescope import WavelengthTable, detector_description, electron_rate
from .headers import level2_headers
from .psf import drawing_of, psf_plane
from .releases import Level2Settings
from .sources import draw_sources, source_table, sources_near

MICROJANSKY_PER_MJY = 1e12 * math.radians(1 / 3600) ** 2
"""uJy in a pixel of 1 arcsec2 under a surface brightness of 1 MJy/sr."""

_ZODI_ERROR = 0.02  # of the scale of the model
_AIRGLOW = 0.3  # MJy/sr, at most
_SIGNIFICANT = 5.0  # standard deviations; a hit above is an outlier
_LATER = datetime.timedelta(milliseconds=1)


@dataclasses.dataclass(frozen=True)
class Level2Frame:
    """One Level 2 image.

    Parameters
    ----------
    name
        The archive's name.
    image
        Image in MJy/sr with all planes.
    sources
        The sources in the image and their fluxes.
    """

    name: Level2Name
    image: SPHERExImage
    sources: Table


def simulate_level2(settings: Level2Settings, exposure: int, detector: int) -> Level2Frame | None:
    """Simulate the Level 2 image of one detector in one exposure.

    Parameters
    ----------
    settings
        What to simulate.
    exposure
        Number of the exposure, 0-based.
    detector
        Detector number, 1 to 6.

    Returns
    -------
    frame : `Level2Frame` or `None`
        `None` if the settings have a position that this detector does not see.

    Raises
    ------
    ValueError
        If the detector or the exposure does not exist.
    """
    description = detector_description(detector)
    survey, release = settings.survey, settings.release
    rng = survey.rng(Stream.LEVEL2, exposure, detector)
    pointing = _of_detector(pointing_of(survey, exposure), rng)
    wcs = celestial_wcs(pointing, detector, survey)
    box = _box(settings, wcs)
    if box is None:
        return None
    wavelengths = release.wavelengths(detector)
    drawing = drawing_of(detector, release.effective_psf)
    solid_angle = solid_angle_of(wcs)
    omega = solid_angle.over(box)
    zodi_scale = float(rng.normal(1.0, _ZODI_ERROR))
    zodi, glow = diffuse_light(wcs, wavelengths, box, float(rng.uniform(0.0, _AIRGLOW)))

    starlight = np.zeros(box.shape)
    given = [] if settings.sources is None else [settings.sources]
    near = sources_near(wcs, box, drawing.reach + 1, survey, given, settings.with_stars)
    tables = [draw_sources(starlight, drawing, wavelengths, box, *group) for group in near]
    starlight /= omega * MICROJANSKY_PER_MJY
    state = _state(survey, detector)
    response, dark = state.response[box.slices], state.dark[box.slices]
    per_intensity = electron_rate(omega * (MICROJANSKY_PER_MJY * 1e-6), description, survey)
    dead = np.isnan(response)
    current = (starlight + zodi + glow) * per_intensity * response + dark
    measured = measure(np.where(dead, 0.0, current), rng)
    hit = add_cosmic_rays(measured.rate, rng)
    variance = (measured.apparent_variance / per_intensity**2).astype(np.float32)
    pixels = ((measured.rate - np.where(dead, 0.0, dark)) / per_intensity).astype(np.float32)
    flags = fixed_flags(state, box, detector, release.flags, rng)
    for flag, where in (
        ("TRANSIENT", hit),
        ("OVERFLOW", measured.overflow),
        ("SOURCE", starlight**2 > measured.variance / per_intensity**2),
        ("OUTLIER", hit & (pixels - starlight - zodi - glow > _SIGNIFICANT * np.sqrt(variance))),
    ):
        flags[where] |= release.flags.bits(flag)
    pixels[dead] = variance[dead] = np.nan

    name = settings.name_of(exposure, detector)
    flag_plane = FlagPlane(flags, release.flags)
    headers = level2_headers(
        settings,
        pointing,
        detector,
        box,
        flag_plane,
        solid_angle=solid_angle.median_and_deviation,
        fwhm=drawing.model.fwhm,
        matched=sum(len(table) for table in tables),
    )
    model = fits.ImageHDU((zodi_scale * zodi).astype(np.float32), header=headers["ZODI"])
    psf = psf_plane(detector, release, wavelengths)
    image = SPHERExImage(
        pixels,
        unit="MJy/sr",
        variance=variance,
        flags=flag_plane,
        header=headers["IMAGE"],
        planes={"ZODI": Plane(model), psf.name: Plane(psf), WCS_WAVE: Plane(wavelengths.hdu())},
        extra_headers={name: header_bytes(headers[name]) for name in ("PRIMARY", "FLAGS", "VARIANCE")},
    )
    sources = vstack(tables, metadata_conflicts="silent") if tables else source_table()
    sources["solid_angle"] = Column(
        solid_angle.at(sources["x"] + box.x0, sources["y"] + box.y0).round(6),
        unit="arcsec2",
        description="Solid angle of the pixel there",
    )
    sources.meta = {
        "image": str(name),
        "exposure": exposure,
        "detector": detector,
        "seed": survey.seed,
        "origin": [box.x0, box.y0],
        "zodi_scale": round(zodi_scale, 6),
    }
    return Level2Frame(name, image, sources)


@functools.lru_cache(maxsize=6)
def _state(survey: Settings, detector: int) -> DetectorState:
    state = detector_state(survey, detector)
    # All detectors are kept, in half the memory.
    return dataclasses.replace(state, dark=state.dark.astype(np.float32), response=state.response.astype(np.float32))


def _of_detector(pointing: Pointing, rng: np.random.Generator) -> Pointing:
    """Return a pointing with the times of one detector: some are read a millisecond later."""
    shift = _LATER * int(rng.integers(0, 2))
    times = {name: getattr(pointing, name) + shift for name in ("begin", "middle", "end")}
    return dataclasses.replace(pointing, **times)


def _box(settings: Level2Settings, wcs: WCS) -> Box | None:
    side = settings.side
    if settings.centre is None:
        corner = (FRAME_SIDE - side) // 2
        return Box(corner, corner + side, corner, corner + side)
    middle = wcs.pixel_to_world((FRAME_SIDE - 1) / 2, (FRAME_SIDE - 1) / 2)
    ra, dec = settings.centre
    target = type(middle)(ra, dec, unit="deg")
    if middle.separation(target).deg > FRAME_SIDE * PIXEL_SCALE / 3600:
        return None
    x, y = wcs.wcs_world2pix(ra, dec, 0)
    whole = Box(0, FRAME_SIDE, 0, FRAME_SIDE)
    if not within(whole, x, y, side):
        return None
    x, y = wcs.all_world2pix(ra, dec, 0, tolerance=1e-7)
    if not within(whole, x, y):
        return None
    column, row = (math.floor(place + 0.5) - side // 2 for place in (float(x), float(y)))
    return Box(column, column + side, row, row + side).clipped((FRAME_SIDE, FRAME_SIDE))


_NODES = 33
_ARCSEC2_PER_STERADIAN = math.degrees(3600.0) ** 2
_AIRGLOW_LINE = 1.083  # um, helium
_EVERY = 8  # pixels, for the statistics of the solid angle


@dataclasses.dataclass(frozen=True)
class SolidAngle:
    """Solid angles of the pixels of a frame.

    They depend on the detector, not on the pointing.
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
    """Return the solid angles of the pixels of a frame.

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
    """Return the diffuse light.

    Parameters
    ----------
    wcs
        Celestial coordinates of the whole frame.
    wavelengths
        Wavelength of each pixel.
    box
        Part of the frame.
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
    glow = airglow * np.exp(-4 * math.log(2) * ((wavelength - _AIRGLOW_LINE) / bandwidth) ** 2)
    rows, columns = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
    of_zodi, of_glow = (RectBivariateSpline(nodes, nodes, plane, kx=1, ky=1)(rows, columns) for plane in (zodi, glow))
    return of_zodi, of_glow


_PERSISTENT = 1e-3  # share of the pixels
_FULLY_SAMPLED = 240
_DICHROIC_ROWS = {3: slice(0, 54), 4: slice(FRAME_SIDE - 40, FRAME_SIDE)}


def fixed_flags(
    state: DetectorState, box: Box, detector: int, table: FlagTable, rng: np.random.Generator
) -> np.ndarray:
    """Return the flags that do not depend on the light.

    Parameters
    ----------
    state
        Fixed pattern of the whole detector. HOT, COLD and NONFUNC have the
        same bits in all releases.
    box
        Part of the frame.
    detector
        Detector number.
    table
        Names of the flags.
    rng
        Source of the pixels with persistence of an earlier exposure.
    """
    flags = state.flags[box.slices].copy()
    dichroic = np.zeros(FRAME_SIDE, dtype=bool)
    dichroic[_DICHROIC_ROWS.get(detector, slice(0))] = True
    flags[dichroic[box.y0 : box.y1]] |= table.bits("DICHROIC")
    flags[rng.uniform(size=flags.shape) < _PERSISTENT] |= table.bits("PERSIST")
    places = np.random.default_rng(detector).integers(0, FRAME_SIDE, (2, _FULLY_SAMPLED))
    y, x = places[:, within(box, places[1], places[0])]
    flags[y - box.y0, x - box.x0] |= table.bits("FULLSAMPLE")
    return flags
