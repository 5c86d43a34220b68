"""SPHEREx images in memory."""

from ._box import Box
from ._flags import SPHEREX_FLAGS, FlagPlane, FlagTable
from ._plane import Plane
from ._spherex_image import SPHERExImage
from ._wcs import celestial_cards, celestial_wcs, replace_celestial_wcs, shift_header, shifted_cards

__all__ = [
    "SPHEREX_FLAGS",
    "Box",
    "FlagPlane",
    "FlagTable",
    "Plane",
    "SPHERExImage",
    "celestial_cards",
    "celestial_wcs",
    "replace_celestial_wcs",
    "shift_header",
    "shifted_cards",
]
