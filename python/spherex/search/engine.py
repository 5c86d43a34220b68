"""From criteria to the table of images."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.detectors import FRAME_SHAPE, FRAME_SIDE
from spherex.errors import SearchError
from spherex.fits import FLAGS, flag_table_of, open_source, read_array, scan_hdus
from spherex.geometry import depths_of, pixels_at
from spherex.image import Box

from .candidates import MARGIN, find_candidates
from .criteria import calibrations_of
from .pixels import Settlement, Unread, read_exactly, read_files, settle
from .table import make_table
from .wavelengths import wavelengths_at

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from .candidates import Candidates
    from .criteria import Criteria


NONE = "-"
"""Stands for a pixel without flags."""


def read_flags(
    addresses: Sequence[ResourcePath], pixels: Sequence[tuple[int, int]], threads: int
) -> list[str | Unread | None]:
    """Read the flags that one pixel of each image has set.

    Parameters
    ----------
    addresses
        Files of the images.
    pixels
        Column and row of a pixel in each file, 0-based.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    names
        Names with commas between them, `NONE` if there are none; None if the
        image has no flags at all; why it cannot be read.
    """
    return read_files(_flags_of, addresses, pixels, threads=threads)


def _flags_of(address: ResourcePath, pixel: tuple[int, int]) -> str | None:
    x, y = pixel
    with open_source(address, sparse=True) as source:
        hdu = next((hdu for hdu in scan_hdus(source, last=FLAGS) if hdu.name == FLAGS), None)
        if hdu is None:
            return None
        ((value,),) = np.asarray(read_array(source, hdu, Box(x, x + 1, y, y + 1))).tolist()
    names = [name for name, bit in flag_table_of(hdu.header_bytes).items() if value >> bit & 1]
    return ",".join(names) or NONE


_SORTS = ("time", "wavelength")


@dataclasses.dataclass(frozen=True, eq=False)
class FoundImages:
    """Images that were found.

    Parameters
    ----------
    table
        One row for each, see `spherex.search.engine`.
    without_wavelength
        Numbers of the detectors of which some images have no known wavelength
        at the position, or at the pixel that is nearest to it.
    at_any_wavelength
        Number of images before those of other wavelengths, or of none that is
        known, were left out; of the detectors that may have the wavelengths
        looked for.
    problems
        Why files could not be read. Images are then judged by the corners of
        the frame alone; in place of a calibration the wavelength table of the
        run is taken.
    """

    table: Table
    without_wavelength: tuple[int, ...]
    at_any_wavelength: int
    problems: tuple[str, ...]


def find_images(
    butler: Butler,
    criteria: Criteria,
    *,
    exact: bool = False,
    flags: bool = False,
    addresses: bool = True,
    sort: str = "time",
    threads: int = 1,
) -> FoundImages:
    """Find all images that contain a position, or touch a circle round it.

    Parameters
    ----------
    butler
        The repository.
    criteria
        What is looked for.
    exact
        Read the headers of all images, not only of those near whose edges the
        position is. What a file does not hold, a cutout for instance, then
        counts as outside. Wavelengths that the repository does not know are
        read from the images.
    flags
        Read the flags at the position, too, and the headers with them.
    addresses
        Tell where the images are, too. For ten thousands of images this
        takes as long as all the rest.
    sort
        ``time`` or ``wavelength``.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    found
        The images.

    Raises
    ------
    SearchError
        Raised if the repository cannot be asked that, or there is no such
        order.
    """
    if sort not in _SORTS:
        raise SearchError(f"images are sorted by {' or '.join(_SORTS)}, not by {sort!r}.")
    with _no_collection():
        return _find(butler, criteria, exact or flags, flags, addresses, sort, threads)


def _find(
    butler: Butler, criteria: Criteria, exact: bool, flags: bool, with_addresses: bool, sort: str, threads: int
) -> FoundImages:
    calibrations = calibrations_of(butler, criteria)
    candidates = find_candidates(butler, criteria)
    pixels = pixels_at(candidates.corners, _direction(criteria), FRAME_SHAPE)
    reach = _reach(candidates, criteria)
    depths = depths_of(pixels, FRAME_SHAPE) + reach
    if exact:
        settlement = Settlement(pixels.copy(), {}, [])
        near = np.flatnonzero(depths >= -MARGIN)
        read_exactly(butler, criteria, candidates, near.tolist(), settlement, threads)
    else:
        near = np.flatnonzero(np.abs(depths) <= MARGIN)
        settlement = settle(butler, criteria, candidates, pixels, near, reach=reach, shape=FRAME_SHAPE, threads=threads)
    pixels = settlement.pixels
    is_found = depths_of(pixels, FRAME_SHAPE) + reach >= 0
    if exact:
        is_found &= _is_in_file(settlement, reach)
    wavelength, bandwidth = np.full((2, len(candidates)), np.nan)
    rows = np.flatnonzero(is_found)
    wavelength[rows], bandwidth[rows], unread = wavelengths_at(
        butler,
        candidates.take(rows),
        pixels[rows],
        FRAME_SHAPE,
        threads,
        calibrations=calibrations,
        with_files=exact,
    )
    is_unknown = is_found & np.isnan(wavelength)
    at_any_wavelength = len(rows)
    if criteria.wavelengths is not None:
        shortest, longest = criteria.wavelengths
        rows = np.flatnonzero(is_found & (shortest <= wavelength) & (wavelength <= longest))
    rows = rows[_order(candidates.take(rows), wavelength[rows], sort)]
    images = candidates.take(rows)
    addresses = images.addresses(butler) if with_addresses or flags else None
    problems = settlement.problems + unread
    names = None
    if flags and addresses is not None:
        frames = [settlement.frames.get(row) for row in rows.tolist()]
        names = _flags_at(addresses, pixels[rows], frames, problems, threads)
    return FoundImages(
        make_table(
            images, pixels[rows], wavelength[rows], bandwidth[rows], names, addresses if with_addresses else None
        ),
        tuple(np.unique(candidates.detector[is_unknown]).tolist()),
        at_any_wavelength,
        tuple(dict.fromkeys(problems)),
    )


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles, a quarter of the time among ten thousands of images."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _direction(criteria: Criteria) -> NDArray[np.float64]:
    ra, dec = np.radians([criteria.ra, criteria.dec])
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _reach(candidates: Candidates, criteria: Criteria) -> NDArray[np.float64]:
    """Return the radius of the search in pixels of each frame."""
    side = np.linalg.norm(candidates.corners[:, 1] - candidates.corners[:, 0], axis=1)
    return np.radians(criteria.radius) * FRAME_SIDE / side


def _is_in_file(settlement: Settlement, reach: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the files that were read have the pixels; of others that is assumed."""
    is_in = np.ones(len(reach), bool)
    for row, frame in settlement.frames.items():
        (depth,) = depths_of(settlement.pixels[[row]] - frame.origin, frame.shape)
        is_in[row] = depth + reach[row] >= 0
    return is_in


def _order(images: Candidates, wavelength: NDArray[np.float64], sort: str) -> NDArray[np.intp]:
    keys = (images.detector, images.exposure, images.times[:, 0])
    # What is not a number comes last.
    return np.lexsort((*keys, wavelength) if sort == "wavelength" else keys)


def _flags_at(
    addresses: list[ResourcePath],
    pixels: NDArray[np.float64],
    frames: list[Any],
    problems: list[str],
    threads: int,
) -> list[str | None]:
    """Return the flags of each image at a pixel of the whole frame, if its file has that pixel."""
    names: list[str | None] = [None] * len(frames)
    places = {}
    for row, frame in enumerate(frames):
        if frame is not None:
            x, y = np.floor(pixels[row] - frame.origin + 0.5).astype(int).tolist()
            if 0 <= x < frame.shape[0] and 0 <= y < frame.shape[1]:
                places[row] = (x, y)
    answers = read_flags([addresses[row] for row in places], list(places.values()), threads)
    for row, answer in zip(places, answers, strict=True):
        if isinstance(answer, Unread):
            problems.append(answer)
        else:
            names[row] = answer
    return names
