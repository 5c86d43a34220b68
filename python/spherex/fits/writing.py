"""From an image to a file, and the recipes for that."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, Literal

import numpy as np
import pydantic
from astropy.io import fits
from astropy.units import UnitBase

from spherex.headers import BUNIT, unit_name
from spherex.image import Plane, SPHERExImage, replace_celestial_wcs

from .arrays import DTYPES, filled
from .cards import CARD, Cards, CardValue, card_images, header_bytes, with_card
from .flag_cards import with_flag_table
from .hdus import BLOCK, FLAGS, IMAGE, MASK, PRIMARY, PROVENANCE_PREFIX, VARIANCE

_LOSSLESS_FOR_FLOATS = ("GZIP_1", "GZIP_2")


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Compression(_Strict):
    """Tile compression of one plane (FITS standard 4.0, section 10)."""

    algorithm: Literal["GZIP_1", "GZIP_2", "RICE_1"]
    """Name of the algorithm as in ZCMPTYPE."""

    tile: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    """Rows and columns of a tile; a whole row if it is not given. Square tiles
    let a cutout be read without its whole rows.
    """

    quantize_level: pydantic.PositiveFloat | None = None
    """Steps per standard deviation of the noise that floating point pixels
    are rounded to (with subtractive dithering, NaN kept). Loses information.
    """


class WriteRecipe(_Strict):
    """How one product is written. Planes without an entry are written plain."""

    image: Compression | None = None
    flags: Compression | None = None
    variance: Compression | None = None

    checksum: bool = False
    """Whether every HDU gets CHECKSUM and DATASUM cards."""

    lossy: bool = False
    """Must be set for a recipe that loses information, so that none does by
    mistake.
    """

    @pydantic.model_validator(mode="after")
    def _loses_only_by_choice(self) -> WriteRecipe:
        for name in ("image", "variance"):
            plane: Compression | None = getattr(self, name)
            if plane is None:
                continue
            if plane.algorithm not in _LOSSLESS_FOR_FLOATS and plane.quantize_level is None:
                raise ValueError(
                    f"{name}: {plane.algorithm} compresses integers; floating point pixels need GZIP_1, GZIP_2 "
                    "or a quantize_level"
                )
            if plane.quantize_level is not None and not self.lossy:
                raise ValueError(f"{name}: quantize_level loses information; say 'lossy: true' if that is wanted")
        if self.flags is not None and self.flags.quantize_level is not None:
            raise ValueError("flags: a quantize_level would destroy flags")
        return self


def parse_recipes(recipes: Mapping[str, Any]) -> dict[str, WriteRecipe]:
    """Check the recipes of a configuration.

    Parameters
    ----------
    recipes
        Content of a ``write_recipes`` section, by recipe name.

    Raises
    ------
    RuntimeError
        If one is wrong, with its name and what is wrong.
    """
    parsed = {}
    for name, content in recipes.items():
        try:
            parsed[name] = WriteRecipe.model_validate(dict(content or {}))
        except pydantic.ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, one['loc'])) or name}: {one['msg']}" for one in error.errors())
            raise RuntimeError(f"The write recipe {name!r} is wrong: {reasons}") from None
    return parsed


# Cards that say how an array is stored; they follow from the array itself.
_STORAGE_CARDS = {
    keyword.encode("ascii").ljust(8)
    for keyword in (
        *("SIMPLE", "XTENSION", "EXTEND", "GROUPS", "BITPIX", "NAXIS", *(f"NAXIS{axis}" for axis in range(1, 10))),
        *("PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM"),
    )
}
_BITPIX = {dtype.newbyteorder("="): bitpix for bitpix, dtype in DTYPES.items()}
# Beyond the types that FITS has, astropy shifts these by BZERO.
_WRITABLE = {*_BITPIX, *(np.dtype(name) for name in ("i1", "u2", "u4", "u8"))}
_EMPTY_PRIMARY = b"".join(
    card.ljust(CARD)
    for card in (
        b"SIMPLE  =                    T / conforms to FITS standard",
        b"BITPIX  =                    8 / array data type",
        b"NAXIS   =                    0 / number of array dimensions",
        b"EXTEND  =                    T",
    )
)
_PROVENANCE = f"HIERARCH {PROVENANCE_PREFIX} ".encode("ascii")
# Pixels that are swapped and written at a time: they stay in the processor's
# cache.
_PIECE = 2**18


def write_product(
    image: SPHERExImage,
    path: str | os.PathLike[str],
    recipe: WriteRecipe | None = None,
    *,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
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
    provenance
        Cards of the Butler's provenance, keywords without HIERARCH. They take
        the place of those that the image came with.

    Raises
    ------
    OSError
        If the file cannot be written, or exists and may not be replaced.
    ValueError
        If the image holds something that the product has no place for.
    """
    recipe = recipe or WriteRecipe()
    own = _own_planes(image, recipe, provenance)
    exclusive = 0 if overwrite else os.O_EXCL
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | exclusive, 0o666)) as stream:
        try:
            stream.write(_primary(image.side_cards.get(PRIMARY), recipe.checksum))
            for name, pixels, cards, compression in own:
                _write_plane(stream, name, pixels, cards, compression, recipe.checksum)
            for name, plane in image.planes.items():
                _write_further_plane(stream, name, plane, recipe.checksum)
            stream.flush()
        except BaseException:
            # Half a product might pass for one that lacks a plane.
            os.unlink(path)
            raise


def _own_planes(
    image: SPHERExImage, recipe: WriteRecipe, provenance: Mapping[str, Any] | None
) -> list[tuple[str, np.ndarray, bytes, Compression | None]]:
    """Return name, pixels, cards and compression of the planes that every image may have."""
    if image.foreign_psf is not None:
        raise ValueError(
            "A SPHERExImage keeps its PSF among its planes; one that is set as .psf has no place in the file."
        )
    if reserved := image.planes.keys() & {PRIMARY, IMAGE, FLAGS, VARIANCE, MASK}:
        raise ValueError(f"A further plane cannot be called {', '.join(sorted(reserved))}: the image itself has that.")
    header = image.header
    if not image.wcs_is_in_header:
        header = header.copy()
        replace_celestial_wcs(header, image.wcs)
    cards = header_bytes(header)
    if provenance is not None:
        kept = [card for card in card_images(cards) if not card.startswith(_PROVENANCE)]
        cards = b"".join(kept) + b"".join(_provenance_card(*item) for item in provenance.items())
    cards = _with_unit(cards, image.unit)
    if "EXTTYPE" not in Cards(cards):
        cards = with_card(cards, "EXTTYPE", IMAGE)
    own = [(IMAGE, image.data, cards, recipe.image)]
    if image.flags is not None:
        cards = with_flag_table(image.side_cards.get(FLAGS, b""), image.flag_table)
        own.append((FLAGS, image.flags, cards, recipe.flags))
    if image.variance is not None:
        cards = _with_unit(image.side_cards.get(VARIANCE, b""), image.unit**2)
        own.append((VARIANCE, image.variance, cards, recipe.variance))
    if image.mask is not None:
        own.append((MASK, np.broadcast_to(image.mask, image.shape).astype(np.uint8), b"", None))
    return own


def _with_unit(cards: bytes, unit: UnitBase) -> bytes:
    return with_card(cards, BUNIT, unit_name(unit, str(Cards(cards).get(BUNIT, "")).strip()))


def _provenance_card(keyword: str, value: CardValue) -> bytes:
    text = f"'{value}'" if isinstance(value, str) else str(value)
    image = f"HIERARCH {keyword} = {text}"
    if type(value) in (str, int) and len(image) <= CARD and image.isascii() and image.count("'") in (0, 2):
        return image.ljust(CARD).encode("ascii")
    return fits.Card(f"HIERARCH {keyword}", value).image.encode("ascii")


def _primary(cards: bytes | None, checksum: bool) -> bytes:
    """Return the primary HDU, which holds no data."""
    if cards is None or Cards(cards).get("NAXIS") != 0:
        cards = _EMPTY_PRIMARY
    if not checksum:
        return filled(cards + b"END".ljust(CARD), b" ")
    return _through_astropy(fits.PrimaryHDU(header=fits.Header.fromstring(cards)), checksum)


def _write_plane(
    stream: BinaryIO, name: str, pixels: np.ndarray, cards: bytes, compression: Compression | None, checksum: bool
) -> None:
    cards = b"".join(card for card in card_images(cards) if card[:8] not in _STORAGE_CARDS)
    if name:
        cards = with_card(cards, "EXTNAME", name, "extension name")
    if pixels.dtype.newbyteorder("=") not in _WRITABLE:
        raise ValueError(f"FITS has no numbers of type {pixels.dtype}; convert {name} to float32 or an integer type.")
    bitpix = _BITPIX.get(pixels.dtype.newbyteorder("="))
    if compression is None and not checksum and bitpix is not None:
        _write_pixels(stream, _structure(bitpix, pixels.shape) + cards, pixels)
        return
    header = fits.Header.fromstring(cards)
    if compression is None:
        hdu = fits.ImageHDU(pixels, header=header, name=name or None)
    else:
        hdu = fits.CompImageHDU(pixels, header=header, name=name, **_options(pixels, compression))
    stream.write(_through_astropy(hdu, checksum))


def _options(pixels: np.ndarray, compression: Compression) -> dict[str, Any]:
    options: dict[str, Any] = {"compression_type": compression.algorithm, "tile_shape": compression.tile}
    if np.issubdtype(pixels.dtype, np.floating):
        if compression.quantize_level is None:
            # A level of zero is how astropy is told not to round.
            options["quantize_level"] = 0.0
        else:
            options["quantize_level"] = compression.quantize_level
            options["quantize_method"] = 2
            options["dither_seed"] = -1
    return options


def _write_further_plane(stream: BinaryIO, name: str, plane: Plane, checksum: bool) -> None:
    if not checksum and plane.raw is not None and plane.file_name in (None, name):
        stream.write(plane.raw)
    elif not checksum and plane.unparsed is not None and plane.file_name in (None, name):
        _write_pixels(stream, *plane.unparsed)
    elif type(plane.hdu) is fits.ImageHDU and plane.hdu.data is not None:
        _write_plane(stream, _extname(plane, name), plane.hdu.data, header_bytes(plane.hdu.header), None, checksum)
    else:
        hdu = plane.hdu.copy()
        if extname := _extname(plane, name):
            hdu.name = extname
        stream.write(_through_astropy(hdu, checksum))


def _extname(plane: Plane, name: str) -> str:
    """Return EXTNAME of a plane: that of its file, unless it has got another key since."""
    return plane.hdu.name if plane.file_name == name else name


def _structure(bitpix: int, shape: tuple[int, ...]) -> bytes:
    """Return the cards that lay out an image extension, in the order that FITS wants."""
    axes = [(f"NAXIS{axis}", size, "") for axis, size in enumerate(reversed(shape), start=1)]
    cards = ["XTENSION= 'IMAGE   '           / Image extension"]
    for keyword, value, comment in (
        ("BITPIX", bitpix, " / array data type"),
        ("NAXIS", len(shape), " / number of array dimensions"),
        *axes,
        ("PCOUNT", 0, " / number of parameters"),
        ("GCOUNT", 1, " / number of groups"),
    ):
        cards.append(f"{keyword:8}= {value:20}{comment}")
    return "".join(card.ljust(CARD) for card in cards).encode("ascii")


def _write_pixels(stream: BinaryIO, cards: bytes, pixels: np.ndarray) -> None:
    """Write an image HDU, twice as fast as astropy, which swaps bytes back and forth."""
    stream.write(filled(cards + b"END".ljust(CARD), b" "))
    flat = np.ascontiguousarray(pixels).reshape(-1)
    swapped = np.empty(min(_PIECE, flat.size), pixels.dtype.newbyteorder(">"))
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        swapped[: piece.size] = piece
        stream.write(swapped[: piece.size].data)
    stream.write(b"\0" * (-pixels.nbytes % BLOCK))


def _through_astropy(hdu: Any, checksum: bool) -> bytes:
    """Return the bytes of one HDU as astropy writes it."""
    hdus = fits.HDUList([hdu] if isinstance(hdu, fits.PrimaryHDU) else [fits.PrimaryHDU(), hdu])
    buffer = io.BytesIO()
    hdus.writeto(buffer, checksum=checksum)
    return buffer.getvalue()[0 if hdus[0] is hdu else BLOCK :]
