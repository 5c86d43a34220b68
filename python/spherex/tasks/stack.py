"""Stacks of images, read in blocks of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from lsst.daf.butler import Butler, DeferredDatasetHandle

from .compatibility import check_unit_and_detector

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.units import UnitBase

    from spherex.image import FlagPlane, FlagTable, SPHERExImage


# More columns than any detector has: boxes are clipped to the image.
_ALL_COLUMNS = 2**31

_BLOCKS_IN_BAND = 4
"""Blocks whose flags and variances are read at once."""


class ImageHandle(Protocol):
    """Deferred image, on disk or in memory."""

    dataId: Any

    def get(self, *, component: str | None = None, parameters: dict[str, Any] | None = None) -> Any:
        """Return the image or a part of it."""
        ...


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One image of a stack.

    Parameters
    ----------
    handle
        The image.
    name
        Its data ID as text.
    last_row
        Its last row, with header, unit and names of flags.
    """

    handle: ImageHandle
    name: str
    last_row: SPHERExImage

    def rows(self, component: str, begin: int, end: int) -> Any:
        """Read rows of a component."""
        return self.handle.get(component=component, parameters={"box": (0, _ALL_COLUMNS, begin, end)})


@dataclasses.dataclass(frozen=True)
class Stack:
    """Images of one shape, unit and detector.

    Parameters
    ----------
    frames
        The images.
    shape
        Rows and columns of each.
    table
        Names of the flags of all.
    """

    frames: Sequence[_Frame]
    shape: tuple[int, int]
    table: FlagTable

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def unit(self) -> UnitBase:
        """Unit of the pixels."""
        return self.frames[0].last_row.unit

    @property
    def names(self) -> list[str]:
        """Data IDs of the images as text."""
        return [frame.name for frame in self.frames]

    def read_headers(self) -> list[Header]:
        """Return the headers of the whole images."""
        return [frame.handle.get(component="header") for frame in self.frames]

    @property
    def dtype(self) -> np.dtype:
        """Floating type for the pixels of all images."""
        return np.result_type(np.float32, *(frame.last_row.data.dtype for frame in self.frames))

    @property
    def is_whole(self) -> bool:
        """Whether all pixels are whole numbers by their type."""
        return all(np.issubdtype(frame.last_row.data.dtype, np.integer) for frame in self.frames)

    def without_variance(self) -> list[str]:
        """Return the names of images that have no variance."""
        return [frame.name for frame in self.frames if frame.last_row.variance is None]

    def bands(self, nbytes: int) -> Iterator[list[tuple[int, int]]]:
        """Divide the rows into blocks whose pixels of all images fit into the memory.

        Parameters
        ----------
        nbytes
            Size of the memory (bytes).

        Yields
        ------
        band
            Blocks that follow each other: first row, and first row of the
            next block, of each. Flags and variances are read for a band,
            because each read takes as long as thousands of pixels.
        """
        rows, columns = self.shape
        step = max(1, nbytes // (len(self) * columns * self.dtype.itemsize))
        # Blocks and bands of one size: a short last one takes as long to open.
        number = -(-rows // step)
        step = -(-rows // number)
        blocks = [(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
        length = -(-len(blocks) // -(-len(blocks) // _BLOCKS_IN_BAND))
        for first in range(0, len(blocks), length):
            yield blocks[first : first + length]

    def read_flags(self, begin: int, end: int, spoiling: Collection[str]) -> tuple[np.ndarray, np.ndarray]:
        """Read flags of rows of all images.

        Parameters
        ----------
        begin, end
            First row, and first row after the last one.
        spoiling
            Names of the flags of pixels to leave out.

        Returns
        -------
        common, left_out
            The flags that all images share, int32, shape (rows, columns), and
            the pixels to leave out, shape (images, rows, bytes), eight columns
            in a byte as `numpy.packbits` has them.
        """
        shape = end - begin, self.shape[1]
        common = np.full(shape, -1 if all(frame.last_row.flags is not None for frame in self.frames) else 0, np.int32)
        left_out = np.zeros((len(self), end - begin, -(-self.shape[1] // 8)), np.uint8)
        bits = self.table.bits(*(name for name in spoiling if name in self.table))
        for frame, out in zip(self.frames, left_out, strict=True):
            if frame.last_row.flags is not None:
                flags = self._flags(frame.rows("flags", begin, end))
                common &= flags
                out[...] = np.packbits((flags & bits) != 0, axis=-1)
        return common, left_out

    def read_pixels(
        self, begin: int, end: int, scales: Sequence[float], left_out: np.ndarray, pixels: np.ndarray
    ) -> None:
        """Read pixels of rows of all images.

        Parameters
        ----------
        begin, end
            First row, and first row after the last one.
        scales
            Factor of each image.
        left_out
            Pixels of these rows to leave out, as from `read_flags`.
        pixels
            Array for the pixels, shape (images, rows, columns); they are NaN
            where left out.
        """
        for frame, scale, out, block in zip(self.frames, scales, left_out, pixels, strict=True):
            block[...] = frame.rows("image", begin, end).value
            if scale != 1.0:
                block *= scale
            if out.any():
                np.copyto(block, np.nan, where=unpacked(out, self.shape[1]))

    def _flags(self, plane: FlagPlane) -> np.ndarray:
        from spherex.image import FlagPlane

        if plane.table == self.table:
            return plane.array
        return FlagPlane(np.zeros(plane.shape, np.int32), self.table).combined(plane).array

    def read_variances(self, begin: int, end: int) -> Iterator[np.ndarray]:
        """Yield rows of the variance of each image, in the square of `unit`."""
        from astropy.units import dimensionless_unscaled

        for frame in self.frames:
            variance = frame.rows("variance", begin, end)
            # A file may lack the unit of its variance.
            yield variance.value if variance.unit == dimensionless_unscaled else variance.to_value(self.unit**2)


def unpacked(left_out: np.ndarray, columns: int) -> np.ndarray:
    """Return the pixels to leave out of one image as booleans, shape (rows, columns)."""
    return np.unpackbits(left_out, axis=-1, count=columns).view(bool)


def open_stack(handles: Sequence[ImageHandle], further_flags: Collection[str]) -> Stack:
    """Check images that are to be combined, and return them as a stack.

    Parameters
    ----------
    handles
        The images.
    further_flags
        Names of flags that the result needs.

    Raises
    ------
    ValueError
        If there are none, or if they differ in shape, unit or detector; the
        message names two images that differ.
    """
    from spherex.image import SPHEREX_FLAGS, FlagTable

    if not handles:
        raise ValueError("There are no images to combine.")
    shape = tuple(handles[0].get(component="image").shape)
    frames: list[_Frame] = []
    for handle in handles:
        name = str(handle.dataId)
        if isinstance(handle, DeferredDatasetHandle) and isinstance(handle.butler, Butler):
            # With the records of its file in the reference, the Butler does
            # not search its database for them at each of many reads.
            ref = handle.butler.get_dataset(
                handle.ref.id, storage_class=handle.ref.datasetType.storageClass, datastore_records=True
            )
            handle = handle if ref is None else dataclasses.replace(handle, ref=ref)
        frame = _Frame(handle, name, _last_row(handle, shape, handles[0]))
        frames.append(frame)
        check_unit_and_detector(frames[0].last_row, frame.last_row, frames[0].name, frame.name)
    table = FlagTable({})
    for frame in frames:
        if frame.last_row.flags is not None:
            table = table.merged(frame.last_row.flag_table)
    return Stack(
        frames, (shape[0], shape[1]), table.merged(FlagTable({name: SPHEREX_FLAGS[name] for name in further_flags}))
    )


def _last_row(handle: ImageHandle, shape: tuple[int, ...], first: ImageHandle) -> SPHERExImage:
    """Return the last row of an image with the given shape.

    The box reaches one row beyond the shape, so that images with more rows are
    noticed, too.
    """
    beyond = {"box": (0, _ALL_COLUMNS, shape[0] - 1, shape[0] + 1), "planes": []}
    failure = None
    try:
        row = handle.get(parameters=beyond)
        if row.shape == (1, shape[1]):
            return row
    except ValueError as error:
        failure = error
    # The whole image is read only for the message.
    own_shape = tuple(handle.get(component="image").shape)
    if own_shape == shape and failure is not None:
        raise failure
    raise ValueError(
        f"Images of different shapes cannot be combined: {first.dataId} has {shape}, {handle.dataId} has {own_shape}."
    )
