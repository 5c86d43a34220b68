"""Wavelengths of pixels, from what the repository has for each detector."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from lsst.daf.butler import MissingDatasetTypeError

from spherex.archive import CBAND, CWAVE
from spherex.calibrations import CalibrationIndex
from spherex.detectors import SPECTRAL_WCS_TYPE, WAVELENGTH_TYPE
from spherex.errors import HeaderError, ProductError
from spherex.fits import WCS_WAVE, ProductFile, open_source, read_array, scan_hdus
from spherex.headers import BUNIT, bunit_of
from spherex.image import Box, Wavelength, wavelength_plane

from .pixels import Unread, read_files

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from lsst.daf.butler import Butler, DatasetRef
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from spherex.fits import ByteSource, HDUInfo

    from .candidates import Candidates


_PLANES = (CWAVE, CBAND)

_GAP = 64
"""Rows that are read in vain rather than asking a server twice: half a megabyte,
which takes about as long as one more request.
"""


def pixels_of(
    hdus: HDUList, places: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return central wavelengths and bandwidths of pixels, from planes in memory.

    Parameters
    ----------
    hdus
        The calibration.
    places
        0-based x and y inside of the frame, of shape (n, 2), at least one; the
        pixels that they are in are taken.
    shape
        Number of pixels of a frame along x and y.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); None if the planes are not there.

    Raises
    ------
    ProductError
        Raised if a plane has not the shape of the frame.
    ValueError
        Raised if its unit is none of length.
    """
    if not all(name in hdus for name in _PLANES):
        return None
    x, y = _indices(places)
    values = []
    for name in _PLANES:
        _check_shape(name, hdus[name].shape, shape)
        values.append(_in_um(name, hdus[name].data[y, x], hdus[name].header))
    return values[0], values[1]


def read_pixels(
    address: ResourcePath, places: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Read central wavelengths and bandwidths of pixels, of a file only the rows that have them.

    Parameters
    ----------
    address
        File of the calibration.
    places, shape
        As of `pixels_of`.

    Returns
    -------
    wavelength, bandwidth
        In um, of shape (n,); None if the planes are not there.

    Raises
    ------
    ProductError
        Raised if the file is damaged, or a plane has not the shape of the
        frame.
    ValueError
        Raised if its unit is none of length.
    OSError
        Raised if it cannot be read.
    """
    x, y = _indices(places)
    with open_source(address, sparse=True) as source:
        hdus = {hdu.name: hdu for hdu in scan_hdus(source, last=CBAND)}
        if not all(name in hdus for name in _PLANES):
            return None
        values = []
        for name in _PLANES:
            _check_shape(name, hdus[name].image_shape, shape)
            values.append(_in_um(name, _read_rows(source, hdus[name], x, y), hdus[name].cards))
    return values[0], values[1]


def _indices(places: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    x, y = np.rint(places).astype(np.intp).T
    return x, y


def _check_shape(name: str, found: tuple[int, ...], shape: tuple[int, int]) -> None:
    if tuple(found) != shape[::-1]:
        raise ProductError(
            f"its plane {name} has the shape {tuple(found)}, not that of the frame, {shape[::-1]} (rows, columns)"
        )


def _read_rows(source: ByteSource, hdu: HDUInfo, x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[Any]:
    """Return pixels; rows that are near to each other are read together."""
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


def _in_um(name: str, values: NDArray[Any], cards: Mapping[str, Any]) -> NDArray[np.float64]:
    try:
        unit = bunit_of(cards)
        return units.Quantity(values, units.um if unit is None else unit, dtype=float).to_value(units.um)
    except (HeaderError, units.UnitConversionError):
        raise ValueError(f"its plane {name} has the unit {cards[BUNIT]!r}, which is none of wavelengths") from None


def wavelengths_at(
    butler: Butler,
    candidates: Candidates,
    pixels: NDArray[np.float64],
    shape: tuple[int, int],
    threads: int,
    *,
    calibrations: Sequence[str],
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
    calibrations
        Collections of the calibrations, in the order of the search.
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
    for find in (functools.partial(_calibrations, collections=calibrations), _tables):
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
    """Yield images that have the same wavelength table, with that; each image once."""
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
    plain = [n for n, ref in enumerate(refs) if ref.datasetType.name == SPECTRAL_WCS_TYPE and _has_ranges(addresses[n])]
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
