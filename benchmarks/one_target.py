"""Benchmark of `spherex.tasks.MeasureTargetsTask` for one target on many images, against reads of its pixels.

Files have the size of the files of the archive. Their pixels are holes, except
for the rows around the target; holes are never read.
"""

from __future__ import annotations

__all__ = ["run"]

import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from .measure import take_turns
from .report import Row, ratio_row
from .s3_server import environment, serve
from .scale import Scale
from .target_frames import TargetCost, TargetFrames, measure_in_process

_TARGET = 2.5
_WORKS = ("run", "task", "cutout", "astropy")
_REMOTE_WORKS = ("run", "cutout")
_ROUNDS = 3


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    frames, catalog = TargetFrames(scratch, scale.side), scratch / "catalog.ecsv"
    row = frames.write_catalog(catalog, 1)
    files = frames.write_frames(max(scale.target_images, scale.remote_images), row)
    rows = _local(frames, catalog, files, scale)
    with serve(files) as (port, look):
        names = sorted(os.listdir(files))[: scale.remote_images]
        addresses = scratch / "addresses.txt"
        addresses.write_text("".join(f"s3://files/{name}\n" for name in names))
        variables = environment(port)
        repo = frames.make_repository(scratch / "remote", catalog, [addresses], variables)
        costs: dict[str, list[TargetCost]] = {name: [] for name in _REMOTE_WORKS}
        sent: dict[str, list[float]] = {}
        for _, name in itertools.product(range(min(scale.rounds, _ROUNDS)), _REMOTE_WORKS):
            before = look()
            costs[name].append(measure_in_process(repo, name, variables))
            sent[name] = [(b - a) / len(names) for a, b in zip(before[:3], look()[:3], strict=True)]
    shutil.rmtree(repo)
    label = f"one target on {len(names)} images from S3"
    rows.append(
        ratio_row(f"{label}, per image, against get of the cutout", costs["run"], costs["cutout"], _TARGET, len(names))
    )
    for what, mine, floor in zip(("requests", "bytes", "round trips"), sent["run"], sent["cutout"], strict=True):
        rows.append(Row(f"{label}, {what} per image", f"{mine:.4g}", f"{floor:.4g}", mine / floor))
    return rows


def _local(frames: TargetFrames, catalog: Path, files: Path, scale: Scale) -> list[Row]:
    repo = frames.make_repository(frames.folder / "local", catalog, [files])
    works = {name: partial(measure_in_process, repo, name) for name in _WORKS}
    costs: Mapping[str, Sequence[TargetCost]] = take_turns(works, min(scale.rounds, _ROUNDS))
    shutil.rmtree(repo)
    number = len(os.listdir(files))
    label = f"one target on {number} images"
    names = {"run": "MeasureTargetsTask.run", "task": "whole quanta, reading of inputs and writing of tables included"}
    floors = {"cutout": "get of the cutout", "astropy": "astropy's reading of the same pixels"}
    rows = [
        ratio_row(
            f"{label}, {names[name]}, per image, against {floors[floor]}", costs[name], costs[floor], _TARGET, number
        )
        for name, floor in (("run", "cutout"), ("run", "astropy"), ("task", "cutout"))
    ]
    size = next(files.iterdir()).stat().st_size
    for name in ("run", "cutout"):
        read = max(cost.nbytes for cost in costs[name]) / number
        rows.append(
            Row(
                f"{label}, bytes read per image by {name}, of the size of a file",
                f"{read / 1e3:.0f} kB",
                f"{size / 1e6:.1f} MB",
                read / size,
                target=0.02,
            )
        )
    return rows
