"""Pixels of images at a position, from the headers of their files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from astropy.wcs import NoConvergence

from spherex.detectors import FRAME_SIDE
from spherex.errors import ProductError, first_line, without_secrets
from spherex.fits import IMAGE, find_hdu, open_source, read_many
from spherex.geometry import depths_of, directions_at
from spherex.image import celestial_wcs, frame_origin

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from lsst.daf.butler import Butler
    from lsst.resources import ResourcePath
    from numpy.typing import NDArray

    from .candidates import Candidates

_Answer = TypeVar("_Answer")


def read_files(
    read: Callable[..., _Answer], uris: Sequence[ResourcePath], *arguments: Iterable[Any], threads: int
) -> tuple[dict[int, _Answer], dict[int, str]]:
    """Read many files, and collect the errors of those that cannot be read.

    Parameters
    ----------
    read
        Reads one file, from its URI and the further arguments.
    uris
        URIs of the files.
    *arguments
        Further arguments of the calls, each of the length of ``uris``.
    threads
        Number of remote files that are read at the same time.

    Returns
    -------
    answers
        Results of ``read`` by place in ``uris``.
    problems
        For each other place the URI and the reason.
    """
    # Local files cost processor time, which threads do not add.
    if threads > 1 and all(uri.isLocal for uri in uris):
        threads = 1
    answers: dict[int, _Answer] = {}
    problems: dict[int, str] = {}
    for place, future in enumerate(read_many(read, uris, *arguments, threads=threads)):
        try:
            answers[place] = future.result()
        except Exception as error:
            # Remote back ends raise errors of many libraries.
            problems[place] = without_secrets(f"{uris[place]} cannot be read: {first_line(error)}")
    return answers, problems


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """Celestial coordinates of the pixels of a file.

    Parameters
    ----------
    wcs
        WCS of the file.
    origin
        0-based x and y in the whole frame of the first pixel of the file.
    shape
        Shape of the image in the file (rows, columns).
    """

    wcs: WCS
    origin: tuple[float, float]
    shape: tuple[int, int]

    def pixels_at(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels of the whole frame at positions.

        Parameters
        ----------
        ra, dec
            Positions, ICRS (deg), of shape (n,).

        Returns
        -------
        pixels
            0-based x and y, of shape (n, 2); NaN where the distortions cannot
            be inverted, far outside of the frame.
        """
        try:
            x, y = self.wcs.world_to_pixel_values(ra, dec)
        except NoConvergence as error:
            best = np.array(error.best_solution)
            bad = np.zeros(len(best), bool)
            for rows in (error.divergent, error.slow_conv):
                if rows is not None:
                    bad[rows] = True
            best[bad] = np.nan
            x, y = best.T
        return np.column_stack([x, y]) + self.origin


def read_frame(uri: ResourcePath) -> Frame:
    """Read the coordinate system of an image; of a remote file a few ranges.

    Parameters
    ----------
    uri
        URI of the file.

    Raises
    ------
    ProductError
        If the file is damaged or does not have celestial coordinates.
    OSError
        If the file cannot be read.
    """
    with open_source(uri, sparse=True) as source:
        hdu = find_hdu(source, IMAGE)
    if hdu is None:
        raise ProductError(f"no HDU {IMAGE}")
    wcs = celestial_wcs(hdu.header)
    if wcs is None:
        raise ProductError(f"no celestial coordinate system in the header of {IMAGE}")
    rows, columns = hdu.image_shape
    return Frame(wcs, frame_origin(hdu.header), (rows, columns))


_FEW = 8
"""Number of images of one detector and run up to which all headers are read."""

_STEADY = 0.5
"""Largest difference of the distortions of a detector between exposures of a run (pixels).

In the samples of Quick Release 1, taken in one month, it is 0.09.
"""

_CORNERS_ONLY = 10.0
"""Largest error of a pixel without the distortions within a frame of the mission (pixels).

In the samples of Quick Release 1 it is 7.8.
"""


class HeaderPixels:
    """Pixels of images at a position, made exact by the headers of the files.

    Parameters
    ----------
    butler
        The repository.
    positions
        Right ascension and declination of the position at the time of each
        image, ICRS (deg), of shape (2, n).
    candidates
        The images.
    pixels
        Pixels of the whole frames at the position from the corners of the
        frames, of shape (n, 2).
    threads
        Number of remote files that are read at the same time.

    Attributes
    ----------
    pixels : `numpy.ndarray`
        The same, exact where a header was read.
    extents : `numpy.ndarray`
        First column and row of each image in its frame, and the numbers of its
        columns and rows, of shape (n, 4).
    errors : `numpy.ndarray`
        Largest errors of x and of y, of shape (n,); 0 where a header was read.
    frames : `dict` [`int`, `Frame`]
        Coordinate systems of the files that were read, by row.
    problems : `list` [`str`]
        URIs and reasons of files that could not be read.
    """

    def __init__(
        self,
        butler: Butler,
        positions: NDArray[np.float64],
        candidates: Candidates,
        pixels: NDArray[np.float64],
        threads: int,
    ) -> None:
        self._butler = butler
        self._positions = positions
        self._candidates = candidates
        self._corner_pixels = pixels
        self._threads = threads
        self.pixels = pixels.copy()
        self.extents = candidates.extents.copy()
        self.errors = _CORNERS_ONLY * candidates.frames.max(axis=1) / FRAME_SIDE
        self.frames: dict[int, Frame] = {}
        self.problems: list[str] = []

    def read(self, rows: NDArray[np.intp]) -> None:
        """Read the headers of images.

        Parameters
        ----------
        rows
            Rows of the images.
        """
        uris = self._candidates.take(rows).uris(self._butler)
        frames, problems = read_files(read_frame, uris, threads=self._threads)
        self.problems += problems.values()
        for place, frame in frames.items():
            row = int(rows[place])
            self.frames[row] = frame
            self.extents[row] = (*map(round, frame.origin), *frame.shape[::-1])
            (exact,) = frame.pixels_at(*self._positions[:, [row]])
            if np.isfinite(exact).all():
                self.pixels[row], self.errors[row] = exact, 0.0

    @property
    def depths(self) -> NDArray[np.float64]:
        """Distances of the position from the edges of the images (pixels), of shape (n,); negative outside of them."""
        return depths_of(self.pixels - self.extents[:, :2], self.extents[:, :1:-1])

    @property
    def are_cutouts(self) -> NDArray[np.bool_]:
        """Whether the images are known to contain a part of their frames only, of shape (n,)."""
        return np.any(self.extents[:, 2:] < self._candidates.frames[:, ::-1], axis=1)

    def read_doubtful(self, rows: NDArray[np.intp], reach: NDArray[np.float64]) -> None:
        """Read the headers of images that may or may not contain the position.

        These are images with an edge near the position. Where there are many of
        one detector and run, the distortions in the
        header of one of them are applied to all, and only the headers of
        images that are still doubtful are read. Each run may have been
        processed with other distortions.

        Parameters
        ----------
        rows
            Rows of the images.
        reach
            Radius of the search in pixels of each frame, of shape (n,).
        """
        detectors, runs = self._candidates.detector, self._candidates.runs
        for detector, run in dict.fromkeys(zip(detectors[rows].tolist(), runs[rows].tolist(), strict=True)):
            doubtful = rows[(detectors[rows] == detector) & (runs[rows] == run)]
            if len(doubtful) > _FEW:
                middle = len(doubtful) // 2
                reference = int(doubtful[middle])
                self.read(doubtful[[middle]])
                if reference in self.frames:
                    others = np.delete(doubtful, middle)
                    self.pixels[others] = self._distorted(reference, others)
                    self.errors[others] = _STEADY
                    depths = self.depths[others]
                    # NaN is doubtful, too.
                    is_clear = np.minimum(np.abs(depths), np.abs(depths + reach[others])) > _STEADY
                    doubtful = others[~is_clear]
            self.read(doubtful)

    def _distorted(self, reference: int, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the pixels of images with the distortions of the reference image."""
        corners = self._candidates.corners[reference]
        x, y, z = directions_at(corners, self._corner_pixels[rows], self._candidates.frames[reference]).T
        ra, dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1)))
        return self.frames[reference].pixels_at(ra, dec)
