"""Wavelengths of pixels, from what the repository has for each detector."""

from __future__ import annotations

__all__ = ["wavelengths_at"]

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from astropy import units
from lsst.daf.butler import DataCoordinate, DatasetRef, MissingCollectionError, MissingDatasetTypeError

from spherex.archive import CBAND, CWAVE
from spherex.fits.names import WCS_WAVE
from spherex.image import Wavelength
from spherex.ingest.level2 import WAVELENGTH_TYPE

from .criteria import SearchError

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.units import Quantity
    from lsst.daf.butler import Butler
    from lsst.daf.butler.queries.tree import DatasetFieldName
    from numpy.typing import NDArray

    from .candidates import Candidates

CALIBRATION = "spectral_wcs"
CALIBRATIONS = "SPHEREx/calib"


class _Solution(Protocol):
    def at(self, x: Any, y: Any) -> tuple[Quantity, Quantity]:
        """Return central wavelength and bandwidth at pixels of the whole frame."""


class _Planes:
    """Wavelengths and bandwidths of all pixels.

    Parameters
    ----------
    hdus
        The calibration ``spectral_wcs``.
    """

    def __init__(self, hdus: HDUList) -> None:
        self._planes = [
            units.Quantity(hdus[name].data, hdus[name].header.get("BUNIT") or "um", copy=False, dtype=None)
            for name in (CWAVE, CBAND)
        ]

    def at(self, x: Any, y: Any) -> tuple[Quantity, Quantity]:
        """Return central wavelength and bandwidth of the pixels that places of the frame are in."""
        rows, columns = (np.rint(values).astype(np.intp) for values in (y, x))
        wavelength, bandwidth = (plane[rows, columns].to(units.um) for plane in self._planes)
        return wavelength, bandwidth


def wavelengths_at(
    butler: Butler, candidates: Candidates, pixels: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return central wavelengths and bandwidths at pixels.

    The calibration that is valid at the time of an exposure is taken, else the
    wavelength table of the images of the same run and detector.

    Parameters
    ----------
    butler
        The repository.
    candidates
        The images.
    pixels
        0-based x and y in the whole frame, of shape (n, 2).
    shape
        Number of pixels of a frame along x and y.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); NaN where they are not known, and outside of the
        frame.

    Raises
    ------
    SearchError
        Raised if a wavelength solution cannot be read.
    """
    wavelength, bandwidth = np.full((2, len(candidates)), np.nan)
    half = np.array(shape) / 2
    # The hints of the numpy of Python 3.11 think that this may be one number.
    is_wanted = np.asarray((np.abs(pixels - half + 0.5) <= half).all(axis=1))
    for rows, ref in _solutions(butler, candidates, is_wanted):
        # Half a pixel beyond the centre of the last one, tables do not reach.
        x, y = np.clip(pixels[rows], 0, np.array(shape) - 1).T
        central, width = _solution(butler, ref).at(x, y)
        wavelength[rows], bandwidth[rows] = central.to_value(units.um), width.to_value(units.um)
        is_wanted[rows] = False
    return wavelength, bandwidth


def _solutions(
    butler: Butler, candidates: Candidates, is_wanted: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], DatasetRef]]:
    """Yield images that have the same wavelength solution, with that; each image once."""
    middle = candidates.times.mean(axis=1)
    for row in _known(butler, CALIBRATION, (CALIBRATIONS,), candidates.instrument, with_validity=True):
        begin, end = row[f"{CALIBRATION}.timespan"].nsec
        at = is_wanted & (candidates.detector == row["detector"]) & (begin <= middle) & (middle < end)
        if at.any():
            yield np.flatnonzero(at), _ref(butler, CALIBRATION, row)
    runs = tuple(dict.fromkeys(candidates.runs[is_wanted].tolist()))
    for row in _known(butler, WAVELENGTH_TYPE, runs, candidates.instrument) if runs else ():
        at = is_wanted & (candidates.detector == row["detector"]) & (candidates.runs == row[f"{WAVELENGTH_TYPE}.run"])
        if at.any():
            yield np.flatnonzero(at), _ref(butler, WAVELENGTH_TYPE, row)


def _known(
    butler: Butler, name: str, collections: tuple[str, ...], instrument: str, with_validity: bool = False
) -> list[dict[str, Any]]:
    """Return all datasets of a type, each with its run and perhaps its validity."""
    fields: set[DatasetFieldName] = {"dataset_id", "run"}
    if with_validity:
        fields.add("timespan")
    try:
        with butler.query() as query:
            query = query.join_dataset_search(name, collections).where(instrument=instrument)
            return list(query.general(["detector"], dataset_fields={name: fields}, find_first=False))
    except (MissingDatasetTypeError, MissingCollectionError):
        return []


def _ref(butler: Butler, name: str, row: dict[str, Any]) -> DatasetRef:
    dataset_type = butler.get_dataset_type(name)
    data_id = DataCoordinate.standardize(
        instrument=row["instrument"], detector=row["detector"], dimensions=dataset_type.dimensions
    )
    return DatasetRef(dataset_type, data_id, row[f"{name}.run"], id=row[f"{name}.dataset_id"])


def _solution(butler: Butler, ref: DatasetRef) -> _Solution:
    try:
        hdus = butler.get(ref)
        if CWAVE in hdus and CBAND in hdus:
            return _Planes(hdus)
        return Wavelength.from_table(hdus[WCS_WAVE])
    except (OSError, KeyError, ValueError) as error:
        raise SearchError(f"the wavelengths of {ref} cannot be read: {error}") from error
