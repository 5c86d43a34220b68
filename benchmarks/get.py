"""``butler.get`` against reading the same bytes into memory in native order."""

from __future__ import annotations

__all__ = ["run"]

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lsst.daf.butler import Butler, DatasetRef, FileDataset

from spherex.fits import ByteSource, HDUInfo, ProductFile, open_source, scan_hdus
from spherex.image import Box

from .measure import Cost, cost_of, take_turns
from .products import full_image, new_repository, reference
from .report import Row, ratio_row
from .scale import Scale

_COMPONENTS = {"image": "IMAGE", "flags": "FLAGS", "variance": "VARIANCE"}
_CARD_COMPONENTS = {"header": ("FITSHeader", "HeaderFormatter"), "wcs": ("AstropyWCS", "WCSFormatter")}


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    with new_repository(scratch / "repo") as butler:
        ref = butler.put(full_image(scratch, scale), reference(butler, "level2"))
        path = butler.getURI(ref).ospath
        with open_source(path) as source:
            hdus = {hdu.name: hdu for hdu in scan_hdus(source)}
        middle = scale.side // 2
        box = (middle, middle + scale.cutout, middle, middle + scale.cutout)
        cut = {"box": box, "planes": []}

        def whole() -> list[Any]:
            image = butler.get(ref)
            return [
                image,
                image.data,
                image.variance,
                image.flags,
                *(plane.data for plane in image.planes.values()),
            ]

        arrays = [hdu for hdu in hdus.values() if hdu.kind == "image" and hdu.shape]
        large: dict[str, Callable[[], Any]] = {
            "whole": whole,
            "whole floor": partial(_read, path, arrays),
            "cutout": partial(butler.get, ref, parameters=cut),
        }
        small: dict[str, Callable[[], Any]] = {}
        for name, hdu in _COMPONENTS.items():
            small[name] = partial(butler.get, ref.makeComponentRef(name))
            small[f"{name} floor"] = partial(_read, path, [hdus[hdu]])
        for name, (storage_class, formatter) in _CARD_COMPONENTS.items():
            plain = _plain(butler, path, f"plain_{name}", storage_class, formatter)
            small[name] = partial(butler.get, ref.makeComponentRef(name))
            small[f"{name} floor"] = partial(butler.get, plain)
        costs: dict[str, list[Cost]] = {}
        # A whole image returns its memory to the system, and the next work pays
        # for getting it. So components take turns among themselves.
        for works in (large, small):
            for work in works.values():
                work()
            turns = {name: partial(cost_of, work) for name, work in works.items()}
            costs |= take_turns(turns, scale.short_rounds)
        size = os.path.getsize(path)
        rows = [ratio_row(f"get of {size / 1e6:.0f} MB, all planes", costs["whole"], costs["whole floor"], 1.15)]
        for name in _COMPONENTS:
            rows.append(ratio_row(f"component {name}", costs[name], costs[f"{name} floor"], 1.3))
        for name in _CARD_COMPONENTS:
            label = f"component {name}, against a get that knows its place"
            rows.append(ratio_row(label, costs[name], costs[f"{name} floor"], 1.3))
        side = scale.cutout
        rows.append(
            ratio_row(f"cutout {side} x {side} of 3 planes, against the whole", costs["cutout"], costs["whole"], 0.3)
        )
        read = _bytes_read(large["cutout"])
        rows.append(_bytes_row("bytes read for the cutout, by the system's count", read, size))
        rows.append(_bytes_row("bytes asked for by the cutout", _bytes_asked(path, Box.parse(box)), size))
    shutil.rmtree(scratch / "repo")
    return rows


def _read(path: str, hdus: list[HDUInfo]) -> list[np.ndarray]:
    """Read arrays with numpy.fromfile and byteswap."""
    arrays = []
    with open(path, "rb") as stream:
        for hdu in hdus:
            stream.seek(hdu.data_offset)
            array = np.fromfile(stream, "i4" if hdu.bitpix > 0 else "f4", hdu.data_size // 4)
            arrays.append(array.byteswap(inplace=True).reshape(hdu.shape))
    return arrays


def _plain(butler: Butler, path: str, name: str, storage_class: str, formatter: str) -> DatasetRef:
    """Ingest the file again, with a formatter of these benchmarks."""
    ref = reference(butler, name, storage_class)
    butler.ingest(FileDataset(path, [ref], formatter=f"benchmarks.formatters.{formatter}"), transfer="direct")
    return ref


def _bytes_read(work: Callable[[], object]) -> int:
    """Return the bytes that this process received from read calls during the work."""

    def count() -> int:
        with open("/proc/self/io") as stream:
            return int(stream.readline().split()[1])

    base = count()
    own = count() - base
    begin = count()
    work()
    return count() - begin - own


def _bytes_row(name: str, part: int, size: int) -> Row:
    return Row(name, f"{part / 1e3:.0f} kB", f"{size / 1e6:.1f} MB", part / size, target=0.02)


class _Counter:
    """Byte source that counts the bytes read from another one."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.size = source.size
        self.is_local = source.is_local
        self.total = 0

    def read_at(self, offset: int, nbytes: int) -> bytes:
        self.total += nbytes
        return self._source.read_at(offset, nbytes)

    def read_exactly(self, offset: int, nbytes: int) -> memoryview:
        self.total += nbytes
        return self._source.read_exactly(offset, nbytes)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._source.prefetch(ranges)

    def prefetched(self, offset: int) -> int:
        return self._source.prefetched(offset)


def _bytes_asked(path: str, box: Box) -> int:
    """Return the bytes that a cutout reads from the file, mapped ones included."""
    with open_source(path) as source:
        counter = _Counter(source)
        ProductFile(counter).read(box, [])
        return counter.total
