"""Writer of a product, and the write recipes (compression, checksums)."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pydantic
from astropy.io import fits
from astropy.units import UnitBase

from spherex.headers import BUNIT, unit_name
from spherex.image import Plane, SPHERExImage, replace_celestial_wcs

from .arrays import DTYPES, filled
from .cards import CARD, Cards, CardValue, card_images, header_bytes, with_card
from .flag_names import with_flag_table
from .hdus import BLOCK, FLAGS, IMAGE, MASK, PRIMARY, PROVENANCE_STARTS, VARIANCE

if TYPE_CHECKING:
    from lsst.resources import ResourcePath


_LOSSLESS_FOR_FLOATS = ("GZIP_1", "GZIP_2")


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Compression(_Strict):
    """Tile compression of a plane (FITS standard 4.0, section 10)."""

    algorithm: Literal["GZIP_1", "GZIP_2", "RICE_1"]
    """Name of the algorithm as in ZCMPTYPE."""

    tile: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    """Rows and columns of a tile; by default a whole row. From square tiles a
    cutout is read without its whole rows.
    """

    quantize_level: pydantic.PositiveFloat | None = None
    """Rounding of floating point pixels, in steps per standard deviation of
    the noise (with subtractive dithering; NaN is kept). Loses information.
    """


class WriteRecipe(_Strict):
    """Way to write a product. Planes without an entry are not compressed."""

    image: Compression | None = None
    flags: Compression | None = None
    variance: Compression | None = None

    checksum: bool = False
    """Whether to add CHECKSUM and DATASUM cards to every HDU."""

    lossy: bool = False
    """Must be true for a recipe that loses information: a safeguard against mistakes."""

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
                raise ValueError(f"{name}: quantize_level loses information; add 'lossy: true' to allow it")
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
        If a recipe is wrong.
    """
    parsed = {}
    for name, content in recipes.items():
        try:
            parsed[name] = WriteRecipe.model_validate(dict(content or {}))
        except pydantic.ValidationError as error:
            reasons = "; ".join(
                f"{'.'.join(map(str, detail['loc'])) or name}: {detail['msg']}" for detail in error.errors()
            )
            raise RuntimeError(f"The write recipe {name!r} is wrong: {reasons}") from None
    return parsed


# Cards of the storage of an array; they are derived from the array.
_STORAGE_CARDS = {
    keyword.encode("ascii").ljust(8)
    for keyword in (
        *("SIMPLE", "XTENSION", "EXTEND", "GROUPS", "BITPIX", "NAXIS", *(f"NAXIS{axis}" for axis in range(1, 10))),
        *("PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM"),
    )
}
_BITPIX = {dtype.newbyteorder("="): bitpix for bitpix, dtype in DTYPES.items()}
# astropy shifts the types that FITS lacks by BZERO.
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
_PROVENANCE = tuple(f"HIERARCH {start}".encode("ascii") for start in PROVENANCE_STARTS)
# Pixels swapped and written at a time: they fit into the processor's cache.
_PIECE = 2**18


def write_product(
    image: SPHERExImage,
    path: str | os.PathLike[str] | ResourcePath,
    recipe: WriteRecipe | None = None,
    *,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write an image to a file.

    The HDUs are PRIMARY (header only), IMAGE, those of FLAGS, VARIANCE and
    MASK that the image has, and the further planes.

    Parameters
    ----------
    image
        The image. It is not changed.
    path
        Local path, or anything that `lsst.resources.ResourcePath` writes.
    recipe
        Compression of the planes and checksums; by default neither.
    overwrite
        Whether to replace an existing file.
    provenance
        Cards of the Butler's provenance, keywords without HIERARCH. They
        replace those of the file that the image was read from.

    Raises
    ------
    OSError
        If the file cannot be written, or exists and ``overwrite`` is false.
    ValueError
        If a part of the image cannot be written in a product.

    Examples
    --------
    >>> import spherex
    >>> image = spherex.read("image.fits", cut=(0, 20, 0, 10))
    >>> spherex.write(image, "part.fits", overwrite=True)
    >>> spherex.read("part.fits").shape
    (10, 20)
    """
    if not isinstance(path, str | os.PathLike) or "://" in str(path):
        from lsst.resources import ResourcePath

        uri = ResourcePath(str(path) if isinstance(path, os.PathLike) else path)
        if not uri.isLocal:
            with ResourcePath.temporary_uri(suffix=".fits") as temporary:
                write_product(image, temporary.ospath, recipe, provenance=provenance)
                uri.transfer_from(temporary, transfer="copy", overwrite=overwrite)
            return
        path = uri.ospath
    recipe = recipe or WriteRecipe()
    own = _own_planes(image, recipe, provenance)
    exclusive = 0 if overwrite else os.O_EXCL
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | exclusive, 0o666)) as stream:
        try:
            stream.write(_primary(image.extra_headers.get(PRIMARY), recipe.checksum))
            for name, pixels, cards, compression in own:
                _write_plane(stream, name, pixels, cards, compression, recipe.checksum)
            for name, plane in image.planes.items():
                _write_further_plane(stream, name, plane, recipe.checksum)
            stream.flush()
        except BaseException:
            # A truncated product would look like one without the later planes.
            os.unlink(path)
            raise


def _own_planes(
    image: SPHERExImage, recipe: WriteRecipe, provenance: Mapping[str, Any] | None
) -> list[tuple[str, np.ndarray, bytes, Compression | None]]:
    """Return name, pixels, cards and compression of the planes that every image may have."""
    if image.custom_psf is not None:
        raise ValueError("A SPHERExImage keeps its PSF among its planes; an array set as .psf cannot be written.")
    if reserved := image.planes.keys() & {PRIMARY, IMAGE, FLAGS, VARIANCE, MASK}:
        raise ValueError(
            f"A further plane cannot have the name {', '.join(sorted(reserved))}: it is reserved for the image itself."
        )
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
        cards = with_flag_table(image.extra_headers.get(FLAGS, b""), image.flag_table)
        own.append((FLAGS, image.flags, cards, recipe.flags))
    if image.variance is not None:
        cards = _with_unit(image.extra_headers.get(VARIANCE, b""), image.unit**2)
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
    """Return the primary HDU, without data."""
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
        raise ValueError(
            f"FITS cannot store numbers of type {pixels.dtype}; convert {name} to float32 or an integer type."
        )
    bitpix = _BITPIX.get(pixels.dtype.newbyteorder("="))
    if compression is None and not checksum and bitpix is not None:
        _write_pixels(stream, _structure(bitpix, pixels.shape) + cards, pixels)
        return
    header = fits.Header.fromstring(cards)
    if compression is None:
        hdu = fits.ImageHDU(pixels, header=header, name=name or None)
    else:
        options: dict[str, Any] = {"compression_type": compression.algorithm, "tile_shape": compression.tile}
        if np.issubdtype(pixels.dtype, np.floating):
            if compression.quantize_level is None:
                # Level zero: astropy does not round.
                options["quantize_level"] = 0.0
            else:
                options |= {"quantize_level": compression.quantize_level, "quantize_method": 2, "dither_seed": -1}
        hdu = fits.CompImageHDU(pixels, header=header, name=name, **options)
    stream.write(_through_astropy(hdu, checksum))


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
    """Return EXTNAME of a plane: that of its file, unless its key has changed."""
    return plane.hdu.name if plane.file_name == name else name


def _structure(bitpix: int, shape: tuple[int, ...]) -> bytes:
    """Return the cards of the structure of an image extension, in the order of the FITS standard."""
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
    """Write an image HDU, twice as fast as astropy, which swaps the bytes of the whole array and back."""
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
