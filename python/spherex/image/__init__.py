"""SPHEREx images in memory."""

from ._box import Box
from ._flags import SPHEREX_FLAGS, FlagPlane, FlagTable
from ._plane import Plane
from ._spherex_image import SPHERExImage
from ._wcs import replace_celestial_wcs, shifted_header

__all__ = [
    "SPHEREX_FLAGS",
    "Box",
    "FlagPlane",
    "FlagTable",
    "Plane",
    "SPHERExImage",
    "replace_celestial_wcs",
    "shifted_header",
]
