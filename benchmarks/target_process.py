"""Measurement of targets, or a floor for it, in a process of its own.

``python -m benchmarks.target_process REPO WORK OUTPUT`` prints the cost of the
work, without the start of the process and the graph.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable

from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetRef
from lsst.pipe.base import PipelineGraph, QuantumContext, QuantumGraph
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder

from spherex.headers import exposure_middle
from spherex.image import Box, celestial_wcs
from spherex.spectra import positions_at
from spherex.spectra.placing import place_targets, plan_windows
from spherex.tasks import MeasureTargetsTask

from .measure import cost_of

_INPUTS = ("SPHEREx/level2", "SPHEREx/calib", "catalogs/stars")
_PLANES = ("IMAGE", "FLAGS", "VARIANCE")


def prepare_task(butler: Butler) -> Callable[[], None]:
    """Return a function that runs the quanta of the task, as an executor does, and writes the outputs."""
    task, quanta = MeasureTargetsTask(), [node.quantum for node in _graph(butler)]
    connections = task.config.ConnectionsClass(config=task.config)

    def work() -> None:
        for quantum in quanta:
            task.runQuantum(QuantumContext(butler, quantum), *connections.buildDatasetRefs(quantum))
            _check(task)

    return work


_NOT_READ = ("targets", "patchTargets")
"""Inputs of a quantum that are read once for all, or not at all."""


def prepare_run(butler: Butler) -> Callable[[], None]:
    """Return the same without the read of the catalogue and the writes of tables."""
    task = MeasureTargetsTask()
    connections = task.config.ConnectionsClass(config=task.config)
    targets = _targets(butler)
    handles = []
    for node in _graph(butler):
        inputs, _ = connections.buildDatasetRefs(node.quantum)
        given = {name: butler.getDeferred(ref.datasetRef) for name, ref in inputs if name not in _NOT_READ}
        place = inputs.image.dataId
        image_ids = {"exposure": place["exposure"], "detector": place["detector"]}
        handles.append({**given, "image_ids": image_ids, "region": place.region})

    def work() -> None:
        for given in handles:
            task.run(targets=targets, **given)
            _check(task)

    return work


def prepare_cutout(butler: Butler) -> Callable[[], None]:
    """Return a function that reads the pixels around the targets, whose boxes are known, by the Butler."""
    works = [(ref, {"box": box, "planes": []}) for ref in _images(butler) for box in _boxes(butler)]

    def work() -> None:
        for ref, parameters in works:
            image = butler.get(ref, parameters=parameters)
            assert image.data.size == image.variance.size == image.flags.size

    return work


def prepare_astropy(butler: Butler) -> Callable[[], None]:
    """Return what reads the same pixels from the files by astropy."""
    works = [(butler.getURI(ref).ospath, box.slices) for ref in _images(butler) for box in _boxes(butler)]

    def work() -> None:
        for path, slices in works:
            with fits.open(path) as hdus:
                planes = [hdus[name].section[slices] for name in _PLANES]
            assert planes[0].shape == planes[1].shape == planes[2].shape

    return work


def prepare_frames(butler: Butler) -> Callable[[], None]:
    """Return what reads image, flags and variance of whole frames by the Butler."""
    refs = _images(butler)

    def work() -> None:
        for ref in refs:
            image = butler.get(ref, parameters={"planes": []})
            assert image.data.size == image.variance.size == image.flags.size

    return work


WORKS: dict[str, Callable[[Butler], Callable[[], None]]] = {
    "task": prepare_task,
    "run": prepare_run,
    "cutout": prepare_cutout,
    "astropy": prepare_astropy,
    "frames": prepare_frames,
}
"""What can be done with a repository."""


def _graph(butler: Butler) -> QuantumGraph:
    graph = PipelineGraph()
    graph.add_task("measureTargets", MeasureTargetsTask, MeasureTargetsTask.ConfigClass())
    where = "catalog = 'stars' AND instrument = 'SPHEREx'"
    quanta = AllDimensionsQuantumGraphBuilder(graph, butler, where=where).build(attach_datastore_records=False)
    quanta.pipeline_graph.register_dataset_types(butler)
    return quanta


def _images(butler: Butler) -> list[DatasetRef]:
    return sorted(butler.query_datasets("level2", limit=None))


def _targets(butler: Butler) -> Table:
    return butler.get("target_catalog", catalog="stars")


@functools.cache
def _boxes(butler: Butler) -> list[Box]:
    """Return the parts of the images that the task reads; all of them see the same place."""
    header = butler.get(_images(butler)[0].makeComponentRef("header"))
    shape, side = (header["NAXIS2"], header["NAXIS1"]), MeasureTargetsTask.ConfigClass().side
    placed = place_targets(celestial_wcs(header), positions_at(_targets(butler), exposure_middle(header)), shape, side)
    return [window.box for window in plan_windows(placed.x, placed.y, shape, side // 2)]


def _check(task: MeasureTargetsTask) -> None:
    if not task.metadata["targets"] or task.metadata["failed"] > task.metadata["targets"] / 10:
        raise RuntimeError(f"{task.metadata['failed']} of {task.metadata['targets']} targets have no flux")


def _bytes_read() -> int:
    """Bytes that this process got from read calls."""
    with open("/proc/self/io") as stream:
        return int(stream.readline().split()[1])


def main(repo: str, work: str, output: str) -> None:
    """Measure and print times (s) and bytes as JSON."""
    with Butler.from_config(repo, collections=_INPUTS, run=output) as butler:
        action = WORKS[work](butler)
        begin = _bytes_read()
        cost = cost_of(action)
        nbytes = _bytes_read() - begin
    print(json.dumps({"cpu": cost.cpu, "wall": cost.wall, "nbytes": nbytes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
