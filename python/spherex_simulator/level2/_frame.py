"""One Level 2 image and the truth about it."""

from __future__ import annotations

__all__ = ["Level2Frame", "simulate_level2"]

import dataclasses
import datetime
import functools
import math

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table, vstack
from astropy.wcs import WCS

from spherex.archive import Level2Name
from spherex.detectors import DETECTORS, FRAME_SIDE
from spherex.fits import WCS_WAVE, header_bytes
from spherex.image import Box, FlagPlane, Plane, SPHERExImage

from .._astrometry import celestial_cards
from .._detector import DetectorState, add_cosmic_rays, detector_state
from .._pointing import Pointing, pointing_of
from .._ramp import measure
from .._settings import Settings, Stream
from .._telescope import PIXEL, electron_rate
from ._drawing import drawing_of
from ._flags import fixed_flags
from ._header import ImageFacts, flags_header, image_header, plane_header, primary_header
from ._planes import psf_plane
from ._settings import Level2Settings
from ._sky import diffuse_light, solid_angle_of, sources_near, within
from ._truth import draw_sources, source_table
from ._wavelength import wavelength_table

MICROJANSKY_PER_MJY = 1e12 * math.radians(1 / 3600) ** 2
"""uJy in a pixel of 1 arcsec2 under a surface brightness of 1 MJy/sr."""

_ZODI_ERROR = 0.02  # of the scale of the model
_AIRGLOW = 0.3  # MJy/sr, at most
_SIGNIFICANT = 5.0  # standard deviations from where a hit is an outlier
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
        Nothing if a cutout around a position is wanted that this detector
        does not see.

    Raises
    ------
    ValueError
        If there is no such detector or exposure.
    """
    if not 1 <= detector <= len(DETECTORS):
        raise ValueError(f"There is no detector {detector}; SPHEREx has the detectors 1 to {len(DETECTORS)}.")
    if exposure < 0:
        raise ValueError(f"Exposures are numbered from 0; there is none with number {exposure}.")
    survey, release = settings.survey, settings.release
    rng = survey.rng(Stream.LEVEL2, exposure, detector)
    pointing = _of_detector(pointing_of(survey, exposure), rng)
    celestial = celestial_cards(pointing, detector, survey)
    wcs = WCS(fits.Header(celestial), naxis=2)
    box = _box(settings, wcs)
    if box is None:
        return None
    description = DETECTORS[detector - 1]
    wavelengths = wavelength_table(detector, release.wavelength_points)
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
    facts = ImageFacts(
        name=name,
        release=release,
        pointing=pointing,
        box=box,
        celestial=celestial,
        flags=FlagPlane(flags, release.flags),
        solid_angle=solid_angle.median_and_deviation,
        fwhm=drawing.model.fwhm,
        matched=sum(len(table) for table in tables),
    )
    model = fits.ImageHDU((zodi_scale * zodi).astype(np.float32), header=plane_header(facts, "ZODI", "MJy / sr"))
    psf = psf_plane(detector, release, wavelengths)
    image = SPHERExImage(
        pixels,
        unit="MJy/sr",
        variance=variance,
        flags=facts.flags,
        header=image_header(facts),
        planes={"ZODI": Plane(model), psf.name: Plane(psf), WCS_WAVE: Plane(wavelengths.hdu())},
        extra_headers={
            "PRIMARY": header_bytes(primary_header(release)),
            "FLAGS": header_bytes(flags_header(facts)),
            "VARIANCE": header_bytes(plane_header(facts, "VARIANCE", "MJy2 / sr2")),
        },
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
    """Return a pointing with the times of one detector, of which some are read a little later."""
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
    if middle.separation(target).deg > FRAME_SIDE * PIXEL / 3600:
        return None
    x, y = wcs.wcs_world2pix(ra, dec, 0)
    whole = Box(0, FRAME_SIDE, 0, FRAME_SIDE)
    if not within(whole, x, y, side):
        return None
    x, y = wcs.all_world2pix(ra, dec, 0, tolerance=1e-7)
    if not within(whole, x, y, 0):
        return None
    column, row = (math.floor(place + 0.5) - side // 2 for place in (float(x), float(y)))
    return Box(column, column + side, row, row + side).clipped((FRAME_SIDE, FRAME_SIDE))
