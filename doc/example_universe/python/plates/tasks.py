"""A task of this universe."""

from __future__ import annotations

import lsst.pipe.base as pipeBase  # noqa: N812
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np

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
        return pipeBase.Struct(clean=Scan((scan.density - np.float32(fog)) * np.float32(wedge["scale"]), scan.step))
