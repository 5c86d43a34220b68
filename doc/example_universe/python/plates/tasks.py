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
    clean = cT.Output(doc="Scan without fog.", name="cleanScan", storageClass="Scan", dimensions=_DIMENSIONS)


class FogConfig(pipeBase.PipelineTaskConfig, pipelineConnections=FogConnections):
    """Configuration of `FogTask`."""


class FogTask(pipeBase.PipelineTask):
    """Subtract the fog, the density of the unexposed plate, taken as the 5th percentile."""

    ConfigClass = FogConfig
    _DefaultName = "fog"

    def run(self, scan: Scan) -> pipeBase.Struct:
        """Subtract the fog of one scan."""
        fog = np.percentile(scan.density, 5)
        return pipeBase.Struct(clean=Scan(scan.density - np.float32(fog), scan.step))
