"""Wavelengths of pixels, from what the repository has for each detector."""

from __future__ import annotations

__all__ = ["wavelengths_at"]

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from lsst.daf.butler import DataCoordinate, DatasetRef, MissingCollectionError, MissingDatasetTypeError

from spherex.archive import CBAND, CWAVE
from spherex.fits import ProductError, ProductFile
from spherex.fits.names import WCS_WAVE
from spherex.fits.sources import open_source
from spherex.image import Wavelength, wavelength_plane
from spherex.ingest.level2 import WAVELENGTH_TYPE

from .frames import Unread, read_files
from .planes import pixels_of, read_pixels

if TYPE_CHECKING:
    from lsst.daf.butler import Butler
    from lsst.daf.butler.queries.tree import DatasetFieldName
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from .candidates import Candidates

CALIBRATION = "spectral_wcs"
CALIBRATIONS = "SPHEREx/calib"


def wavelengths_at(
    butler: Butler,
    candidates: Candidates,
    pixels: NDArray[np.float64],
    shape: tuple[int, int],
    threads: int,
    *,
    with_files: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return central wavelengths and bandwidths at pixels.

    The calibration that is valid at the time of an exposure is taken. Where
    there is none, or it cannot be read, it is the wavelength table of the
    images of the same run and detector, or that of the image itself.

    Parameters
    ----------
    butler
        The repository.
    candidates
        The images.
    pixels
        0-based x and y in the whole frame, of shape (n, 2). Outside of the
        frame the nearest pixel of it counts.
    shape
        Number of pixels of a frame along x and y.
    threads
        Number of remote files that are read at the same time.
    with_files
        Whether images may be read.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); NaN where they are not known.
    problems
        Which calibrations, tables and images cannot be read, and why.
    """
    values = np.full((2, len(candidates)), np.nan)
    problems: list[str] = []
    is_wanted = np.ones(len(candidates), bool)
    # Half a pixel beyond the centre of the last one, tables do not reach either.
    places = np.clip(pixels, 0, np.array(shape) - 1)
    for find in (_calibrations, _tables):
        solutions = list(find(butler, candidates, is_wanted))
        refs = [ref for _, ref in solutions]
        answers = _read(butler, refs, [places[rows] for rows, _ in solutions], shape, threads)
        for (rows, ref), answer in zip(solutions, answers, strict=True):
            if isinstance(answer, Unread):
                name, detector = ref.datasetType.name, ref.dataId["detector"]
                problems.append(f"{name} of detector {detector} in {ref.run} is left out: {answer}")
            else:
                values[:, rows] = answer
                is_wanted[rows] = False
    if with_files and is_wanted.any():
        rows = np.flatnonzero(is_wanted)
        addresses = candidates.take(rows).addresses(butler)
        for row, answer in zip(rows, read_files(_own, addresses, list(places[rows]), threads=threads), strict=True):
            if isinstance(answer, Unread):
                problems.append(answer)
            elif answer is not None:
                values[:, row] = answer
    return values[0], values[1], problems


def _calibrations(
    butler: Butler, candidates: Candidates, is_wanted: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], DatasetRef]]:
    """Yield images that have the same calibration, with that; each image once."""
    middle = candidates.times.mean(axis=1)
    is_left = is_wanted.copy()
    for row in _known(butler, CALIBRATION, (CALIBRATIONS,), candidates.instrument, with_validity=True):
        begin, end = row[f"{CALIBRATION}.timespan"].nsec
        at = is_left & (candidates.detector == row["detector"]) & (begin <= middle) & (middle < end)
        is_left &= ~at
        if at.any():
            yield np.flatnonzero(at), _ref(butler, CALIBRATION, row)


def _tables(
    butler: Butler, candidates: Candidates, is_wanted: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], DatasetRef]]:
    """Yield images that have the same wavelength table, with that; each image once."""
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


def _read(
    butler: Butler,
    refs: Sequence[DatasetRef],
    places: Sequence[NDArray[np.float64]],
    shape: tuple[int, int],
    threads: int,
) -> list[Any]:
    """Return central wavelengths and bandwidths that each solution has at its places, or why it cannot be read."""
    found = butler.get_many_uris(refs, predict=True)
    addresses = [found[ref].primaryURI for ref in refs]
    answers: list[Any] = [None] * len(refs)
    plain = [n for n, ref in enumerate(refs) if ref.datasetType.name == CALIBRATION and _has_ranges(addresses[n])]
    _fill(answers, plain, read_pixels, addresses, places, [shape] * len(refs), threads=threads)
    others = [n for n, answer in enumerate(answers) if answer is None]
    get = functools.partial(_get, butler)
    # The Butler is not made for several threads.
    _fill(answers, others, get, addresses, places, [shape] * len(refs), refs, threads=1)
    return answers


def _has_ranges(address: ResourcePath | None) -> bool:
    """Return whether parts of a file can be read, which is better than the Butler's copy of all of it."""
    # Fragments are files in an archive.
    return address is not None and not (address.fragment or address.getExtension().endswith(".gz"))


def _fill(answers: list[Any], which: list[int], read: Any, *arguments: Sequence[Any], threads: int) -> None:
    """Enter what is read of some of the files into the answers."""
    chosen = [[argument[n] for n in which] for argument in arguments]
    for n, answer in zip(which, read_files(read, *chosen, threads=threads), strict=True):
        answers[n] = answer


def _get(
    butler: Butler, _: ResourcePath, places: NDArray[np.float64], shape: tuple[int, int], ref: DatasetRef
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hdus = butler.get(ref)
    values = pixels_of(hdus, places, shape)
    if values is not None:
        return values
    if WCS_WAVE not in hdus:
        raise ProductError(f"it has no wavelengths, neither planes {CWAVE} and {CBAND} nor a table {WCS_WAVE}")
    central, width = Wavelength.from_table(hdus[WCS_WAVE]).at(*places.T)
    return central.to_value(units.um), width.to_value(units.um)


def _own(address: ResourcePath, place: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return central wavelength and bandwidth that an image has at a pixel of the frame, None if it does not tell."""
    with open_source(address, sparse=True) as source:
        image = ProductFile(source)
        if wavelength_plane(image.header()) is None:
            return None
        box = image.bbox()
        central, width = image.wavelength().at(place[0] - box.x0, place[1] - box.y0)
    return float(central.to_value(units.um)), float(width.to_value(units.um))
