"""From a file to an image, or to one of its components."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.units import Quantity, UnitBase, UnitConversionError, dimensionless_unscaled

from spherex.archive import CalibrationReference, calibration_references
from spherex.errors import HeaderError, ProductError
from spherex.headers import BUNIT, bunit_of, version_of
from spherex.image import (
    PSF_PLANES,
    ZODI_PLANE,
    Box,
    Cutout,
    FlagPlane,
    Plane,
    Psf,
    SPHERExImage,
    Wavelength,
    celestial_cards,
    celestial_wcs,
    frame_box,
    frame_origin,
    shift_header,
    shifted_cards,
    wavelength_plane,
)

from .arrays import array_header, hdu_bytes, read_array
from .cards import header_bytes
from .flag_cards import flag_table_of
from .hdus import FLAGS, IMAGE, MASK, OWN_HDUS, PRIMARY, VARIANCE, HDUInfo, check_layout, scan_hdus
from .sources import ByteSource, open_source

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from lsst.resources import ResourcePath


_SIDE_HDUS = (PRIMARY, FLAGS, VARIANCE)


class ProductFile:
    """An open product, of which only what is asked for is read.

    HDUs are found by name, not by place. Every method raises `ProductError`
    if the file is damaged or lacks what is asked for, and `ValueError` if
    the cut asked for has nothing of the image.

    Parameters
    ----------
    source
        The file.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._hdus: list[HDUInfo] = []

    def _hdu(self, *names: str) -> HDUInfo:
        """Return the first HDU that has one of the names."""
        # The scan goes no further than the HDU that is wanted.
        hdu = self._find(*names)
        if hdu is None:
            self._hdus = scan_hdus(self._source, last=names[0] if len(names) == 1 else None)
            hdu = self._find(*names)
        if hdu is None:
            there = ", ".join(one.name or "(unnamed)" for one in self._hdus)
            raise ProductError(f"it has no HDU {' or '.join(names)}; it has {there}")
        return hdu

    def _find(self, *names: str) -> HDUInfo | None:
        return next((one for one in self._hdus if one.name in names), None)

    def _box(self, cut: Box | Cutout | None, shape: tuple[int, ...]) -> Box | None:
        if cut is None or isinstance(cut, Box):
            return None if cut is None else cut.clipped(shape)
        return cut.resolve(shape, self.wcs)

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
        """Return which pixels of the whole frame the image has, or a cut of it."""
        hdu = self._hdu(IMAGE)
        whole = frame_box(hdu.cards, hdu.image_shape)
        box = self._box(cut, hdu.image_shape)
        return whole if box is None else box.shifted(whole.x0, whole.y0)

    def calibrations(self, cut: Box | Cutout | None = None) -> tuple[CalibrationReference, ...]:
        """Return the calibrations that the mission's pipeline used; they are those of the whole image."""
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
        """Return the PSFs of the zones, which know the place of the image, or of a cut of it."""
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
            Part that is wanted; by default all. What hangs over the edge of a
            box is left away.
        planes
            Names of the further planes that are wanted; by default all.
        """
        self._hdus = scan_hdus(self._source)
        check_layout(self._hdus)
        hdu = self._hdu(IMAGE)
        shape = hdu.image_shape
        box = self._box(cut, shape)
        unit = _unit(hdu)
        variance, flags, mask = self._find(VARIANCE), self._find(FLAGS), self._find(MASK)
        return SPHERExImage(
            read_array(self._source, hdu, box),
            unit=unit,
            variance=None if variance is None else self._variance(variance, unit, box),
            mask=None if mask is None else read_array(self._source, mask, box, fill=1).astype(bool),
            flags=None if flags is None else self._flag_plane(flags, box),
            header=self._header_of(hdu, box),
            side_cards={one.name: self._cards_of(one, box) for one in self._hdus if one.name in _SIDE_HDUS},
            planes=self._planes(box, shape, planes),
        )

    def _flag_plane(self, hdu: HDUInfo, box: Box | None) -> FlagPlane:
        table = flag_table_of(hdu.header_bytes)
        return FlagPlane(read_array(self._source, hdu, box, table.missing), table)

    def _variance(self, hdu: HDUInfo, unit: UnitBase, box: Box | None) -> np.ndarray:
        values = read_array(self._source, hdu, box)
        if BUNIT not in hdu.cards or _unit(hdu) == unit**2:
            return values
        try:
            return Quantity(values, _unit(hdu), dtype=None).to_value(unit**2).astype(values.dtype)
        except UnitConversionError:
            raise ProductError(f"its variance is in {_unit(hdu)}, which is not the square of {unit}") from None

    def _planes(self, box: Box | None, shape: tuple[int, ...], wanted: Collection[str] | None) -> dict[str, Plane]:
        planes: dict[str, Plane] = {}
        for hdu in self._hdus[1:]:
            if hdu.name in OWN_HDUS:
                continue
            name = hdu.name or f"HDU{hdu.index}"
            name = name if name not in planes else f"{name},{hdu.index}"
            if wanted is not None and name not in wanted:
                continue
            if box is None or hdu.image_shape != shape:
                planes[name] = self._plane(hdu, name)
            else:
                pixels = read_array(self._source, hdu, box)
                planes[name] = Plane(fits.ImageHDU(pixels, header=self._header_of(hdu, box)), name)
        if missing := set(wanted or ()) - planes.keys():
            raise ProductError(f"it has no plane {', '.join(sorted(missing))}")
        return planes

    def _plane(self, hdu: HDUInfo, name: str) -> Plane:
        if hdu.kind == "image" and hdu.shape and not hdu.scaled:
            return Plane.from_pixels(hdu.header_bytes, read_array(self._source, hdu), name)
        return Plane(hdu_bytes(self._source, hdu), name)

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

    def _with_unit(self, hdu: HDUInfo, cut: Box | Cutout | None) -> Quantity:
        box = self._box(cut, hdu.image_shape)
        return Quantity(read_array(self._source, hdu, box), _unit(hdu), copy=False, dtype=None)


@contextlib.contextmanager
def _damage_in(hdu: HDUInfo) -> Iterator[None]:
    """Say in which header the cards are that a coordinate system cannot be made of."""
    try:
        yield
    except ValueError as error:
        raise hdu.cards.damage(str(error)) from None


def _unit(hdu: HDUInfo) -> UnitBase:
    try:
        unit = bunit_of(hdu.cards, f"of HDU {hdu.name}")
    except HeaderError as error:
        raise ProductError(str(error)) from None
    return dimensionless_unscaled if unit is None else unit


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


def read_product(location: str | os.PathLike[str] | ResourcePath, cut: Box | Cutout | None = None) -> SPHERExImage:
    """Read a product.

    Parameters
    ----------
    location
        Local path, or anything that `lsst.resources.ResourcePath` reads.
    cut
        Part that is wanted; by default all.

    Raises
    ------
    ProductError
        If the file is damaged; the message names it.
    OSError
        If the file does not exist or may not be read.
    """
    with open_product(location) as product:
        return product.read(cut)
