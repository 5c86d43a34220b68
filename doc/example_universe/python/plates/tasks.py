"""Tasks of this universe: one for each plate, and one for all plates of an observatory."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import lsst.pex.config as pexConfig  # noqa: N812
import lsst.pipe.base as pipeBase  # noqa: N812
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np
from astropy.table import QTable

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

    from .scan import Scan

_DIMENSIONS = ("observatory", "plate")


class FogConnections(pipeBase.PipelineTaskConnections, dimensions=_DIMENSIONS):
    """What `FogTask` reads and writes."""

    scan = cT.Input(doc="Scan as digitized.", name="scan", storageClass="Scan", dimensions=_DIMENSIONS)
    # The Butler finds the calibration that is valid for the timespan of the plate.
    wedge = cT.PrerequisiteInput(
        doc="Scale of the densities, from a step wedge.",
        name="wedge",
        storageClass="StructuredDataDict",
        dimensions=("observatory",),
        isCalibration=True,
    )
    clean = cT.Output(doc="Scan without fog.", name="cleanScan", storageClass="Scan", dimensions=_DIMENSIONS)


class FogConfig(pipeBase.PipelineTaskConfig, pipelineConnections=FogConnections):
    """Configuration of `FogTask`."""


class FogTask(pipeBase.PipelineTask):
    """Subtract the fog, the density of the unexposed plate, taken as the 5th percentile, and correct the scale."""

    ConfigClass = FogConfig
    _DefaultName = "fog"

    def run(self, scan: Scan, wedge: dict[str, float]) -> pipeBase.Struct:
        """Subtract the fog of one scan and multiply by the scale of the wedge."""
        fog = np.percentile(scan.density, 5)
        density = (scan.density - np.float32(fog)) * np.float32(wedge["scale"])
        return pipeBase.Struct(clean=dataclasses.replace(scan, density=density))


class EdgeConnections(pipeBase.PipelineTaskConnections, dimensions=("observatory",)):
    """What `EdgeTask` reads and writes: many plates become one table."""

    # With `deferLoad`, the task gets a handle of each scan, and reads what it needs.
    scans = cT.Input(
        doc="Scans without fog.",
        name="cleanScan",
        storageClass="Scan",
        dimensions=_DIMENSIONS,
        multiple=True,
        deferLoad=True,
    )
    edges = cT.Output(
        doc="Density of the upper edge of each plate.",
        name="edges",
        storageClass="AstropyQTable",
        dimensions=("observatory",),
    )


class EdgeConfig(pipeBase.PipelineTaskConfig, pipelineConnections=EdgeConnections):
    """Configuration of `EdgeTask`."""

    rows = pexConfig.RangeField[int](doc="Number of rows of the edge.", default=8, min=1)


class EdgeTask(pipeBase.PipelineTask):
    """Measure the density at the upper edge of all plates of an observatory."""

    ConfigClass = EdgeConfig
    _DefaultName = "edge"

    def run(self, scans: list[DeferredDatasetHandle]) -> pipeBase.Struct:
        """Read the first rows of one scan after another, and its number of columns from the header alone."""
        rows = [
            {
                "plate": handle.dataId["plate"],
                "columns": handle.get(component="size")["columns"],
                "density": np.mean(handle.get(parameters={"rows": (0, self.config.rows)}).density),
            }
            for handle in scans
        ]
        return pipeBase.Struct(edges=QTable(rows))
