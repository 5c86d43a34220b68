"""Images and calibrations for the measurement of targets, behind handles of the Butler."""

from __future__ import annotations

__all__ = ["HandledImage", "WholeMap", "catalog_of", "map_of", "profiles_of", "wavelengths_of"]

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from lsst.daf.butler import FileIntegrityError

from ..fits.errors import ProductError
from ._kept import Kept

if TYPE_CHECKING:
    from astropy.io.fits import HDUList, Header
    from astropy.nddata import CCDData
    from astropy.table import Table
    from numpy.typing import NDArray

    from ..image import Box, SPHERExImage, Wavelength
    from ..photometry import Profiles
    from ..spectra.pixel_properties import PlaneWavelengths

_PSF_KINDS = ("epsf", "average_psf")
_DETECTORS = 6

_CATALOGS: Kept[Table] = Kept(2)
_PROFILES: Kept[Profiles] = Kept(2 * _DETECTORS)
_MAPS: Kept[WholeMap] = Kept(2 * _DETECTORS)
_WAVELENGTHS: Kept[PlaneWavelengths | Wavelength] = Kept(_DETECTORS)


class HandledImage:
    """An image of which parts are read through a handle.

    Parameters
    ----------
    handle
        As `lsst.daf.butler.DeferredDatasetHandle`.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._header: Header | None = None

    def _get(self, **what: Any) -> Any:
        """Read something; the Butler hides what is wrong with a file in an error of its own."""
        try:
            return self._handle.get(**what)
        except (FileNotFoundError, FileIntegrityError) as error:
            raise ProductError(str(error)) from error
        except ValueError as error:
            if isinstance(error.__cause__, ProductError):
                raise error.__cause__ from None
            raise

    def header(self) -> Header:
        """Return the header of the whole."""
        if self._header is None:
            self._header = self._get(component="header")
        return self._header

    def read(self, box: Box) -> SPHERExImage:
        """Return a part, without further planes."""
        image: SPHERExImage = self._get(parameters={"box": box, "planes": []})
        return image

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole."""
        solution: Wavelength = self._get(component="wavelength")
        return solution

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF of the image, and which one it is.

        The same PSF stands in each image of a detector. The header names the
        calibration that it was copied from, so that it is read only once.
        """
        from ..archive import calibration_references
        from ..photometry import Profiles

        known = {one.type: one.id for one in calibration_references(self.header().get("HISTORY", ()))}
        kind = next((kind for kind in _PSF_KINDS if kind in known), None)

        def read() -> Profiles:
            try:
                return Profiles(self._get(component="psf"))
            except ProductError:
                raise
            except ValueError as error:
                raise ProductError(f"the PSF of the image cannot be used: {error}") from error

        if kind is None:
            return read(), "image"
        # The centres of the zones depend on the version, too: up to 6.5.5 they were exchanged.
        key = (known[kind], str(self.header().get("VERSION")))
        return _PROFILES.get(key, read), f"image, {kind} {known[kind]}"


class WholeMap:
    """A calibration with one number for each pixel of the frame, in memory.

    Parameters
    ----------
    values
        Of shape (rows, columns).
    """

    def __init__(self, values: NDArray[np.floating]) -> None:
        self._values = values

    def read(self, box: Box) -> NDArray[np.floating]:
        """Return a part of the map."""
        return self._values[box.slices]


def catalog_of(handle: Any) -> Table:
    """Return a catalogue of targets, which is the same for all images.

    Parameters
    ----------
    handle
        Of the table.
    """
    catalog: Table = _CATALOGS.get(handle.ref.id, handle.get)
    return catalog


def map_of(handle: Any, unit: units.UnitBase) -> WholeMap:
    """Return a map of the frame from a calibration that is an image.

    Parameters
    ----------
    handle
        Of a `astropy.nddata.CCDData`.
    unit
        Unit that is wanted; taken for granted where the calibration has none.

    Raises
    ------
    ValueError
        If it is not of the shape of the frame, or in another unit.
    """
    return _MAPS.get(handle.ref.id, lambda: _read_map(handle.get(), handle.ref.datasetType.name, unit))


def _read_map(image: CCDData, name: str, unit: units.UnitBase) -> WholeMap:
    from ..instrument import FRAME_SIDE

    if image.shape != (FRAME_SIDE, FRAME_SIDE):
        raise ValueError(f"the calibration {name} has shape {image.shape}, not that of the frame")
    values = np.asarray(image.data)
    given = image.unit
    if given in (None, units.dimensionless_unscaled) or given == unit:
        return WholeMap(values)
    if not given.is_equivalent(unit):
        raise ValueError(f"the calibration {name} is in {given}, not in {unit or 'numbers without unit'}")
    return WholeMap(values * given.to(unit))


def wavelengths_of(handle: Any) -> PlaneWavelengths | Wavelength:
    """Return the wavelengths of the frame from the calibration ``spectral_wcs``.

    Raises
    ------
    ValueError
        If it holds none for the frame.
    """
    return _WAVELENGTHS.get(handle.ref.id, lambda: _read_wavelengths(handle.get()))


def _read_wavelengths(hdus: HDUList) -> PlaneWavelengths | Wavelength:
    from ..archive import CBAND, CWAVE
    from ..fits.names import UNIT_CARD, WCS_WAVE
    from ..image import Wavelength
    from ..instrument import FRAME_SIDE
    from ..spectra.pixel_properties import PlaneWavelengths

    if CWAVE in hdus and CBAND in hdus:
        planes = []
        for name in (CWAVE, CBAND):
            plane = hdus[name]
            if plane.shape != (FRAME_SIDE, FRAME_SIDE):
                raise ValueError(f"the plane {name} of spectral_wcs has shape {plane.shape}, not that of the frame")
            planes.append(units.Quantity(plane.data, plane.header.get(UNIT_CARD) or "um", copy=False, dtype=None))
        return PlaneWavelengths(*planes)
    if WCS_WAVE in hdus:
        return Wavelength.from_table(hdus[WCS_WAVE])
    raise ValueError(f"spectral_wcs has neither the planes {CWAVE} and {CBAND} nor the table {WCS_WAVE}")


def profiles_of(handle: Any) -> Profiles:
    """Return the PSF from a calibration ``epsf`` or ``average_psf``.

    Raises
    ------
    ValueError
        If it holds none.
    """
    return _PROFILES.get(handle.ref.id, lambda: _read_profiles(handle.get(), handle.ref.datasetType.name))


def _read_profiles(hdus: HDUList, name: str) -> Profiles:
    from ..image import Psf
    from ..photometry import Profiles

    hdu = next((one for one in hdus if Psf.is_in(one)), None)
    if hdu is None:
        raise ValueError(f"the calibration {name} holds no PSF in one of the archive's forms")
    return Profiles(Psf.from_hdu(hdu, hdus[0].header.get("VERSION")))
