"""Candidates for the common pixelization of the universe."""

from __future__ import annotations

__all__ = ["run"]

import json
import shutil
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml
from lsst.resources import ResourcePath

from .files import make_raw_files
from .measure import Cost, run_process, search_path, take_turns
from .report import Row
from .scale import Scale

_ANY_VERSION = 1000


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    raw = make_raw_files(scratch.parent / "raw", scale.files, scale.few_files, scale.side)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in scale.skypix}
    works: dict[str, Callable[[], Cost]] = {}
    for number, name in enumerate(scale.skypix):
        dimensions = _dimensions(scratch / f"{name}.yaml", name, _ANY_VERSION + number)
        works[name] = partial(_measure, scratch, name, dimensions, raw, scale.points, found[name])
    take_turns(works, max(1, scale.rounds - 2))
    return [row for name in scale.skypix for row in _rows(name, scale.files, found[name])]


def _dimensions(path: Path, common: str, version: int) -> Path:
    """Write our universe with another common pixelization."""
    content = yaml.safe_load(ResourcePath("resource://spherex/configs/dimensions.yaml").read())
    content["version"] = version
    content["skypix"]["common"] = common
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _measure(
    scratch: Path, common: str, dimensions: Path, raw: list[Path], points: int, found: list[dict[str, float]]
) -> Cost:
    # The universe of the file must not get into this process.
    repo = scratch / "repo"
    environment = search_path()
    make = "import sys; from pathlib import Path; from benchmarks.files import make_repository; "
    make += "make_repository(Path(sys.argv[1]), sys.argv[2])"
    run_process([sys.executable, "-c", make, repo, dimensions], environment)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.skypix_process",
        common,
        repo,
        str(points),
        *raw,
    ]
    cost, output = run_process(command, environment)
    found.append(json.loads(output.splitlines()[-1]))
    shutil.rmtree(repo)
    return cost


def _rows(name: str, files: int, found: list[dict[str, float]]) -> list[Row]:
    middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
    return [
        Row(f"{name}, overlap rows per image", f"{middle['rows'] / files:.2f}"),
        Row(f"{name}, database", f"{middle['bytes'] / 1e6:.1f} MB"),
        Row(f"{name}, insertion", f"{middle['insertion']:.2f} s"),
        Row(
            f"{name}, images at a point",
            f"{middle['point'] * 1e3:.1f} ms",
            f"{middle['point_images']:.0f} found",
        ),
        Row(
            f"{name}, images in a pixel",
            f"{middle['pixel'] * 1e3:.1f} ms",
            f"{middle['pixel_images']:.0f} found",
        ),
    ]
