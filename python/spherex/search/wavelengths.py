"""Wavelengths of pixels, from calibrations, wavelength tables and images."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from lsst.daf.butler import MissingDatasetTypeError

from spherex.archive import CBAND, CWAVE
from spherex.calibrations import CalibrationIndex
from spherex.detectors import SPECTRAL_WCS_TYPE, WAVELENGTH_TYPE
from spherex.fits import ProductFile, open_source, read_array, scan_hdus
from spherex.image import Box, PlaneWavelengths, plane_unit, wavelength_plane, wavelengths_in

from .pixels import read_files

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from spherex.fits import ByteSource, HDUInfo

    from .candidates import Candidates


_PLANES = (CWAVE, CBAND)

_GAP = 64
"""Largest number of unused rows between used ones that are read in one request: half a
megabyte, which takes about as long as one more request.
"""


def read_planes(
    uri: ResourcePath, places: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Read central wavelengths and bandwidths of pixels from a calibration, only the rows that contain them.

    Parameters
    ----------
    uri
        URI of the calibration.
    places
        0-based x and y inside of the frame, of shape (n, 2), at least one. The
        nearest pixel is used.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); `None` if the file does not have the planes.

    Raises
    ------
    ProductError
        If the file is damaged, or a plane does not have the shape of the frame
        or a unit of length.
    OSError
        If the file cannot be read.
    """
    x, y = _nearest(places)
    with open_source(uri, sparse=True) as source:
        hdus = {hdu.name: hdu for hdu in scan_hdus(source, last=CBAND)}
        if not all(name in hdus for name in _PLANES):
            return None
        values = []
        for name in _PLANES:
            unit = plane_unit(name, hdus[name].image_shape, hdus[name].cards)
            values.append(units.Quantity(_read_rows(source, hdus[name], x, y), unit).to_value(units.um))
    return values[0], values[1]


def _nearest(places: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    x, y = np.rint(places).astype(np.intp).T
    return x, y


def _read_rows(source: ByteSource, hdu: HDUInfo, x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return pixels; rows that are near to each other are read in one request."""
    columns = hdu.image_shape[1]
    wanted = np.unique(y)
    pieces = np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1)
    values = np.empty(len(x))
    for piece in pieces:
        first, last = int(piece[0]), int(piece[-1])
        rows = read_array(source, hdu, Box(0, columns, first, last + 1))
        is_there = (first <= y) & (y <= last)
        values[is_there] = rows[y[is_there] - first, x[is_there]]
    return values


def wavelengths_at(
    butler: Butler,
    candidates: Candidates,
    pixels: NDArray[np.float64],
    calibrations: Sequence[str],
    threads: int,
    *,
    with_images: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return central wavelengths and bandwidths at pixels.

    They come from the calibration that is valid for the exposure. The
    fallback, also for a calibration that cannot be read, is the wavelength
    table of the images of the same run and detector, then the image itself.

    Parameters
    ----------
    butler
        The repository.
    candidates
        The images.
    pixels
        0-based x and y in the whole frame, of shape (n, 2). Outside of the
        frame the nearest pixel of the frame is used.
    calibrations
        Collections of the calibrations, in the order of the search.
    threads
        Number of remote files that are read at the same time.
    with_images
        Whether images may be read.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); NaN where they are unknown.
    problems
        Calibrations, tables and images that cannot be read, and why.
    """
    values = np.full((2, len(candidates)), np.nan)
    problems: list[str] = []
    is_wanted = np.ones(len(candidates), bool)
    # Tables end half a pixel beyond the centre of the last pixel.
    places = np.clip(pixels, 0, candidates.frames[:, ::-1] - 1)
    for solutions in (functools.partial(_calibrations, collections=calibrations), _tables):
        rows_and_refs = list(solutions(butler, candidates, is_wanted))
        answers, unread = _read(
            butler, [ref for _, ref in rows_and_refs], [places[rows] for rows, _ in rows_and_refs], threads
        )
        for number, (rows, ref) in enumerate(rows_and_refs):
            if number in unread:
                name, detector = ref.datasetType.name, ref.dataId["detector"]
                problems.append(f"{name} of detector {detector} in {ref.run} is left out: {unread[number]}")
            else:
                values[:, rows] = answers[number]
                is_wanted[rows] = False
    if with_images and is_wanted.any():
        rows = np.flatnonzero(is_wanted)
        uris = candidates.take(rows).uris(butler)
        found, unread = read_files(_read_image, uris, places[rows], threads=threads)
        problems += unread.values()
        for number, answer in found.items():
            if answer is not None:
                values[:, rows[number]] = answer
    return values[0], values[1], problems


def _calibrations(
    butler: Butler, candidates: Candidates, is_wanted: NDArray[np.bool_], collections: Sequence[str]
) -> Iterator[tuple[NDArray[np.intp], DatasetRef]]:
    """Yield the rows of images that have the same calibration, and the calibration; each image once."""
    index = CalibrationIndex(butler.registry, SPECTRAL_WCS_TYPE, collections)
    rows = np.flatnonzero(is_wanted & candidates.has_time)
    numbers = index.find_all(candidates.instrument, candidates.detector[rows], candidates.middle[rows])
    for number in np.unique(numbers[numbers >= 0]).tolist():
        yield rows[numbers == number], index.refs[number]


def _tables(
    butler: Butler, candidates: Candidates, is_wanted: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], DatasetRef]]:
    """Yield the rows of images that have the same wavelength table, and the table; each image once."""
    runs = tuple(dict.fromkeys(candidates.runs[is_wanted].tolist()))
    if not runs:
        return
    try:
        with butler.query() as query:
            query = query.where(instrument=candidates.instrument)
            tables = list(query.datasets(WAVELENGTH_TYPE, runs, find_first=False))
    except MissingDatasetTypeError:
        return
    for ref in tables:
        at = is_wanted & (candidates.detector == ref.dataId["detector"]) & (candidates.runs == ref.run)
        if at.any():
            yield np.flatnonzero(at), ref


def _read(
    butler: Butler, refs: Sequence[DatasetRef], places: Sequence[NDArray[np.float64]], threads: int
) -> tuple[dict[int, Any], dict[int, str]]:
    """Return central wavelengths and bandwidths that datasets have at places, and why datasets cannot be read."""
    found = butler.get_many_uris(refs, predict=True)
    uris: list[Any] = [found[ref].primaryURI for ref in refs]
    answers: dict[int, Any] = {}
    problems: dict[int, str] = {}

    def read(numbers: list[int], function: Any, threads: int, *arguments: Sequence[Any]) -> None:
        chosen = [[values[number] for number in numbers] for values in (uris, *arguments)]
        new_answers, new_problems = read_files(function, *chosen, threads=threads)
        answers.update({numbers[place]: answer for place, answer in new_answers.items() if answer is not None})
        problems.update({numbers[place]: problem for place, problem in new_problems.items()})

    # To read parts of a file is faster than the Butler's copy of the whole file. Fragments are files in an archive.
    in_parts = [
        n
        for n, (ref, uri) in enumerate(zip(refs, uris, strict=True))
        if ref.datasetType.name == SPECTRAL_WCS_TYPE
        and uri is not None
        and not (uri.fragment or uri.getExtension().endswith(".gz"))
    ]
    read(in_parts, read_planes, threads, places)
    rest = [n for n in range(len(refs)) if n not in answers and n not in problems]
    # A Butler may be used by one thread at a time.
    read(rest, functools.partial(_get, butler), 1, places, refs)
    return answers, problems


def _get(
    butler: Butler, _: ResourcePath | None, places: NDArray[np.float64], ref: DatasetRef
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return central wavelengths and bandwidths (um) that a dataset has at places."""
    solution = wavelengths_in(butler.get(ref))
    if isinstance(solution, PlaneWavelengths):
        central, width = solution.of_pixels(*_nearest(places))
    else:
        central, width = solution.at(*places.T)
    return central.to_value(units.um), width.to_value(units.um)


def _read_image(uri: ResourcePath, place: NDArray[np.float64]) -> tuple[float, float] | None:
    """Read central wavelength and bandwidth (um) of an image at a pixel of the frame; `None` if it has none."""
    with open_source(uri, sparse=True) as source:
        image = ProductFile(source)
        if wavelength_plane(image.header()) is None:
            return None
        box = image.bbox()
        central, width = image.wavelength().at(place[0] - box.x0, place[1] - box.y0)
    return float(central.to_value(units.um)), float(width.to_value(units.um))
