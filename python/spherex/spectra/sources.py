"""Images and targets from users: paths, URIs, images in memory, positions, tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from spherex.archive import ObservationId
from spherex.detectors import DETECTOR_IDS
from spherex.errors import ArchiveNameError, CatalogError, HeaderError, ProductError, first_line, listed
from spherex.fits import open_product
from spherex.headers import detector_of
from spherex.image import SPHERExImage, proper_motion, replace_celestial_wcs
from spherex.photometry import Profiles

from .inputs import ImageSource
from .placing import numbers_in

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from spherex.fits import ProductFile
    from spherex.image import Box, Psf, Wavelength

    AnyImage: TypeAlias = ImageSource | SPHERExImage | str | os.PathLike[str] | ResourcePath

_PSF_SOURCE = "image"
_UNITS = {"ra": units.deg, "dec": units.deg, "pmra": units.mas / units.yr, "pmdec": units.mas / units.yr}


class ProductSource:
    """Open file as an `ImageSource`.

    Parameters
    ----------
    product
        The file.
    """

    def __init__(self, product: ProductFile) -> None:
        self._product = product

    def header(self) -> Header:
        """Return the header of the whole image."""
        return self._product.header()

    def read(self, box: Box) -> SPHERExImage:
        """Return a part of the image, without further planes."""
        return self._product.read(box, planes=())

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF of the image, and its origin."""
        return _profiles_of(self._product.psf()), _PSF_SOURCE

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole image."""
        return self._product.wavelength()


class MemorySource:
    """Image in memory as an `ImageSource`.

    Parameters
    ----------
    image
        The image.
    """

    def __init__(self, image: SPHERExImage) -> None:
        self._image = image

    def header(self) -> Header:
        """Return the header of the whole image, with NAXIS1 and NAXIS2, and with a WCS that was set by hand."""
        header = self._image.header.copy()
        if not self._image.wcs_is_in_header:
            replace_celestial_wcs(header, self._image.wcs)
        header["NAXIS1"], header["NAXIS2"] = self._image.shape[::-1]
        return header

    def read(self, box: Box) -> SPHERExImage:
        """Return a part of the image."""
        return self._image[box.slices]

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF of the image, and its origin."""
        psf = self._image.psf_model
        if psf is None:
            raise ProductError("the image has no PSF")
        return _profiles_of(psf), _PSF_SOURCE

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole image."""
        wavelength = self._image.wavelength
        if wavelength is None:
            raise ProductError("the image has no wavelength solution")
        return wavelength


def _profiles_of(psf: Psf) -> Profiles:
    try:
        return Profiles(psf)
    except ValueError as error:
        raise ProductError(f"the PSF of the image cannot be used: {error}") from error


@contextlib.contextmanager
def image_source(image: AnyImage) -> Iterator[ImageSource]:
    """Open an image for the measurement.

    Parameters
    ----------
    image
        Image in memory, path or URI of a file, or an `ImageSource`, which is
        returned as it is.

    Raises
    ------
    ProductError
        If the file is damaged; the message names it.
    OSError
        If the file does not exist or may not be read.
    """
    if isinstance(image, SPHERExImage):
        yield MemorySource(image)
    elif isinstance(image, ImageSource):
        yield image
    else:
        with open_product(image) as product:
            yield ProductSource(product)


def identity_of(header: Header) -> dict[str, Any]:
    """Return the columns that identify an image of the archive by its header.

    Parameters
    ----------
    header
        Header of the image. Columns without a header keyword are left out.

    Raises
    ------
    HeaderError
        If DETECTOR or EXPIDN has a wrong value.
    """
    columns = {"detector": detector_of(header, DETECTOR_IDS)}
    if header.get("EXPIDN") is not None:
        try:
            observation, _ = ObservationId.from_expidn(header["EXPIDN"])
        except ArchiveNameError as error:
            raise HeaderError(f"EXPIDN in the header: {error}") from None
        columns["exposure"] = observation.exposure
    return {name: value for name, value in columns.items() if value is not None}


def catalog_of(targets: Table | SkyCoord) -> Table:
    """Return targets as a catalogue.

    Parameters
    ----------
    targets
        Table with the columns name, ra and dec, and optionally pmra, pmdec and
        ref_epoch; columns without a unit are in the units below. Or positions:
        their names are the numbers from 1; with proper motions they need an
        obstime.

    Returns
    -------
    catalogue
        Columns name, ra and dec (deg), and optionally pmra and pmdec (mas/yr)
        and ref_epoch (yr).

    Raises
    ------
    CatalogError
        If the table lacks a column, a column has a wrong unit or no numbers, a
        target has no valid position or motion, or a motion has no epoch.
    """
    catalog = _with_units(targets)
    values = {name: _numbers(catalog, name) for name in (*_UNITS, "ref_epoch")}
    ra, dec, pmra, pmdec, epoch = values.values()
    if len(bad := np.flatnonzero(~(np.isfinite(ra) & (np.abs(dec) <= 90)))):
        raise CatalogError(
            f"no position on the sky for {_first(catalog, bad)} (ra {ra[bad[0]]}, dec {dec[bad[0]]}); correct or "
            "remove these rows"
        )
    moves = (np.isfinite(pmra) & (pmra != 0)) | (np.isfinite(pmdec) & (pmdec != 0))
    if len(bad := np.flatnonzero(moves & ~np.isfinite(pmra + pmdec + epoch))):
        raise CatalogError(
            f"one of pmra, pmdec and ref_epoch is missing for {_first(catalog, bad)} ({pmra[bad[0]]}, {pmdec[bad[0]]}, "
            f"{epoch[bad[0]]}); add it, or remove the columns pmra and pmdec to ignore motions"
        )
    return catalog


def _numbers(catalog: Table, name: str) -> NDArray[np.float64]:
    """Return the values of a column, NaN without it."""
    if name not in catalog.colnames:
        return np.full(len(catalog), np.nan)
    try:
        return numbers_in(catalog, name)
    except (TypeError, ValueError) as error:
        raise CatalogError(
            f"column {name} of the targets has values that are not numbers: {first_line(error)}"
        ) from None


def _first(catalog: Table, rows: NDArray[np.intp]) -> str:
    return listed([f"target {catalog['name'][rows[0]]} in row {rows[0] + 1}"], len(rows))


def _with_units(targets: Table | SkyCoord) -> Table:
    """Return targets with the columns and units of `catalog_of`."""
    if isinstance(targets, SkyCoord):
        positions = targets.reshape(-1).icrs
        catalog = Table({"name": np.arange(1, len(positions) + 1).astype(str)})
        catalog["ra"], catalog["dec"] = positions.ra.deg, positions.dec.deg
        motions = proper_motion(positions)
        if motions is None:
            return catalog
        if positions.obstime is None:
            raise CatalogError(
                "the position has a proper motion, but no obstime: add the epoch of the position, such as "
                "obstime=Time(2016.0, format='jyear') for Gaia DR3, or make the SkyCoord without pm_ra_cosdec and "
                "pm_dec to ignore the motion"
            )
        catalog["pmra"], catalog["pmdec"] = motions
        catalog["ref_epoch"] = positions.obstime.tdb.jyear
        return catalog
    if not isinstance(targets, Table):
        raise CatalogError(f"targets are a SkyCoord or an astropy Table, not a {type(targets).__name__}.")
    missing = [name for name in ("name", "ra", "dec") if name not in targets.colnames]
    if missing:
        raise CatalogError(f"the table of targets has no column {', '.join(missing)}; it needs name, ra and dec")
    found = {name: targets[name].unit for name in _UNITS if name in targets.colnames}
    other_units = {name: unit for name, unit in found.items() if unit not in (None, _UNITS[name])}
    if not other_units:
        return targets
    catalog = Table(targets)
    for name, unit in other_units.items():
        if not unit.is_equivalent(_UNITS[name]):
            raise CatalogError(f"column {name} of the targets is in {unit}; give it in {_UNITS[name]}")
        catalog[name] = np.ma.asarray(targets[name], dtype=float) * unit.to(_UNITS[name])
    return catalog
