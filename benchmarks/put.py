"""``butler.put`` against writing the same bytes."""

from __future__ import annotations

__all__ = ["run"]

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from .measure import Cost, cost_of, take_turns
from .products import full_image, new_repository, reference
from .report import Row, ratio_row
from .scale import Scale


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    image = full_image(scratch, scale)
    planes = [plane.data for plane in image.planes.values() if isinstance(plane.hdu, fits.ImageHDU)]
    arrays = [
        array.astype(array.dtype.newbyteorder(">")) for array in (image.data, image.flags, image.variance, *planes)
    ]
    with new_repository(scratch / "repo") as butler:

        def put() -> Cost:
            ref = reference(butler, "level2")
            cost = cost_of(lambda: butler.put(image, ref))
            butler.pruneDatasets([ref], purge=True, unstore=True, disassociate=True)
            return cost

        works: dict[str, Callable[[], Cost]] = {
            "put": put,
            "new": lambda: _write(scratch / "floor", arrays, is_new=True),
            "over": lambda: _write(scratch / "floor_over", arrays, is_new=False),
        }
        take_turns(works, 1)
        costs = take_turns(works, scale.short_rounds)
    shutil.rmtree(scratch / "repo")
    size = sum(array.nbytes for array in arrays) / 1e6
    return [
        ratio_row(f"put of {size:.0f} MB, against tofile into a new file", costs["put"], costs["new"], 2.6),
        ratio_row("the same, against tofile over an existing file", costs["put"], costs["over"], None),
    ]


def _write(path: Path, arrays: list[np.ndarray], is_new: bool) -> Cost:
    def work() -> None:
        with path.open("wb" if is_new else "r+b") as stream:
            for array in arrays:
                array.tofile(stream)

    if not is_new:
        path.touch()
    cost = cost_of(work)
    if is_new:
        path.unlink()
    return cost
