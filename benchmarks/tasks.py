"""PipelineTasks to compare ours with."""

from __future__ import annotations

__all__ = ["BusyConfig", "BusyTask", "WriteConfig", "WriteConnections", "WriteTask"]

import time
from typing import TYPE_CHECKING, Any

import lsst.pex.config as pexConfig  # noqa: N812
import lsst.pipe.base as pipeBase  # noqa: N812
import lsst.pipe.base.connectionTypes as cT  # noqa: N812

from spherex.tasks import SubtractConfig, SubtractTask

if TYPE_CHECKING:
    from spherex.image import SPHERExImage

_DIMENSIONS = ("instrument", "exposure", "detector")


class WriteConnections(pipeBase.PipelineTaskConnections, dimensions=_DIMENSIONS):
    """What `WriteTask` reads, namely nothing, and writes."""

    image = cT.Input(
        doc="Image that there is a quantum for.",
        name="rawexp",
        storageClass="SPHERExImage",
        dimensions=_DIMENSIONS,
        deferLoad=True,
    )
    note = cT.Output(doc="A small dataset.", name="note", storageClass="StructuredDataDict", dimensions=_DIMENSIONS)


class WriteConfig(pipeBase.PipelineTaskConfig, pipelineConnections=WriteConnections):
    """Configuration of `WriteTask`."""


class WriteTask(pipeBase.PipelineTask):
    """Do nothing but write one small dataset."""

    ConfigClass = WriteConfig
    _DefaultName = "write"

    def run(self, image: Any) -> pipeBase.Struct:
        """Return the note."""
        return pipeBase.Struct(note={"written": True})


class BusyConfig(SubtractConfig):
    """Configuration of `BusyTask`."""

    seconds: pexConfig.Field[float] = pexConfig.Field(
        dtype=float, default=0.0, doc="Processor time to spend beyond the subtraction (s)."
    )


class BusyTask(SubtractTask):
    """Subtract, and then keep the processor busy as a longer task would."""

    ConfigClass = BusyConfig
    _DefaultName = "busy"
    config: BusyConfig

    def run(self, inputImage: SPHERExImage, subtractImage: SPHERExImage) -> pipeBase.Struct:  # noqa: N803
        """Subtract and spend time."""
        end = time.process_time() + self.config.seconds
        result = super().run(inputImage, subtractImage)
        while time.process_time() < end:
            sum(range(1000))
        return result
