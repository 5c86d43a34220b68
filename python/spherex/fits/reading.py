"""From a file to an image, or to one of its components."""

from __future__ import annotations

__all__ = ["ProductFile", "open_product", "read_product"]

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.units import Quantity, UnitBase, UnitConversionError

from ..image import Box, FlagPlane, Plane, SPHERExImage, celestial_cards, celestial_wcs, shift_header, shifted_cards
from .arrays import array_header, hdu_bytes, read_array
from .cards import header_bytes
from .errors import ProductError
from .flag_cards import flag_table_of
from .hdus import HDUInfo, scan_hdus
from .names import FLAGS, IMAGE, MASK, PRIMARY, UNIT_CARD, VARIANCE
from .sources import ByteSource, open_source
from .units import unit_of

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from lsst.resources import ResourcePath

_OWN_HDUS = (IMAGE, FLAGS, VARIANCE, MASK)
_SIDE_HDUS = (PRIMARY, FLAGS, VARIANCE)


class ProductFile:
    """An open product, of which only what is asked for is read.

    HDUs are found by name, not by place. Every method raises `ProductError`
    if the file is damaged or lacks what is asked for.

    Parameters
    ----------
    source
        The file.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._hdus: list[HDUInfo] = []

    def _hdu(self, name: str) -> HDUInfo:
        # The scan goes no further than the HDU that is wanted.
        hdu = self._find(name)
        if hdu is None:
            self._hdus = scan_hdus(self._source, last=name)
            hdu = self._find(name)
        if hdu is None:
            names = ", ".join(one.name or "(unnamed)" for one in self._hdus)
            raise ProductError(f"it has no HDU {name}; it has {names}")
        return hdu

    def _find(self, name: str) -> HDUInfo | None:
        return next((one for one in self._hdus if one.name == name), None)

    def image(self, box: Box | None = None) -> Quantity:
        """Return the pixels with their unit, shape (rows, columns)."""
        return self._with_unit(self._hdu(IMAGE), box)

    def variance(self, box: Box | None = None) -> Quantity:
        """Return the variance with its unit, shape (rows, columns)."""
        return self._with_unit(self._hdu(VARIANCE), box)

    def flags(self, box: Box | None = None) -> FlagPlane:
        """Return the flags with their names, shape (rows, columns)."""
        hdu = self._hdu(FLAGS)
        return FlagPlane(read_array(self._source, hdu, box), flag_table_of(hdu.header_bytes))

    def header(self, box: Box | None = None) -> fits.Header:
        """Return the header of the image, for the whole or for a cut of it."""
        hdu = self._hdu(IMAGE)
        return self._header_of(hdu, None if box is None else box.clipped(hdu.image_shape))

    def wcs(self, box: Box | None = None) -> WCS:
        """Return the celestial coordinates, for the whole image or for a cut of it."""
        hdu = self._hdu(IMAGE)
        header = fits.Header.fromstring(celestial_cards(hdu.header_bytes))
        box = None if box is None else box.clipped(hdu.image_shape)
        with _damage_in(hdu):
            if box is not None:
                shift_header(header, box)
            wcs = celestial_wcs(header)
        if wcs is None:
            raise ProductError("its header has no celestial coordinate system")
        return wcs

    def read(self, box: Box | None = None, planes: Collection[str] | None = None) -> SPHERExImage:
        """Return everything, for the whole image or for a cut of it.

        Parameters
        ----------
        box
            Part that is wanted; by default all.
        planes
            Names of the further planes that are wanted; by default all.
        """
        self._hdus = scan_hdus(self._source)
        hdu = self._hdu(IMAGE)
        shape = hdu.image_shape
        box = None if box is None else box.clipped(shape)
        unit = _unit(hdu)
        variance, flags, mask = self._find(VARIANCE), self._find(FLAGS), self._find(MASK)
        return SPHERExImage(
            read_array(self._source, hdu, box),
            unit=unit,
            variance=None if variance is None else self._variance(variance, unit, box),
            mask=None if mask is None else read_array(self._source, mask, box).astype(bool),
            flags=None if flags is None else read_array(self._source, flags, box),
            flag_table=None if flags is None else flag_table_of(flags.header_bytes),
            header=self._header_of(hdu, box),
            side_cards={one.name: self._cards_of(one, box) for one in self._hdus if one.name in _SIDE_HDUS},
            planes=self._planes(box, shape, planes),
        )

    def _variance(self, hdu: HDUInfo, unit: UnitBase, box: Box | None) -> np.ndarray:
        values = read_array(self._source, hdu, box)
        if UNIT_CARD not in hdu.cards or _unit(hdu) == unit**2:
            return values
        try:
            return Quantity(values, _unit(hdu), dtype=None).to_value(unit**2).astype(values.dtype)
        except UnitConversionError:
            raise ProductError(f"its variance is in {_unit(hdu)}, which is not the square of {unit}") from None

    def _planes(self, box: Box | None, shape: tuple[int, ...], wanted: Collection[str] | None) -> dict[str, Plane]:
        planes: dict[str, Plane] = {}
        if self._hdus[0].shape:
            raise ProductError("its primary HDU holds pixels, for which a product has no place")
        for hdu in self._hdus[1:]:
            if hdu.name in _OWN_HDUS:
                if hdu is not self._find(hdu.name):
                    raise ProductError(f"it has two HDUs {hdu.name}")
                continue
            name = hdu.name or f"HDU{hdu.index}"
            name = name if name not in planes else f"{name},{hdu.index}"
            if wanted is not None and name not in wanted:
                continue
            if box is not None and hdu.kind == "image" and hdu.shape == shape:
                pixels = read_array(self._source, hdu, box)
                planes[name] = Plane(fits.ImageHDU(pixels, header=self._header_of(hdu, box)), name)
            elif hdu.kind == "image" and hdu.shape and not hdu.scaled:
                planes[name] = Plane.from_pixels(hdu.header_bytes, read_array(self._source, hdu), name)
            else:
                plane = Plane(hdu_bytes(self._source, hdu), name)
                planes[name] = plane if box is None else plane.cutout(box, shape)
        if missing := set(wanted or ()) - planes.keys():
            raise ProductError(f"it has no plane {', '.join(sorted(missing))}")
        return planes

    def _header_of(self, hdu: HDUInfo, box: Box | None) -> fits.Header:
        header = array_header(self._source, hdu)
        if box is not None:
            with _damage_in(hdu):
                shift_header(header, box)
        return header

    def _cards_of(self, hdu: HDUInfo, box: Box | None) -> bytes:
        cards = header_bytes(array_header(self._source, hdu)) if hdu.kind == "compressed" else hdu.header_bytes
        if box is None:
            return cards
        with _damage_in(hdu):
            return shifted_cards(cards, box)

    def _with_unit(self, hdu: HDUInfo, box: Box | None) -> Quantity:
        return Quantity(read_array(self._source, hdu, box), _unit(hdu), copy=False, dtype=None)


@contextlib.contextmanager
def _damage_in(hdu: HDUInfo) -> Iterator[None]:
    """Say in which header the cards are that a coordinate system cannot be made of."""
    try:
        yield
    except ValueError as error:
        raise hdu.cards.damage(str(error)) from None


def _unit(hdu: HDUInfo) -> UnitBase:
    name = str(hdu.cards.get(UNIT_CARD, "")).strip()
    try:
        return unit_of(name)
    except ValueError:
        raise ProductError(f"{UNIT_CARD} of HDU {hdu.name} is {name!r}, which is no unit that astropy knows") from None


@contextlib.contextmanager
def open_product(location: str | os.PathLike[str] | ResourcePath) -> Iterator[ProductFile]:
    """Open a product to read some of it.

    Parameters
    ----------
    location
        Local path, or anything that `lsst.resources.ResourcePath` reads.

    Raises
    ------
    ProductError
        If the file is damaged; the message names it.
    OSError
        If the file does not exist or may not be read.
    """
    with open_source(location) as source:
        try:
            yield ProductFile(source)
        except (ProductError, fits.VerifyError) as error:
            raise ProductError(f"Cannot read {location}: {error}.") from None


def read_product(location: str | os.PathLike[str] | ResourcePath, box: Box | None = None) -> SPHERExImage:
    """Read a product.

    Parameters
    ----------
    location
        Local path, or anything that `lsst.resources.ResourcePath` reads.
    box
        Part that is wanted; by default all.

    Raises
    ------
    ProductError
        If the file is damaged; the message names it.
    OSError
        If the file does not exist or may not be read.
    """
    with open_product(location) as product:
        return product.read(box)
