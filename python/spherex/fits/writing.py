"""From an image to a file."""

from __future__ import annotations

__all__ = ["write_product"]

import contextlib
import io
import os
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.units import Unit, UnitBase

from ..image import Plane, SPHERExImage, replace_celestial_wcs
from .flag_cards import write_flag_table
from .hdus import BLOCK
from .names import FLAGS, IMAGE, MASK, PRIMARY, UNIT_CARD, VARIANCE
from .recipes import Compression, WriteRecipe

# Cards that say how an array is stored; they follow from the array itself.
_STORAGE_CARDS = ("BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM")


def _own_hdus(image: SPHERExImage, recipe: WriteRecipe | None = None) -> fits.HDUList:
    """Lay the own planes of an image out as FITS HDUs.

    Parameters
    ----------
    image
        The image. It is not changed.
    recipe
        Compression of the planes; by default none.

    Returns
    -------
    hdus : `astropy.io.fits.HDUList`
        PRIMARY (header only), IMAGE, FLAGS, VARIANCE, MASK, each if the image
        has it. The further planes follow them in a file.

    Raises
    ------
    ValueError
        If the image holds something that the product has no place for.
    """
    recipe = recipe or WriteRecipe()
    if image.psf is not None:
        raise ValueError("A SPHERExImage keeps its PSF among its planes; .psf has no place in the file.")
    header = image.header.copy()
    if not image.wcs_is_in_header:
        replace_celestial_wcs(header, image.wcs)
    header[UNIT_CARD] = _unit_name(image.unit, header.get(UNIT_CARD))
    header.setdefault("EXTTYPE", "IMAGE")
    hdus = fits.HDUList([fits.PrimaryHDU(header=image.side_headers.get(PRIMARY))])
    hdus.append(_hdu(IMAGE, image.data, header, recipe.image))
    if image.flags is not None:
        header = image.side_headers.get(FLAGS, fits.Header()).copy()
        write_flag_table(header, image.flag_table)
        hdus.append(_hdu(FLAGS, image.flags, header, recipe.flags))
    if image.variance is not None:
        header = image.side_headers.get(VARIANCE, fits.Header()).copy()
        header[UNIT_CARD] = _unit_name(image.unit**2, header.get(UNIT_CARD))
        hdus.append(_hdu(VARIANCE, image.variance, header, recipe.variance))
    if image.mask is not None:
        mask = np.broadcast_to(image.mask, image.shape).astype(np.uint8)
        hdus.append(fits.ImageHDU(mask, name=MASK))
    return hdus


def write_product(
    image: SPHERExImage, path: str | os.PathLike[str], recipe: WriteRecipe | None = None, *, overwrite: bool = False
) -> None:
    """Write an image to a local file.

    Parameters
    ----------
    image
        The image.
    path
        Where to write.
    recipe
        Compression of the planes and checksums; by default neither.
    overwrite
        Whether an existing file is replaced.

    Raises
    ------
    OSError
        If the file cannot be written, or exists and may not be replaced.
    ValueError
        If the image holds something that the product has no place for.
    """
    recipe = recipe or WriteRecipe()
    hdus = _own_hdus(image, recipe)
    # astropy knows no mode "xb": the file is kept from being overwritten by the
    # flag behind that mode.
    exclusive = 0 if overwrite else os.O_EXCL
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | exclusive, 0o666)) as stream:
        hdus.writeto(stream, checksum=recipe.checksum)
        for name, plane in image.planes.items():
            stream.write(_plane_bytes(name, plane, recipe.checksum))


def _hdu(name: str, pixels: np.ndarray, header: fits.Header, compression: Compression | None) -> Any:
    for keyword in _STORAGE_CARDS:
        header.remove(keyword, ignore_missing=True)
    if compression is None:
        return fits.ImageHDU(pixels, header=header, name=name)
    options: dict[str, Any] = {"compression_type": compression.algorithm, "tile_shape": compression.tile}
    if np.issubdtype(pixels.dtype, np.floating):
        if compression.quantize_level is None:
            # A level of zero is how astropy is told not to round.
            options["quantize_level"] = 0.0
        else:
            options["quantize_level"] = compression.quantize_level
            options["quantize_method"] = 2
            options["dither_seed"] = -1
    return fits.CompImageHDU(pixels, header=header, name=name, **options)


def _plane_bytes(name: str, plane: Plane, checksum: bool) -> bytes:
    if plane.raw is not None and not checksum:
        return plane.raw
    hdu = plane.hdu
    if not hdu.name:
        hdu.name = name
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer, checksum=checksum)
    return buffer.getvalue()[BLOCK:]


def _unit_name(unit: UnitBase, name: str | None) -> str:
    """Return the unit as text; as the header has it if that means the same."""
    if name is not None and name.strip():
        with contextlib.suppress(ValueError):
            if Unit(name) == unit:
                return name
    return unit.to_string()
