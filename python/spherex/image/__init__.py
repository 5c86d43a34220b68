"""SPHEREx images in memory."""

from ._bad_pixels import BAD_PIXEL_PRESETS, BadPixelPreset
from ._box import Box
from ._cutout import Cutout
from ._flags import KNOWN_FLAGS, SPHEREX_FLAGS, FlagPlane, FlagTable
from ._parts import ZODI_PLANE
from ._plane import Plane
from ._psf import PSF_PLANES, Psf
from ._spherex_image import SPHERExImage
from ._wavelength import Wavelength, wavelength_plane
from ._wcs import (
    celestial_cards,
    celestial_wcs,
    frame_box,
    frame_origin,
    replace_celestial_wcs,
    shift_header,
    shifted_cards,
)
from ._zones import ZonePsf, zone_weights

__all__ = [
    "BAD_PIXEL_PRESETS",
    "PSF_PLANES",
    "KNOWN_FLAGS",
    "SPHEREX_FLAGS",
    "ZODI_PLANE",
    "BadPixelPreset",
    "Box",
    "Cutout",
    "FlagPlane",
    "FlagTable",
    "Plane",
    "Psf",
    "SPHERExImage",
    "Wavelength",
    "ZonePsf",
    "celestial_cards",
    "celestial_wcs",
    "frame_box",
    "frame_origin",
    "replace_celestial_wcs",
    "shift_header",
    "shifted_cards",
    "wavelength_plane",
    "zone_weights",
]
