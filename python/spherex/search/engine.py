"""Search for images at a position: which images it is outside of, the table of the others, and a cutout of one."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from astropy.time import Time
from lsst.daf.butler import Butler

from spherex.errors import SearchError, counted
from spherex.fits import FLAGS, find_hdu, flag_table_of, open_source, read_array, read_product
from spherex.geometry import pixels_at
from spherex.headers import time_at
from spherex.image import Box
from spherex.repository import reading

from .candidates import MARGIN, Candidates, find_candidates
from .criteria import Criteria, calibrations_of, detectors_with, value_in
from .pixels import HeaderPixels, read_files
from .table import make_table
from .wavelengths import wavelengths_at

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from astropy.units import Quantity
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from spherex.image import SPHERExImage


_LOG = logging.getLogger(__name__)
_NO_FLAGS = "-"
_SORTS = ("time", "wavelength")

_FAR = 0.05
"""Distance of the wavelength of a cutout from that wanted, relative to it, from which the user is warned:
twice the bandwidth of detectors 1 to 4.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class FoundImages:
    """Images at a position.

    Parameters
    ----------
    table
        One row for each image, see `spherex.search.table.make_table`.
    without_wavelength
        Detectors with images whose wavelength at the position, or at the
        pixel nearest to it, is unknown.
    at_any_wavelength
        Number of images at the position before the wavelengths were compared
        with those of the criteria; only of detectors that may have these.
    problems
        URIs and reasons of files that could not be read. Pixels of such
        images come from the corners of the frame alone. In place of a
        calibration the wavelength table of the run is used. And how many
        images have no time, at which a proper motion would be applied.
    """

    table: Table
    without_wavelength: tuple[int, ...]
    at_any_wavelength: int
    problems: tuple[str, ...]


def find_images(
    repo: Butler | str | os.PathLike[str] | ResourcePath,
    criteria: Criteria | SkyCoord,
    *,
    radius: Quantity | float | None = None,
    times: Sequence[Time] | Time | None = None,
    wavelengths: Quantity | Sequence[float] | None = None,
    exact: bool = False,
    flags: bool = False,
    uris: bool = True,
    sort: str = "time",
    threads: int = 1,
    **others: Any,
) -> FoundImages:
    """Find all images that contain a position, or overlap a circle around it.

    Parameters
    ----------
    repo
        The repository, or its path, URI or label.
    criteria
        A position, or all criteria. A proper motion, which needs an
        ``obstime``, is applied at the middle of each image.
    radius, times, wavelengths, **others
        Further criteria for a position, see `Criteria.around`.
    exact
        Read the headers of all images, not only of those whose edges are near
        the position, for exact pixels. They also show which pixels cutouts
        contain that were ingested without a record of that. Wavelengths that
        the repository does not know are read from the images.
    flags
        Read the flags at the position, and the headers of all images.
    uris
        Add the URIs of the images to the table. For tens of thousands of
        images this takes as long as the rest.
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
        If the repository does not have an object that the criteria name, or
        ``sort`` is another word.
    spherex.errors.CatalogError
        If the position has a proper motion that is not valid or has no
        ``obstime``.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> found = spherex.find_images("REPO", star, wavelengths=[2.4, 2.5] * u.um)
    >>> found.table["detector", "wavelength", "x", "y"].pprint()
    detector wavelength   x      y
                 um      pix    pix
    -------- ---------- ------ ------
           4     2.4447 1157.5 1993.7
    """
    if not isinstance(criteria, Criteria):
        criteria = Criteria.around(criteria, radius, times, wavelengths, **others)
    elif others or any(given is not None for given in (radius, times, wavelengths)):
        raise SearchError(
            "radius, times, wavelengths and other criteria are for a position, not for a Criteria object."
        )
    if sort not in _SORTS:
        raise SearchError(f"images are sorted by {' or '.join(_SORTS)}, not by {sort!r}.")
    exact = exact or flags
    with reading(repo) as butler, _no_garbage_collection():
        calibrations = calibrations_of(butler, criteria)
        candidates = find_candidates(butler, criteria, all_versions=exact)
        headers, is_found = _choose(butler, criteria, candidates, exact, threads)
        if not candidates.all_versions and np.any(headers.are_cutouts & (headers.depths < 0)):
            # Of these cutouts the repository does not record the extent: an older version may contain the position.
            candidates = find_candidates(butler, criteria, all_versions=True)
            headers, is_found = _choose(butler, criteria, candidates, exact, threads)
        wavelength, bandwidth = np.full((2, len(candidates)), np.nan)
        rows = np.flatnonzero(is_found)
        wavelength[rows], bandwidth[rows], problems = wavelengths_at(
            butler, candidates.take(rows), headers.pixels[rows], calibrations, threads, with_images=exact
        )
        is_unknown = is_found & np.isnan(wavelength)
        at_any_wavelength = len(rows)
        if criteria.wavelengths is not None:
            shortest, longest = criteria.wavelengths
            rows = np.flatnonzero(is_found & (shortest <= wavelength) & (wavelength <= longest))
        rows = rows[_order(candidates.take(rows), wavelength[rows], sort)]
        images = candidates.take(rows)
        image_uris = images.uris(butler) if uris or flags else None
        problems = [*headers.problems, *problems]
        if criteria.motion is not None and (timeless := int(np.count_nonzero(~images.has_time))):
            problems.append(f"{counted(timeless, 'image')} without a time: the proper motion is not applied there")
        names = None
        if flags and image_uris is not None:
            names, unread = _flags_at(headers, rows, image_uris, threads)
            problems += unread
        table = make_table(
            images,
            headers.pixels[rows],
            headers.errors[rows],
            wavelength[rows],
            bandwidth[rows],
            names,
            image_uris if uris else None,
        )
    without_wavelength = tuple(np.unique(candidates.detector[is_unknown]).tolist())
    return FoundImages(table, without_wavelength, at_any_wavelength, tuple(dict.fromkeys(problems)))


def cutout(
    repo: Butler | str | os.PathLike[str] | ResourcePath,
    position: SkyCoord,
    size: Any,
    *,
    wavelength: Quantity | float,
    mode: str = "trim",
    **criteria: Any,
) -> SPHERExImage:
    """Read the surroundings of a position from the image nearest in wavelength.

    Only the rows around the position are read, from remote files too. Of
    images with the same wavelength the first one in the order of
    `find_images` is read.

    Parameters
    ----------
    repo
        The repository, or its path, URI or label.
    position
        One position, which the image contains. A proper motion, which needs an
        ``obstime``, is applied at the middle of the image.
    size
        Angle, or number of pixels, for both axes or as a pair (rows,
        columns), see `spherex.image.Cutout`.
    wavelength
        Central wavelength wanted at the position, in um without a unit. A
        pixel at a distance from the position has another wavelength.
    mode
        ``trim`` omits pixels beyond the edge of the image, ``pad`` fills them.
    **criteria
        Further criteria for images, such as ``times`` and ``detectors``, see
        `spherex.search.Criteria.around`.

    Returns
    -------
    image
        The part of the image. Its ``wavelength`` contains those of the pixels.

    Raises
    ------
    SearchError
        If no image contains the position, or no such image has a known
        wavelength, or the wavelength wanted is not a positive length of the
        range of the detectors; or if the position moves, and the image has no
        time.
    spherex.errors.CatalogError
        If the position has a proper motion that is not valid or has no
        ``obstime``.
    spherex.fits.ProductError
        If the file is damaged.
    OSError
        If the file does not exist or may not be read.
    ValueError
        If ``size`` or ``mode`` is wrong.

    Warns
    -----
    UserWarning
        If the wavelength of the image is more than 5 % from that wanted.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> import spherex
    >>> star = SkyCoord(310.1, 40.16, unit="deg")
    >>> image = spherex.cutout("REPO", star, 1 * u.arcmin, wavelength=2.4 * u.um)
    >>> image.shape, image.header["DETECTOR"]
    ((10, 10), 4)
    """
    wanted = np.asarray(value_in(units.um, wavelength))
    if wanted.shape or not 0 < wanted < np.inf:
        raise SearchError(f"the wavelength is one positive length, not {wavelength}.")
    detectors_with(float(wanted), float(wanted))
    where = Criteria.around(position, **criteria)
    found = find_images(repo, where)
    table = found.table
    for problem in found.problems:
        _LOG.warning("%s", problem)
    if not len(table):
        place = position.icrs
        raise SearchError(
            f"no image contains RA {place.ra.deg:.6f}, Dec {place.dec.deg:.6f}: "
            "find and ingest its images with butler find-archive, or give fewer criteria."
        )
    distance = np.ma.filled(np.ma.abs(np.ma.asarray(table["wavelength"]) - wanted), np.inf)
    nearest = int(np.argmin(distance))
    if not np.isfinite(distance[nearest]):
        raise SearchError(
            "the wavelengths of the images at the position are not known: ingest the calibration spectral_wcs "
            "(butler ingest-calibrations)."
        )
    if distance[nearest] > _FAR * wanted:
        warnings.warn(
            f"No image at the position is nearer to {float(wanted):g} um than one of "
            f"{table['wavelength'][nearest]:.4g} um, which is returned.",
            UserWarning,
            stacklevel=2,
        )
    if where.motion is not None:
        if np.ma.is_masked(table["mjd"][nearest]):
            raise SearchError("the position moves, but the image has no time: give its position in the image at rest.")
        (position,) = where.positions_at(Time([table["mjd"][nearest]], format="mjd", scale="utc"))
    return read_product(str(table["address"][nearest]), position=position, size=size, mode=mode)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause the search for reference cycles, a quarter of the time among tens of thousands of images."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _positions(criteria: Criteria, candidates: Candidates) -> NDArray[np.float64]:
    """Return right ascension and declination (deg) at the time of each image, of shape (2, n)."""
    positions = np.empty((2, len(candidates)))
    positions[:] = [[criteria.ra], [criteria.dec]]
    if criteria.motion is not None and (has_time := candidates.has_time).any():
        moved = criteria.positions_at(time_at(candidates.middle[has_time], "UTC"))
        positions[:, has_time] = moved.ra.deg, moved.dec.deg
    return positions


def _directions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors of positions, of shape (n, 3)."""
    ra, dec = np.radians(positions)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _reach(candidates: Candidates, criteria: Criteria) -> NDArray[np.float64]:
    """Return the radius of the search in pixels of each frame."""
    side = np.linalg.norm(candidates.corners[:, 1] - candidates.corners[:, 0], axis=1)
    return np.radians(criteria.radius) * candidates.frames[:, 1] / side


def _choose(
    butler: Butler, criteria: Criteria, candidates: Candidates, exact: bool, threads: int
) -> tuple[HeaderPixels, NDArray[np.bool_]]:
    """Choose the first version of each exposure and detector that contains the position.

    Where none does, the first one that the circle of the search touches. A
    whole frame without the position ends the search among its versions: it is
    outside of the older ones, too. Where a position is outside of an image is
    decided here.

    Returns
    -------
    headers
        Pixels of the images.
    is_found
        Whether each image is chosen, of shape (n,).
    """
    positions = _positions(criteria, candidates)
    corner_pixels = pixels_at(candidates.corners, _directions(positions), candidates.frames)
    reach = _reach(candidates, criteria)
    headers = HeaderPixels(butler, positions, candidates, corner_pixels, threads)
    depths = headers.depths + reach
    (near,) = np.nonzero(depths >= -MARGIN)
    keys = np.column_stack([candidates.exposure[near], candidates.detector[near]])
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)][: len(near)])
    ends = np.r_[starts[1:], len(near)]
    groups = np.arange(len(starts))
    chosen = np.full(len(starts), -1)
    while len(starts):
        rows = near[starts]
        if exact:
            headers.read(rows)
        else:
            is_doubtful = np.minimum(np.abs(depths[rows]), np.abs(depths[rows] - reach[rows])) <= MARGIN
            headers.read_doubtful(rows[is_doubtful], reach)
        depth = headers.depths[rows]
        contains = depth >= 0
        is_better = contains | ((depth + reach[rows] >= 0) & (chosen[groups] < 0))
        chosen[groups[is_better]] = rows[is_better]
        starts += 1
        goes_on = ~contains & headers.are_cutouts[rows] & (starts < ends)
        starts, ends, groups = starts[goes_on], ends[goes_on], groups[goes_on]
    is_found = np.zeros(len(candidates), bool)
    is_found[chosen[chosen >= 0]] = True
    return headers, is_found


def _order(images: Candidates, wavelength: NDArray[np.float64], sort: str) -> NDArray[np.intp]:
    keys = (images.detector, images.exposure, images.times[:, 0])
    # NaN comes last.
    return np.lexsort((*keys, wavelength) if sort == "wavelength" else keys)


def _flags_at(
    headers: HeaderPixels, rows: NDArray[np.intp], uris: list[ResourcePath], threads: int
) -> tuple[list[str | None], list[str]]:
    """Return the flags of each image at the position, if its file contains that pixel, and files not read."""
    pixels: dict[int, tuple[int, int]] = {}
    for place, row in enumerate(rows.tolist()):
        if (frame := headers.frames.get(row)) is not None:
            x, y = np.floor(headers.pixels[row] - frame.origin + 0.5).astype(int).tolist()
            if 0 <= x < frame.shape[1] and 0 <= y < frame.shape[0]:
                pixels[place] = (x, y)
    places = list(pixels)
    answers, problems = read_files(_flags_of, [uris[place] for place in places], pixels.values(), threads=threads)
    names: list[str | None] = [None] * len(rows)
    for number, name in answers.items():
        names[places[number]] = name
    return names, list(problems.values())


def _flags_of(uri: ResourcePath, pixel: tuple[int, int]) -> str | None:
    """Read the names of the flags of a pixel, separated by commas; `None` if the image does not have flags."""
    x, y = pixel
    with open_source(uri, sparse=True) as source:
        hdu = find_hdu(source, FLAGS)
        if hdu is None:
            return None
        ((value,),) = np.asarray(read_array(source, hdu, Box(x, x + 1, y, y + 1))).tolist()
    names = [name for name, bit in flag_table_of(hdu.header_bytes).items() if value >> bit & 1]
    return ",".join(names) or _NO_FLAGS
