"""Reader of a product: the whole image, a cutout, or one component."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.units import Quantity, UnitBase, UnitConversionError, dimensionless_unscaled

from spherex.archive import CalibrationReference, calibration_references
from spherex.errors import ProductError, RemoteError, first_line
from spherex.headers import BUNIT, bunit_of, version_of
from spherex.image import (
    COMPONENTS,
    PSF_PLANES,
    ZODI_PLANE,
    Box,
    Cutout,
    FlagPlane,
    Plane,
    Psf,
    SPHERExImage,
    Wavelength,
    as_flags,
    celestial_cards,
    celestial_wcs,
    frame_box,
    frame_origin,
    shift_header,
    shifted_cards,
    wavelength_plane,
)

from .arrays import hdu_bytes, open_hdu, prefetch_box, read_array
from .byte_sources import ByteSource, open_source
from .cards import header_bytes
from .flag_names import flag_table_of
from .hdus import FLAGS, IMAGE, MASK, OWN_HDUS, PRIMARY, VARIANCE, HDUInfo, check_layout, scan_hdus

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS
    from lsst.resources import ResourcePath


_EXTRA_HEADERS = (PRIMARY, FLAGS, VARIANCE)


class ProductFile:
    """Open product that reads only the HDUs and rows it needs.

    HDUs are found by name, not by position. There is one method for each of
    `spherex.image.COMPONENTS`. Every method raises `ProductError` if the file
    is damaged or does not contain the part, and `ValueError` if no pixel of
    the cut is in the image.

    Parameters
    ----------
    source
        The file.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._hdus: list[HDUInfo] = []
        self._compressed: dict[int, tuple[Any, fits.Header]] = {}

    def _hdu(self, *names: str) -> HDUInfo:
        """Return the first HDU with one of the names."""
        # The scan ends at the HDU that is wanted.
        hdu = self._find(*names)
        if hdu is None:
            self._hdus = scan_hdus(self._source, last=names[0] if len(names) == 1 else None)
            hdu = self._find(*names)
        if hdu is None:
            found = ", ".join(hdu.name or "(unnamed)" for hdu in self._hdus)
            raise ProductError(f"it has no HDU {' or '.join(names)}; it has {found}")
        return hdu

    def _find(self, *names: str) -> HDUInfo | None:
        return next((hdu for hdu in self._hdus if hdu.name in names), None)

    def _opened(self, hdu: HDUInfo) -> tuple[Any, fits.Header]:
        """Return a compressed HDU and its header; to open it takes as long as to read a small cut of it."""
        if hdu.index not in self._compressed:
            opened = open_hdu(self._source, hdu)
            # astropy changes the header when it reads the data.
            self._compressed[hdu.index] = opened, opened.header.copy()
        return self._compressed[hdu.index]

    def _pixels(self, hdu: HDUInfo, box: Box | None, fill: Any = None) -> np.ndarray:
        opened = self._opened(hdu)[0] if hdu.kind == "compressed" else None
        return read_array(self._source, hdu, box, fill, opened=opened)

    def _box(self, cut: Box | Cutout | None, shape: tuple[int, ...]) -> Box | None:
        if cut is None or isinstance(cut, Box):
            return None if cut is None else cut.clipped(shape)
        return cut.resolve(shape, self.wcs)

    def component(self, name: str, cut: Box | Cutout | None = None) -> Any:
        """Return a component by name; see `spherex.image.COMPONENTS`.

        Raises
        ------
        AttributeError
            If there is no such component.
        """
        if name not in COMPONENTS:
            raise AttributeError(f"A product has no component {name!r}; it has {', '.join(COMPONENTS)}.")
        return getattr(self, name)(cut)

    def image(self, cut: Box | Cutout | None = None) -> Quantity:
        """Return the pixels with their unit, shape (rows, columns)."""
        return self._with_unit(self._hdu(IMAGE), cut)

    def variance(self, cut: Box | Cutout | None = None) -> Quantity:
        """Return the variance with its unit, shape (rows, columns)."""
        return self._with_unit(self._hdu(VARIANCE), cut)

    def zodi(self, cut: Box | Cutout | None = None) -> Quantity:
        """Return the model of the zodiacal light with its unit, shape (rows, columns)."""
        return self._with_unit(self._hdu(ZODI_PLANE), cut)

    def flags(self, cut: Box | Cutout | None = None) -> FlagPlane:
        """Return the flags with their names, shape (rows, columns)."""
        hdu = self._hdu(FLAGS)
        return self._flag_plane(hdu, self._box(cut, hdu.image_shape))

    def header(self, cut: Box | Cutout | None = None) -> fits.Header:
        """Return the header of the image, for the whole or for a cut of it."""
        hdu = self._hdu(IMAGE)
        return self._header_of(hdu, self._box(cut, hdu.image_shape))

    def bbox(self, cut: Box | Cutout | None = None) -> Box:
        """Return the pixels of the whole frame that the image, or a cut of it, covers."""
        hdu = self._hdu(IMAGE)
        whole = frame_box(hdu.cards, hdu.image_shape)
        box = self._box(cut, hdu.image_shape)
        return whole if box is None else box.shifted(whole.x0, whole.y0)

    def calibrations(self, cut: Box | Cutout | None = None) -> tuple[CalibrationReference, ...]:
        """Return the calibrations that the mission's pipeline used for the whole image."""
        return calibration_references(self.header().get("HISTORY", ()))

    def wcs(self, cut: Box | Cutout | None = None) -> WCS:
        """Return the celestial coordinates, for the whole image or for a cut of it."""
        hdu = self._hdu(IMAGE)
        header = fits.Header.fromstring(celestial_cards(hdu.header_bytes))
        box = self._box(cut, hdu.image_shape)
        with _damage_in(hdu):
            if box is not None:
                shift_header(header, box)
            wcs = celestial_wcs(header)
        if wcs is None:
            raise ProductError("its header has no celestial coordinate system")
        wcs.array_shape = hdu.image_shape if box is None else box.shape
        return wcs

    def wavelength(self, cut: Box | Cutout | None = None) -> Wavelength:
        """Return wavelength and bandwidth of the pixels, for the whole image or for a cut of it."""
        hdu = self._hdu(IMAGE)
        box = self._box(cut, hdu.image_shape)
        name = wavelength_plane(hdu.cards)
        if name is None:
            raise ProductError("its header has no wavelength solution (no coordinate system W with a table)")
        table = self._plane(self._hdu(name), name).hdu
        try:
            return Wavelength(self._header_of(hdu, box), table, hdu.image_shape if box is None else box.shape)
        except ValueError as error:
            raise ProductError(str(error).rstrip(".")) from None

    def psf(self, cut: Box | Cutout | None = None) -> Psf:
        """Return the PSFs of the zones; their `~spherex.image.Psf.origin` is that of the image or the cut."""
        image, hdu = self._hdu(IMAGE), self._hdu(*PSF_PLANES)
        x, y = frame_origin(image.cards)
        box = self._box(cut, image.image_shape)
        origin = (x, y) if box is None else (x + box.x0, y + box.y0)
        version = version_of(self._hdu(PRIMARY).cards, image.cards)
        try:
            return Psf.from_hdu(self._plane(hdu, hdu.name).hdu, version, origin)
        except ValueError as error:
            raise ProductError(str(error)) from None

    def read(self, cut: Box | Cutout | None = None, planes: Collection[str] | None = None) -> SPHERExImage:
        """Return everything, for the whole image or for a cut of it.

        Parameters
        ----------
        cut
            Part to read; by default all. A `Box` is trimmed to the image.
        planes
            Names of the further planes to read; by default all.
        """
        self._hdus = scan_hdus(self._source)
        check_layout(self._hdus)
        hdu = self._hdu(IMAGE)
        box = self._box(cut, hdu.image_shape)
        unit = _unit(hdu)
        variance, flags, mask = self._find(VARIANCE), self._find(FLAGS), self._find(MASK)
        wanted = self._wanted(planes)
        if box is not None and not self._source.is_local:
            read = [needed for needed in (hdu, variance, flags, mask, *wanted.values()) if needed is not None]
            prefetch_box(self._source, [needed for needed in read if needed.image_shape == hdu.image_shape], box)
            self._source.prefetch([_whole(needed) for needed in read if needed.image_shape != hdu.image_shape])
        return SPHERExImage(
            self._pixels(hdu, box),
            unit=unit,
            variance=None if variance is None else self._variance(variance, unit, box),
            mask=None if mask is None else self._pixels(mask, box, fill=1).astype(bool),
            flags=None if flags is None else self._flag_plane(flags, box),
            header=self._header_of(hdu, box),
            extra_headers={hdu.name: self._cards_of(hdu, box) for hdu in self._hdus if hdu.name in _EXTRA_HEADERS},
            planes=self._planes(wanted, box, hdu.image_shape),
        )

    def _flag_plane(self, hdu: HDUInfo, box: Box | None) -> FlagPlane:
        table = flag_table_of(hdu.header_bytes)
        try:
            return FlagPlane(as_flags(self._pixels(hdu, box, table.missing)), table)
        except ValueError as error:
            raise ProductError(f"its HDU {hdu.name} does not contain flags: {first_line(error)}") from None

    def _variance(self, hdu: HDUInfo, unit: UnitBase, box: Box | None) -> np.ndarray:
        values = self._pixels(hdu, box)
        if BUNIT not in hdu.cards or _unit(hdu) == unit**2:
            return values
        try:
            return Quantity(values, _unit(hdu), dtype=None).to_value(unit**2).astype(values.dtype)
        except UnitConversionError:
            raise ProductError(f"its variance is in {_unit(hdu)}, which is not the square of {unit}") from None

    def _wanted(self, names: Collection[str] | None) -> dict[str, HDUInfo]:
        """Return the HDUs of further planes, by the names of the planes."""
        wanted: dict[str, HDUInfo] = {}
        for hdu in self._hdus[1:]:
            if hdu.name in OWN_HDUS:
                continue
            name = hdu.name or f"HDU{hdu.index}"
            name = name if name not in wanted else f"{name},{hdu.index}"
            if names is None or name in names:
                wanted[name] = hdu
        if missing := set(names or ()) - wanted.keys():
            raise ProductError(f"it has no plane {', '.join(sorted(missing))}")
        return wanted

    def _planes(self, wanted: Mapping[str, HDUInfo], box: Box | None, shape: tuple[int, ...]) -> dict[str, Plane]:
        planes: dict[str, Plane] = {}
        for name, hdu in wanted.items():
            if box is None or hdu.image_shape != shape:
                planes[name] = self._plane(hdu, name)
            else:
                pixels = self._pixels(hdu, box)
                planes[name] = Plane(fits.ImageHDU(pixels, header=self._header_of(hdu, box)), name)
        return planes

    def _plane(self, hdu: HDUInfo, name: str) -> Plane:
        if _is_plain(hdu):
            return Plane.from_pixels(hdu.header_bytes, self._pixels(hdu, None), name)
        return Plane(hdu_bytes(self._source, hdu), name)

    def _header_of(self, hdu: HDUInfo, box: Box | None) -> fits.Header:
        return fits.Header.fromstring(self._cards_of(hdu, box))

    def _cards_of(self, hdu: HDUInfo, box: Box | None) -> bytes:
        cards = header_bytes(self._opened(hdu)[1]) if hdu.kind == "compressed" else hdu.header_bytes
        if box is None:
            return cards
        with _damage_in(hdu):
            return shifted_cards(cards, box)

    def _with_unit(self, hdu: HDUInfo, cut: Box | Cutout | None) -> Quantity:
        box = self._box(cut, hdu.image_shape)
        return Quantity(self._pixels(hdu, box), _unit(hdu), copy=False, dtype=None)


def _is_plain(hdu: HDUInfo) -> bool:
    return hdu.kind == "image" and bool(hdu.shape) and not hdu.scaled


def _whole(hdu: HDUInfo) -> tuple[int, int]:
    """Return offset and number of bytes of a plane that is read whole."""
    if _is_plain(hdu):
        return hdu.data_offset, hdu.data_size
    return hdu.header_offset, hdu.data_offset + hdu.data_size - hdu.header_offset


@contextlib.contextmanager
def _damage_in(hdu: HDUInfo) -> Iterator[None]:
    """Name the HDU if its cards do not make a coordinate system."""
    try:
        yield
    except ValueError as error:
        raise hdu.cards.damage(str(error)) from None


def _unit(hdu: HDUInfo) -> UnitBase:
    unit = bunit_of(hdu.cards, f"of HDU {hdu.name}")
    return dimensionless_unscaled if unit is None else unit


@contextlib.contextmanager
def open_product(location: str | os.PathLike[str] | ResourcePath) -> Iterator[ProductFile]:
    """Open a product to read parts of it.

    Parameters
    ----------
    location
        Local path, or any URI that `lsst.resources.ResourcePath` reads.

    Raises
    ------
    ProductError
        If the file is damaged; the message begins with its URI.
    OSError
        If the file does not exist or may not be read.

    Examples
    --------
    Only the header and the pixels of the box are read:

    >>> import spherex
    >>> with spherex.open("image.fits") as product:
    ...     print(product.header()["DETECTOR"])
    ...     print(product.image(spherex.Box(0, 5, 0, 3)).shape)
    1
    (3, 5)
    """
    try:
        with open_source(location) as source:
            yield ProductFile(source)
    except (ProductError, fits.VerifyError) as error:
        # The cause is what is wrong, without the location; see `short_cause`.
        cause = error if isinstance(error, ProductError) else ProductError(str(error))
        raise ProductError(f"Cannot read {location}: {error}.") from cause
    except RemoteError as error:
        raise RemoteError(f"Cannot read {location}: {error}.") from None


def read_product(
    location: str | os.PathLike[str] | ResourcePath,
    cut: Box | Cutout | Sequence[int] | None = None,
    *,
    position: SkyCoord | None = None,
    size: Any = None,
    mode: str = "trim",
    planes: Collection[str] | None = None,
) -> SPHERExImage:
    """Read an image, whole or a part of it.

    Parameters
    ----------
    location
        Local path, or any URI that `lsst.resources.ResourcePath` reads.
    cut
        Pixels to read: a box, its limits (x0, x1, y0, y1), or a cutout; by
        default the whole image.
    position, size, mode
        Part of the image around a position on the sky, see `spherex.image.Cutout`.
    planes
        Names of the further planes to read; by default all.

    Raises
    ------
    ProductError
        If the file is damaged; the message begins with its URI.
    OSError
        If the file does not exist or may not be read.
    ValueError
        If nothing of the part is in the image, or it is not one part.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> image = spherex.read("image.fits", position=star, size=1 * u.arcmin)
    >>> image.shape, image.unit
    ((10, 10), Unit("MJy / sr"))
    """
    if position is not None or size is not None or not (cut is None or isinstance(cut, Cutout)):
        if isinstance(cut, Cutout):
            raise ValueError("Give either a Cutout, or a position and a size.")
        cut = Cutout.of(cut, position, size, mode)
    with open_product(location) as product:
        return product.read(cut, planes)
