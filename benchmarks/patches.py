"""Spectra of patches: the graph, the join of measurements, and what reads them again."""

from __future__ import annotations

__all__ = ["measured_values", "run", "scattered_targets"]

import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetRef, DatasetType
from lsst.daf.butler.formatters.parquet import astropy_to_arrow

import spherex
from spherex.detectors import DETECTORS, DetectorDescription
from spherex.instrument import SPHEREx
from spherex.spectra import combine_patch, design_channels, make_plain_table
from spherex.targets import register_catalog
from spherex.tasks import GatherSpectraTask, gather_spectra

from .field import FIELD, make_field
from .files import make_repository
from .measure import Cost, cost_of, run_program, take_turns
from .report import Row, ratio_row
from .scale import Scale

_CATALOG = "many"
_PIPELINE = "resource://spherex/pipelines/SpectrumPipeline.yaml"
_GRAPH_LIMIT, _ROW_LIMIT = 120.0, 60e-6
"""Seconds for a graph, and for a row of a spectrum."""

_GRAPH_MEMORY = 2e9
"""Bytes of a process that makes a graph."""


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    return [*_graphs(scratch, scale), *_tables(scratch / "repo", scale)]


def scattered_targets(number: int) -> Table:
    """Return targets in a field of a square degree that all images see."""
    rng = np.random.default_rng(3)
    ra, dec = FIELD
    half = 0.5
    return Table(
        {
            "name": [f"target{place:06d}" for place in range(number)],
            "ra": ra + rng.uniform(-half, half, number) / np.cos(np.radians(dec)),
            "dec": dec + rng.uniform(-half, half, number),
        }
    )


def measured_values(
    rng: np.random.Generator, targets: Table, detector: DetectorDescription, exposure: int
) -> dict[str, Any]:
    """Return good measurements of all targets in an image, with a smooth spectrum, by column."""
    return {
        "target": np.asarray(targets["name"]),
        "flux": rng.normal(100.0, 5.0, len(targets)),
        "flux_error": 5.0,
        "wavelength": rng.uniform(detector.lmin, detector.lmax, len(targets)),
        "bandwidth": 0.03,
        "good": True,
        "detector": detector.id,
        "exposure": exposure,
    }


def _graphs(scratch: Path, scale: Scale) -> list[Row]:
    """Measure `pipetask qgraph` with images that all see the targets, a third of all images."""
    rows = []
    for matches in scale.graph_images:
        repo = make_field(scratch / f"field{matches}", 3 * matches, matches)
        with Butler.from_config(str(repo), writeable=True) as butler:
            register_catalog(butler, _CATALOG, scattered_targets(scale.targets), "", update=True)
        file = scratch / f"graph{matches}.qg"
        where = f"instrument='SPHEREx' AND catalog='{_CATALOG}'"
        words = ["-b", repo, "-p", _PIPELINE, "-i", f"SPHEREx/level2,catalogs/{_CATALOG}", "-d", where]
        cost, output = run_program("pipetask", "qgraph", *words, "--output-run", "graph", "--save-qgraph", file)
        found = re.search(r"(\d+) quanta", output)
        if not found:
            raise RuntimeError(f"pipetask qgraph does not report its quanta:\n{output}")
        name = f"graph of {scale.targets:,} targets in {matches:,} images"
        rows += [
            ratio_row(f"{name}, against {_GRAPH_LIMIT:g} s", [cost], [Cost(_GRAPH_LIMIT, _GRAPH_LIMIT)], 1.0),
            Row(
                f"{name}, memory",
                f"{cost.memory / 1e6:.0f} MB",
                f"{_GRAPH_MEMORY / 1e6:.0f} MB",
                cost.memory / _GRAPH_MEMORY,
                target=1.0,
            ),
            Row(f"{name}, quanta and file", f"{int(found[1]):,}, {file.stat().st_size / 1e6:.3g} MB"),
        ]
    return rows


def _tables(root: Path, scale: Scale) -> list[Row]:
    """Measure joins of the tables of single images, with a tenth of the targets: those of a patch."""
    number = max(scale.targets // 10, 1)
    with Butler.from_config(str(make_repository(root)), writeable=True) as butler:
        SPHEREx().register(butler.registry)
        targets = scattered_targets(number)
        register_catalog(butler, _CATALOG, targets, "")
        handles = [butler.getDeferred(ref) for ref in _put_measurements(butler, targets, scale.target_images)]
        task = GatherSpectraTask()
        patch = task.run(handles, targets, _CATALOG, 1).spectra
        spectra = DatasetType("spectra", ("catalog", "patch"), "SpectraTable", universe=butler.dimensions)
        butler.registry.registerDatasetType(spectra)
        (record, *_) = butler.query_dimension_records("target", catalog=_CATALOG, target=targets["name"][0])
        butler.put(patch, spectra, catalog=_CATALOG, patch=record.patch, run="measured")
        works: dict[str, Callable[[], Cost]] = {
            "read": partial(cost_of, lambda: [handle.get(storageClass="ArrowParquet") for handle in handles]),
            "gather": partial(cost_of, partial(_gather, task, handles, targets)),
            "combine": partial(cost_of, partial(combine_patch, patch, design_channels())),
            "one": partial(
                cost_of,
                partial(spherex.get_spectrum, butler, _CATALOG, record.name, collections="measured"),
            ),
        }
        take_turns(works, 1)
        costs = take_turns(works, scale.rounds)
    shutil.rmtree(root)
    rows = number * scale.target_images
    what = f"{number:,} targets in {scale.target_images:,} images"
    limit = [Cost(_ROW_LIMIT * rows, _ROW_LIMIT * rows)]
    return [
        ratio_row(f"join of {what}, against reading their tables", costs["gather"], costs["read"], 3.0),
        ratio_row("the same, against a minute for a million rows", costs["gather"], limit, 1.0),
        ratio_row(f"channels of {what}, against the same", costs["combine"], limit, 1.0),
        ratio_row("spectrum of one of them by its name, against 33 ms", costs["one"], [Cost(0.033, 0.033)], 1.0),
    ]


def _gather(task: GatherSpectraTask, handles: Sequence[Any], targets: Table) -> Any:
    # In a pipeline, no table has been read before.
    gather_spectra._ROWS = gather_spectra.TableRows()
    return task.run(handles, targets, _CATALOG, 1)


def _put_measurements(butler: Butler, targets: Table, images: int) -> list[DatasetRef]:
    """Put the measurements of all targets in each image, with a smooth spectrum."""
    dimensions = ("instrument", "exposure", "detector", "catalog")
    dataset_type = DatasetType("target_measurements", dimensions, "AstropyParquet", universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    butler.collections.register("measured")
    rng = np.random.default_rng(4)
    refs = []
    for exposure in range(images):
        detector = DETECTORS[exposure % len(DETECTORS)]
        data_id = {"instrument": "SPHEREx", "exposure": exposure, "detector": detector.id}
        butler.registry.insertDimensionData(
            "exposure", {"instrument": "SPHEREx", "id": exposure, "name": f"x{exposure}", "group_name": "x"}
        )
        values = measured_values(rng, targets, detector, exposure)
        values |= {
            "aperture_flux": values["flux"],
            "chi2": 200.0,
            "dof": 220,
            "quality": 0,
            "masked_fraction": 0.01,
            "version": "7.0.5",
            "image_id": str(uuid.UUID(int=exposure)),
            "image_run": "SPHEREx/level2/l2b-v27-2026-222",
        }
        table = astropy_to_arrow(make_plain_table(values, len(targets)))
        refs.append(butler.put(table, dataset_type, data_id, catalog=_CATALOG, run="measured"))
    return refs
