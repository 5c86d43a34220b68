"""Wavelength and bandwidth of every pixel, by the table that is in the file."""

from __future__ import annotations

__all__ = ["WavelengthTable", "wavelength_table"]

import dataclasses
import functools

import numpy as np
from astropy.io import fits

from spherex.detectors import DETECTORS, FRAME_SIDE
from spherex.fits import WCS_WAVE

from .._telescope import wavelength_of_row

_SMILE = 30.0  # rows by which a line of equal wavelength bends towards the sides


@dataclasses.dataclass(frozen=True)
class WavelengthTable:
    """Wavelength and bandwidth at control points, bilinear between them.

    The table is the truth: sources shine at the wavelength that a reader of
    the file finds.

    Parameters
    ----------
    points
        Columns, and rows, of the control points, 1-based.
    values
        Wavelength and bandwidth, um, float32, shape (y, x, 2).
    """

    points: np.ndarray
    values: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return wavelength and bandwidth.

        Parameters
        ----------
        x, y
            Position in the whole frame, 0-based. Beyond the control points
            the outermost slope goes on.
        """
        (column, right), (row, up) = self._place(x), self._place(y)
        values = self.values.astype(float)
        below = (1 - right)[..., np.newaxis] * values[row, column] + right[..., np.newaxis] * values[row, column + 1]
        row = row + 1
        above = (1 - right)[..., np.newaxis] * values[row, column] + right[..., np.newaxis] * values[row, column + 1]
        mixed = (1 - up)[..., np.newaxis] * below + up[..., np.newaxis] * above
        return mixed[..., 0], mixed[..., 1]

    def _place(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        zero_based = self.points - 1.0
        index = np.clip(np.searchsorted(zero_based, position, side="right") - 1, 0, len(zero_based) - 2)
        return index, (position - zero_based[index]) / (zero_based[index + 1] - zero_based[index])

    def hdu(self) -> fits.BinTableHDU:
        """Return the table WCS-WAVE of the file."""
        n = len(self.points)
        columns = [
            fits.Column("X", f"{n}J", dim=f"({n})", array=self.points[np.newaxis]),
            fits.Column("Y", f"{n}J", dim=f"({n})", array=self.points[np.newaxis]),
            fits.Column("VALUES", f"{2 * n * n}E", dim=f"(2,{n},{n})", array=self.values[np.newaxis]),
        ]
        return fits.BinTableHDU.from_columns(columns, name=WCS_WAVE)


@functools.cache
def wavelength_table(detector: int, control_points: int) -> WavelengthTable:
    """Return wavelength and bandwidth of a detector.

    Parameters
    ----------
    detector
        Detector number.
    control_points
        Number of them along each axis.
    """
    description = DETECTORS[detector - 1]
    # As in the files of the archive, where the middle one of eleven is 1021.
    points = np.floor(np.linspace(1, FRAME_SIDE, control_points) + 0.5).astype(np.int32)
    y, x = np.meshgrid(points - 1.0, points - 1.0, indexing="ij")
    rows = y + _SMILE * (2 * x / (FRAME_SIDE - 1) - 1) ** 2
    wavelength = wavelength_of_row(description, rows, FRAME_SIDE)
    values = np.stack([wavelength, wavelength / description.r], axis=-1).astype(np.float32)
    return WavelengthTable(points, values)
