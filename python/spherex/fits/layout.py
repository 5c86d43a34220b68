"""What the HDUs of a product have to be like before any pixel is read."""

from __future__ import annotations

__all__ = ["OWN_HDUS", "check_layout"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import ProductError
from .names import FLAGS, IMAGE, MASK, VARIANCE

if TYPE_CHECKING:
    from .hdus import HDUInfo

OWN_HDUS = (IMAGE, FLAGS, VARIANCE, MASK)
"""HDUs of which a product has one at most; all have the shape of the image."""


def check_layout(hdus: Sequence[HDUInfo]) -> None:
    """Check HDUs that were found, all of a file or the first ones.

    Parameters
    ----------
    hdus
        In the order of the file.

    Raises
    ------
    ProductError
        Raised if no image can be made of them: the primary HDU holds pixels,
        there are two of one name, or shapes differ.
    """
    if hdus[0].shape:
        raise ProductError("its primary HDU holds pixels, for which a product has no place")
    own: dict[str, HDUInfo] = {}
    for hdu in hdus[1:]:
        if hdu.name in OWN_HDUS and own.setdefault(hdu.name, hdu) is not hdu:
            raise ProductError(f"it has two HDUs {hdu.name}")
    image = own.get(IMAGE)
    if image is None:
        return
    for name, hdu in own.items():
        if hdu.image_shape != image.image_shape:
            raise ProductError(
                f"its HDU {name} has {_size(hdu.image_shape)} pixels, its HDU {IMAGE} {_size(image.image_shape)}"
            )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, reversed(shape))) or "no"
