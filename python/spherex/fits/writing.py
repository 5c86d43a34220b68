"""From an image to a file."""

from __future__ import annotations

__all__ = ["write_product"]

import contextlib
import io
import os
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.units import Unit, UnitBase

from ..image import Plane, SPHERExImage, replace_celestial_wcs
from .arrays import DTYPES
from .cards import CARD
from .flag_cards import write_flag_table
from .hdus import BLOCK
from .names import FLAGS, IMAGE, MASK, PRIMARY, UNIT_CARD, VARIANCE
from .recipes import Compression, WriteRecipe

# Cards that say how an array is stored; they follow from the array itself.
_STORAGE_CARDS = ("BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM")
_BITPIX = {dtype.newbyteorder("="): bitpix for bitpix, dtype in DTYPES.items()}
# Pixels that are swapped and written at a time: they stay in the processor's
# cache.
_PIECE = 2**18


def write_product(
    image: SPHERExImage, path: str | os.PathLike[str], recipe: WriteRecipe | None = None, *, overwrite: bool = False
) -> None:
    """Write an image to a local file.

    The HDUs are PRIMARY (header only), IMAGE, FLAGS, VARIANCE and MASK, each
    if the image has it, and the further planes.

    Parameters
    ----------
    image
        The image. It is not changed.
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
    own = _own_planes(image, recipe)
    exclusive = 0 if overwrite else os.O_EXCL
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | exclusive, 0o666)) as stream:
        stream.write(_through_astropy(None, recipe.checksum, image.side_headers.get(PRIMARY)))
        for name, pixels, header, compression in own:
            if compression is None and not recipe.checksum and _is_plain(pixels):
                _write_pixels(stream, _cards(name, pixels, header), pixels)
            else:
                stream.write(_through_astropy(_hdu(name, pixels, header, compression), recipe.checksum))
        for name, plane in image.planes.items():
            _write_plane(stream, name, plane, recipe.checksum)


def _own_planes(image: SPHERExImage, recipe: WriteRecipe) -> list[tuple[str, np.ndarray, Any, Compression | None]]:
    """Return name, pixels, header and compression of the planes that every image may have."""
    if image.psf is not None:
        raise ValueError("A SPHERExImage keeps its PSF among its planes; .psf has no place in the file.")
    header = image.header.copy()
    if not image.wcs_is_in_header:
        replace_celestial_wcs(header, image.wcs)
    header[UNIT_CARD] = _unit_name(image.unit, header.get(UNIT_CARD))
    header.setdefault("EXTTYPE", "IMAGE")
    own = [(IMAGE, image.data, header, recipe.image)]
    if image.flags is not None:
        header = image.side_headers.get(FLAGS, fits.Header()).copy()
        write_flag_table(header, image.flag_table)
        own.append((FLAGS, image.flags, header, recipe.flags))
    if image.variance is not None:
        header = image.side_headers.get(VARIANCE, fits.Header()).copy()
        header[UNIT_CARD] = _unit_name(image.unit**2, header.get(UNIT_CARD))
        own.append((VARIANCE, image.variance, header, recipe.variance))
    if image.mask is not None:
        mask = np.broadcast_to(image.mask, image.shape).astype(np.uint8)
        own.append((MASK, mask, fits.Header(), None))
    for _, _, header, _ in own:
        for keyword in _STORAGE_CARDS:
            header.remove(keyword, ignore_missing=True)
    return own


def _cards(name: str, pixels: np.ndarray, header: fits.Header) -> bytes:
    """Return the cards of an image extension, those that lay out its data first."""
    structure = [
        ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", _BITPIX[pixels.dtype.newbyteorder("=")], "array data type"),
        ("NAXIS", pixels.ndim, "number of array dimensions"),
        *((f"NAXIS{axis + 1}", size) for axis, size in enumerate(reversed(pixels.shape))),
        ("PCOUNT", 0, "number of parameters"),
        ("GCOUNT", 1, "number of groups"),
    ]
    written = {keyword for keyword, *_ in structure} | {"SIMPLE", "EXTEND", "GROUPS"}
    cards = [fits.Card(*card) for card in structure]
    cards += [card for card in header.cards if card.keyword not in written]
    if "EXTNAME" not in header:
        cards.append(fits.Card("EXTNAME", name, "extension name"))
    return "".join(card.image for card in cards).encode("ascii")


def _hdu(name: str, pixels: np.ndarray, header: fits.Header, compression: Compression | None) -> Any:
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


def _write_plane(stream: BinaryIO, name: str, plane: Plane, checksum: bool) -> None:
    if not checksum and plane.raw is not None:
        stream.write(plane.raw)
    elif not checksum and plane.unparsed is not None:
        _write_pixels(stream, *plane.unparsed)
    else:
        hdu = plane.hdu
        if not hdu.name:
            hdu.name = name
        # astropy has taken cards for scaled pixels out of the header.
        if type(hdu) is fits.ImageHDU and not checksum and hdu.data is not None and _is_plain(hdu.data):
            _write_pixels(stream, _cards(name, hdu.data, hdu.header), hdu.data)
            return
        stream.write(_through_astropy(hdu, checksum))


def _is_plain(pixels: np.ndarray) -> bool:
    """Return whether FITS has a type for these numbers, so that they need no BZERO."""
    return pixels.dtype.newbyteorder("=") in _BITPIX


def _write_pixels(stream: BinaryIO, cards: bytes, pixels: np.ndarray) -> None:
    """Write an image HDU, twice as fast as astropy, which swaps bytes back and forth."""
    cards += b"END".ljust(CARD)
    stream.write(cards + b" " * (-len(cards) % BLOCK))
    flat = np.ascontiguousarray(pixels).reshape(-1)
    swapped = np.empty(min(_PIECE, flat.size), pixels.dtype.newbyteorder(">"))
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        swapped[: piece.size] = piece
        stream.write(swapped[: piece.size].data)
    stream.write(b"\0" * (-pixels.nbytes % BLOCK))


def _through_astropy(hdu: Any, checksum: bool, primary: fits.Header | None = None) -> bytes:
    """Return the bytes of one HDU, or of the primary HDU if none is given."""
    first = fits.PrimaryHDU(header=primary)
    # The primary HDU says that extensions follow, here as in the whole file.
    first.header.setdefault("EXTEND", True)
    buffer = io.BytesIO()
    fits.HDUList([first] if hdu is None else [first, hdu]).writeto(buffer, checksum=checksum)
    return buffer.getvalue()[0 if hdu is None else _length(first) :]


def _length(hdu: fits.PrimaryHDU) -> int:
    return len(hdu.header.tostring())


def _unit_name(unit: UnitBase, name: str | None) -> str:
    """Return the unit as text; as the header has it if that means the same."""
    if name is not None and name.strip():
        with contextlib.suppress(ValueError):
            if Unit(name) == unit:
                return name
    return unit.to_string()
