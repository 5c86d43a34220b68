"""SPHEREx images in memory."""

from __future__ import annotations

__all__ = [
    "BAD_PIXEL_PRESETS",
    "BadPixelPreset",
    "Box",
    "COMPONENTS",
    "Cutout",
    "FlagPlane",
    "FlagTable",
    "KNOWN_FLAGS",
    "PSF_PLANES",
    "Plane",
    "PlaneWavelengths",
    "Psf",
    "SPHEREX_FLAGS",
    "SPHERExImage",
    "WCS_WAVE",
    "Wavelength",
    "ZODI_PLANE",
    "ZonePsf",
    "celestial_cards",
    "celestial_wcs",
    "frame_box",
    "frame_origin",
    "replace_celestial_wcs",
    "shift_header",
    "shifted_cards",
    "plane_unit",
    "wavelength_plane",
    "wavelengths_in",
    "zone_weights",
]

from .box import Box, Cutout
from .flags import BAD_PIXEL_PRESETS, KNOWN_FLAGS, SPHEREX_FLAGS, BadPixelPreset, FlagPlane, FlagTable
from .plane import Plane
from .psf import PSF_PLANES, Psf, ZonePsf, zone_weights
from .spherex_image import COMPONENTS, ZODI_PLANE, SPHERExImage
from .wavelength import WCS_WAVE, PlaneWavelengths, Wavelength, plane_unit, wavelength_plane, wavelengths_in
from .wcs import (
    celestial_cards,
    celestial_wcs,
    frame_box,
    frame_origin,
    replace_celestial_wcs,
    shift_header,
    shifted_cards,
)
