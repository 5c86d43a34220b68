"""SPHEREx images in memory."""

from __future__ import annotations

__all__ = [
    "ARTEFACT_FLAGS",
    "BAD_PIXEL_PRESETS",
    "BadPixelPreset",
    "Box",
    "COMPONENTS",
    "ControlPoints",
    "Compass",
    "Cutout",
    "FLAG_DESCRIPTIONS",
    "FlagPlane",
    "FlagTable",
    "PSF_PLANES",
    "Plane",
    "PlaneWavelengths",
    "Psf",
    "SPHEREX_FLAGS",
    "SPHERExImage",
    "WCS_WAVE",
    "Wavelength",
    "WavelengthAxes",
    "ZODI_PLANE",
    "ZonePsf",
    "as_flags",
    "celestial_cards",
    "celestial_wcs",
    "chosen_flags",
    "draw_image",
    "frame_box",
    "frame_origin",
    "replace_celestial_wcs",
    "shift_header",
    "shifted_cards",
    "check_flag_names",
    "check_same_origin",
    "plane_unit",
    "proper_motion",
    "row_of",
    "wavelength_plane",
    "wavelengths_in",
    "zone_weights",
]

from .box import Box, Cutout, proper_motion
from .drawing import Compass, draw_image
from .flags import (
    ARTEFACT_FLAGS,
    BAD_PIXEL_PRESETS,
    FLAG_DESCRIPTIONS,
    SPHEREX_FLAGS,
    BadPixelPreset,
    FlagPlane,
    FlagTable,
    as_flags,
    check_flag_names,
    chosen_flags,
)
from .plane import Plane
from .psf import PSF_PLANES, Psf, ZonePsf, zone_weights
from .spherex_image import COMPONENTS, ZODI_PLANE, SPHERExImage
from .wavelength import (
    WCS_WAVE,
    ControlPoints,
    PlaneWavelengths,
    Wavelength,
    WavelengthAxes,
    plane_unit,
    row_of,
    wavelength_plane,
    wavelengths_in,
)
from .wcs import (
    celestial_cards,
    celestial_wcs,
    check_same_origin,
    frame_box,
    frame_origin,
    replace_celestial_wcs,
    shift_header,
    shifted_cards,
)
