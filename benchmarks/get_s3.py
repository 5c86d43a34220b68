"""``butler.get`` of a cutout of a file in S3, against the whole file."""

from __future__ import annotations

__all__ = ["run"]

import os
import shutil
from functools import partial
from pathlib import Path
from unittest.mock import patch

from lsst.daf.butler import Butler, DatasetRef, FileDataset

from .measure import cost_of, take_turns
from .products import full_image, new_repository, reference
from .report import Row, ratio_row
from .s3_server import environment, serve
from .scale import Scale

_MOST_BYTES = 0.02
_MOST_REQUESTS = 20


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
        requests, nbytes = (b - a for a, b in zip(before, look(), strict=True))
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
    ]


def _ingest(butler: Butler, uri: str) -> DatasetRef:
    ref = reference(butler, "remote_level2")
    butler.ingest(FileDataset(uri, [ref]), transfer="direct")
    return ref
