"""``butler.get`` of a cutout of a file in S3, against the whole file, and round trips to a server that is far away."""

from __future__ import annotations

__all__ = ["run"]

import os
import shutil
from functools import partial
from pathlib import Path
from unittest.mock import patch

from astropy.io import fits
from lsst.daf.butler import Butler, DatasetRef, FileDataset
from lsst.resources import ResourcePath

from spherex.fits import read_product
from spherex.image import Box

from .files import simulate
from .measure import cost_of, take_turns
from .products import full_image, new_repository, reference
from .report import Row, ratio_row
from .s3_server import environment, serve
from .scale import Scale

_MOST_BYTES = 0.02
_MOST_REQUESTS = 20
_LATENCY = 0.04
"""Time by which the answers of a server far away are late (s)."""

_MOST_TRIPS = 5
_MOST_OVER_ROWS = 2
_SMALL_CUTOUT = 15


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    root = scratch / "repo"
    root.mkdir(exist_ok=True)
    with (
        serve(root) as (port, look),
        # Without this the Butler would cache the file, and read cutouts from the copy.
        patch.dict(os.environ, {**environment(port), "DAF_BUTLER_CACHE_EXPIRATION_MODE": "disabled"}),
        new_repository(root) as butler,
    ):
        path = Path(butler.getURI(butler.put(full_image(scratch, scale), reference(butler, "level2"))).ospath)
        ref = _ingest(butler, f"s3://files/{path.relative_to(root)}")
        middle = scale.side // 2
        parameters = {"box": (middle, middle + scale.cutout, middle, middle + scale.cutout), "planes": []}
        works = {
            "cutout": partial(butler.get, ref, parameters=parameters),
            "whole": partial(butler.get, ref),
        }
        for work in works.values():
            work()
        before = look()
        works["cutout"]()
        requests, nbytes, *_ = (b - a for a, b in zip(before, look(), strict=True))
        costs = take_turns({name: partial(cost_of, work) for name, work in works.items()}, scale.rounds)
        size = path.stat().st_size
    shutil.rmtree(root)
    label = f"cutout {scale.cutout} x {scale.cutout} of 3 planes from S3"
    return [
        ratio_row(f"{label}, against the whole", costs["cutout"], costs["whole"], 0.3),
        Row(f"{label}, bytes", f"{nbytes / 1e3:.0f} kB", f"{size / 1e6:.1f} MB", nbytes / size, target=_MOST_BYTES),
        Row(
            f"{label}, requests",
            str(requests),
            str(_MOST_REQUESTS),
            requests / _MOST_REQUESTS,
            target=1.0,
        ),
        *_far_away(scratch / "releases", scale),
    ]


def _far_away(folder: Path, scale: Scale) -> list[Row]:
    """Count round trips and bytes of a cutout of image, variance and flags, of the first file and of one like it."""
    paths = {}
    for release in ("qr2", "qr3"):
        simulate(
            folder / release,
            1,
            scale.side,
            "--product",
            "level2",
            "--release",
            release,
            "--detectors",
            "1",
            "--no-stars",
        )
        (paths[release],) = (folder / release).rglob("level2_*.fits")
    side = min(_SMALL_CUTOUT, scale.cutout)
    box = Box(scale.side // 3, scale.side // 3 + side, scale.side // 2, scale.side // 2 + side)
    rows = []
    with serve(folder, _LATENCY) as (port, look), patch.dict(os.environ, environment(port)):
        for release, path in paths.items():
            uri = ResourcePath(f"s3://files/{path.relative_to(folder)}")
            for which in ("first", "second"):
                before = look()
                cost = cost_of(partial(read_product, uri, box, planes=[]))
                requests, nbytes, trips, _ = (b - a for a, b in zip(before, look(), strict=True))
                label = f"cutout {side} x {side}, answers {_LATENCY * 1e3:.0f} ms late, {which} file of {release}"
                least = _bytes_of_rows(path, box)
                rows += [
                    Row(
                        f"{label}, round trips",
                        f"{trips} ({requests} requests, {cost.wall * 1e3:.0f} ms)",
                        str(_MOST_TRIPS),
                        trips / _MOST_TRIPS,
                        target=1.0,
                    ),
                    Row(
                        f"{label}, bytes, against those of its rows",
                        f"{nbytes / 1e3:.0f} kB",
                        f"{least / 1e3:.0f} kB",
                        nbytes / least,
                        target=_MOST_OVER_ROWS,
                    ),
                ]
    return rows


def _bytes_of_rows(path: Path, box: Box) -> int:
    """Return the bytes of the rows of a box in image, variance and flags; of compressed flags, those of its tiles."""
    total = 0
    with fits.open(path, disable_image_compression=True) as hdus:
        for name in ("IMAGE", "VARIANCE", "FLAGS"):
            tiled = hdus[name].header.get("ZIMAGE")
            pixels = hdus[name].data["COMPRESSED_DATA"] if tiled else hdus[name].data
            total += sum(pixels[y].nbytes for y in range(box.y0, box.y1))
    return total


def _ingest(butler: Butler, uri: str) -> DatasetRef:
    ref = reference(butler, "remote_level2")
    butler.ingest(FileDataset(uri, [ref]), transfer="direct")
    return ref
