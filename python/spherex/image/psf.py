"""Point spread functions of the zones of a detector."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from astropy.io import fits

from spherex.errors import ProductError, first_line
from spherex.headers import has_swapped_zones

# Centres of a column of zones differ by rounding.
_SAME_CENTRE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class ZonePsf:
    """PSF at a position.

    The fraction of a star's flux in a detector pixel is, if the PSF is
    optical, the sum of the ``oversampling**2`` samples in the pixel; if it
    is effective, that is already convolved with the pixel,
    ``oversampling**2`` times the sample at the centre of the pixel.

    Parameters
    ----------
    array
        Samples, shape (rows, columns), centred on the middle sample; not to be
        changed.
    oversampling
        Samples per detector pixel along an axis.
    effective
        Whether the PSF is convolved with the pixel.
    zone
        Number of the zone, from 1, in the order of planes and table rows;
        `None` if the PSF is interpolated between zones.
    distance
        Distance from the centre of the nearest zone (pixels).
    """

    array: np.ndarray = dataclasses.field(repr=False)
    oversampling: int
    effective: bool
    zone: int | None
    distance: float

    @property
    def normalisation(self) -> float:
        """Sum of the samples: 1 if they contain all of the flux. Nothing is renormalised."""
        return float(self.array.sum(dtype=np.float64))


def zone_weights(
    x_centres: np.ndarray, y_centres: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the zones around positions, and the weights of a bilinear interpolation.

    Parameters
    ----------
    x_centres, y_centres
        Centres of the zones.
    x, y
        Positions, shape (n,). Beyond the outermost centres the value at these
        applies.

    Returns
    -------
    indices : `numpy.ndarray`
        Indices of four zones for each position, shape (n, 4).
    weights : `numpy.ndarray`
        Weights of the zones, shape (n, 4). The sum of four is 1.

    Raises
    ------
    ValueError
        If the centres do not form a lattice.
    """
    columns, rows = _ticks(x_centres), _ticks(y_centres)
    lattice = np.full((len(rows), len(columns)), -1)
    lattice[_index(rows, y_centres), _index(columns, x_centres)] = np.arange(len(x_centres))
    if lattice.size != len(x_centres) or (lattice < 0).any():
        raise ValueError("The zones of the PSF do not form a lattice; use the PSF of the nearest zone.")
    (row, of_row), (column, of_column) = _between(rows, y), _between(columns, x)
    return (
        lattice[row[:, :, None], column[:, None, :]].reshape(-1, 4),
        (of_row[:, :, None] * of_column[:, None, :]).reshape(-1, 4),
    )


def _ticks(centres: np.ndarray) -> np.ndarray:
    """Return the distinct coordinates of a lattice."""
    ordered = np.sort(centres)
    return ordered[np.diff(ordered, prepend=-np.inf) > _SAME_CENTRE]


def _index(ticks: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.searchsorted(ticks, centres + _SAME_CENTRE) - 1


def _between(ticks: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two ticks around each position, and their weights, shape (n, 2)."""
    index = np.interp(positions, ticks, np.arange(len(ticks)))
    lower = index.astype(np.intp)
    part = index - lower
    upper = np.minimum(lower + 1, len(ticks) - 1)
    return np.stack([lower, upper], axis=-1), np.stack([1 - part, part], axis=-1)


PSF_PLANES = ("EPSF", "PSF")
"""Names of the plane with the PSFs: in Quick Release 3, and in 1 and 2."""


@dataclasses.dataclass(frozen=True, eq=False)
class Psf:
    """PSFs of all zones of a detector.

    Centres of zones are those of the file, and are compared with pixels
    counted from 0, as IRSA's notebook on the PSF does. `numpy.asarray` of it
    returns the samples.

    Parameters
    ----------
    samples
        Samples, shape (zones, rows, columns); not to be changed.
    x, y
        Centres of the zones in pixels of the whole frame, from 0, shape (zones,).
    oversampling
        Samples per detector pixel along an axis.
    effective
        Whether the PSF is convolved with the pixel.
    origin
        Column and row of the whole frame where the image at hand begins.

    Raises
    ------
    ValueError
        If the samples are not a cube, there is not one finite centre for each
        PSF, or the oversampling is not positive.
    """

    samples: np.ndarray = dataclasses.field(repr=False)
    _: dataclasses.KW_ONLY
    x: np.ndarray = dataclasses.field(repr=False)
    y: np.ndarray = dataclasses.field(repr=False)
    oversampling: int
    effective: bool
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name, kind in (("samples", None), ("x", float), ("y", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        shape = self.samples.shape
        if len(shape) != 3 or not self.samples.size or not self.x.shape == self.y.shape == shape[:1]:
            raise ValueError(f"{self.x.shape} centres of zones do not agree with samples of shape {shape}")
        if not np.isfinite([self.x, self.y]).all():
            raise ValueError("centres of zones are not numbers")
        if self.oversampling < 1:
            raise ValueError(f"the oversampling is {self.oversampling}, not 1 or more")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.samples, dtype=dtype, copy=copy)

    @staticmethod
    def is_in(hdu: fits.ImageHDU | fits.BinTableHDU) -> bool:
        """Return whether an HDU contains PSFs in a form of the archive."""
        if isinstance(hdu, fits.BinTableHDU):
            return "EPSF" in hdu.columns.names
        return len(hdu.shape) == 3 and "XCTR_1" in hdu.header

    @classmethod
    def from_hdu(
        cls,
        hdu: fits.ImageHDU | fits.BinTableHDU,
        version: str | None = None,
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> Psf:
        """Return the PSFs of an HDU of the archive.

        Parameters
        ----------
        hdu
            Cube of optical PSFs with the cards XCTR_i and YCTR_i (Quick
            Releases 1 and 2), or table of effective PSFs (Quick Release 3).
        version
            VERSION of the file: in cubes up to 6.5.5 the coordinates of the
            centres are swapped, unless the version has ``+psffix1``
            (https://irsa.ipac.caltech.edu/data/SPHEREx/docs/psfhdrerr.html).
            If the version is unknown the order of the zones decides: the
            columns change fastest.
        origin
            Column and row of the whole frame where the image at hand begins.

        Raises
        ------
        ProductError
            If the HDU lacks what a PSF needs, or is damaged.
        """
        if not cls.is_in(hdu):
            raise ProductError(f"HDU {hdu.name} contains no PSFs: neither a table EPSF nor a cube with cards XCTR_i")
        try:
            if isinstance(hdu, fits.BinTableHDU):
                return cls._of_table(hdu, origin)
            return cls._of_cube(hdu, version, origin)
        except Exception as error:
            # astropy raises errors of many kinds for damaged tables and cards.
            raise ProductError(f"HDU {hdu.name} is not a complete PSF: {first_line(error)}") from None

    @classmethod
    def _of_table(cls, hdu: fits.BinTableHDU, origin: tuple[float, float]) -> Psf:
        factors = {hdu.header["OVSMPX"], hdu.header["OVSMPY"]}
        if len(factors) > 1:
            raise ValueError(f"HDU {hdu.name} has unequal OVSMPX and OVSMPY")
        table = hdu.data
        samples = np.asarray(table["EPSF"])
        return cls(
            samples.astype(samples.dtype.newbyteorder("=")),
            x=table["XCENTER"],
            y=table["YCENTER"],
            oversampling=int(factors.pop()),
            effective=True,
            origin=origin,
        )

    @classmethod
    def _of_cube(cls, hdu: fits.ImageHDU, version: str | None, origin: tuple[float, float]) -> Psf:
        header, cube = hdu.header, hdu.data
        zones = range(1, len(cube) + 1)
        x, y = (np.array([header[f"{axis}CTR_{zone}"] for zone in zones], float) for axis in "XY")
        swapped = has_swapped_zones(version)
        if swapped is None:
            swapped = len(cube) > 1 and abs(x[1] - x[0]) < abs(y[1] - y[0])
        if swapped:
            x, y = y, x
        return cls(cube, x=x, y=y, oversampling=int(header["OVERSAMP"]), effective=False, origin=origin)

    def at(self, x: float, y: float, *, interpolate: bool = False) -> ZonePsf:
        """Return the PSF at a position in the image.

        Parameters
        ----------
        x, y
            Column and row in the image at hand, from 0. Outside of the frame
            the PSF of its edge applies.
        interpolate
            Whether to interpolate bilinearly between the centres of the four
            zones around the position; by default the nearest zone is used.
            Beyond the outermost centres their PSF applies.

        Raises
        ------
        ValueError
            If the position is not finite, or the zones to interpolate between
            do not form a lattice.
        """
        x, y = float(x) + self.origin[0], float(y) + self.origin[1]
        if not np.isfinite([x, y]).all():
            raise ValueError("The position of a PSF must be finite.")
        distances = np.hypot(self.x - x, self.y - y)
        nearest = int(distances.argmin())
        if interpolate:
            ((indices,), (weights,)) = zone_weights(self.x, self.y, np.array([x]), np.array([y]))
            has_part = weights > 0
            samples = np.einsum("k,kij->ij", weights[has_part], self.samples[indices[has_part]])
        else:
            samples = self.samples[nearest].view()
        samples.flags.writeable = False
        return ZonePsf(
            samples, self.oversampling, self.effective, None if interpolate else nearest + 1, float(distances[nearest])
        )
