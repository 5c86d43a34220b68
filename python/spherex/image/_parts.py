"""What the header and the further planes of an image say."""

from __future__ import annotations

__all__ = ["ZODI_PLANE", "ImageParts"]

from collections.abc import Iterable
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from ..archive import CalibrationReference, calibration_references
from ._bad_pixels import DEFAULT_PRESET
from ._box import Box
from ._flags import FlagPlane, FlagTable
from ._plane import Plane
from ._psf import PSF_PLANES, Psf
from ._wavelength import Wavelength, wavelength_plane
from ._wcs import alternative_wcs, frame_box, frame_origin

ZODI_PLANE = "ZODI"
"""Name of the plane with the model of the zodiacal light."""

_PRIMARY = "PRIMARY"


class ImageParts:
    """Views of an image that follow from its header, flags and planes.

    They are made anew from these when they are asked for, so that they hold
    for a cut of the image too.
    """

    header: fits.Header
    planes: dict[str, Plane]
    side_cards: dict[str, bytes]
    shape: tuple[int, ...]
    flags: np.ndarray | None
    flag_table: FlagTable
    _psf: Any = None
    _psf_read: tuple[Plane, tuple[float, float], Psf] | None = None

    @property
    def flag_plane(self) -> FlagPlane | None:
        """Flags together with their names."""
        return None if self.flags is None else FlagPlane(self.flags, self.flag_table)

    @property
    def bbox(self) -> Box:
        """Pixels of the whole frame that the image has, by coordinate system A."""
        return frame_box(self.header, self.shape)

    @property
    def version(self) -> str | None:
        """VERSION of the mission's pipeline that made the file, from its primary header if that has one."""
        primary = fits.Header.fromstring(self.side_cards.get(_PRIMARY, b""))
        version = primary.get("VERSION", self.header.get("VERSION"))
        return None if version is None else str(version)

    @property
    def calibrations(self) -> tuple[CalibrationReference, ...]:
        """Calibrations that the mission's pipeline used, from the HISTORY of the header."""
        return calibration_references(self.header.get("HISTORY", ()))

    @property
    def zodi(self) -> np.ndarray | None:
        """Model of the zodiacal light in the unit of the image, shape (rows, columns). It is not subtracted."""
        plane = self.planes.get(ZODI_PLANE)
        return None if plane is None else plane.data

    @property
    def wavelength(self) -> Wavelength | None:
        """Wavelength and bandwidth of the pixels; `None` if the image has no table of them."""
        name = wavelength_plane(self.header)
        return None if name not in self.planes else Wavelength(self.header, self.planes[name].peeked, self.shape)

    @property
    def psf(self) -> Psf | np.ndarray | None:
        """PSFs of the zones; `None` if the image has no plane of the archive's form that holds them.

        An array set by hand takes their place, but cannot be written.
        """
        if self._psf is not None:
            return self._psf
        plane = next((self.planes[name] for name in PSF_PLANES if name in self.planes), None)
        if plane is None or not Psf.is_in(plane.peeked):
            return None
        origin = frame_origin(self.header)
        if self._psf_read is None or self._psf_read[:2] != (plane, origin):
            self._psf_read = plane, origin, Psf.from_hdu(plane.peeked, self.version, origin)
        return self._psf_read[2]

    @psf.setter
    def psf(self, value: np.ndarray | None) -> None:
        if value is not None and not isinstance(value, np.ndarray):
            raise TypeError("The PSF of an image is an array.")
        self._psf = value

    @property
    def foreign_psf(self) -> np.ndarray | None:
        """The PSF that was set by hand."""
        return self._psf

    def alternative_wcs(self, key: str) -> WCS:
        """Return an alternative coordinate system.

        Parameters
        ----------
        key
            A for the pixels of the whole frame (of which this image may be a
            cut), W for wavelength and bandwidth in um.

        Raises
        ------
        KeyError
            If the header has no such system.
        """
        name = wavelength_plane(self.header)
        tables = {name: self.planes[name].peeked} if name is not None and name in self.planes else {}
        return alternative_wcs(self.header, key, tables)

    def bad_pixels(self, names: str | Iterable[str] = DEFAULT_PRESET) -> np.ndarray:
        """Return where a pixel should not be used; see `FlagPlane.bad_pixels`.

        Raises
        ------
        ValueError
            If the image has no flags.
        KeyError
            If a flag is asked for that the image does not have.
        """
        if self.flag_plane is None:
            raise ValueError("The image has no flags that could tell bad pixels.")
        return self.flag_plane.bad_pixels(names)
