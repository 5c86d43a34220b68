"""Subtraction of the calibration that belongs to the time of an exposure."""

from __future__ import annotations

__all__ = [
    "CalibratedSubtractConfig",
    "CalibratedSubtractConnections",
    "CalibratedSubtractTask",
    "MissingCalibrationError",
]

import dataclasses
import logging

import click
import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
from lsst.pipe.base.quantum_graph_builder import PrerequisiteMissingError

from ._calibration_lookup import CalibrationLookup, explain_missing
from ._subtract import SubtractConfig, SubtractConnections, SubtractTask

_LOG = logging.getLogger(__name__)


class MissingCalibrationError(PrerequisiteMissingError, click.ClickException):
    """Images have no calibration; the message says which, and what to do.

    Of an exception of click, ``pipetask`` shows the message alone, of others a
    traceback too.
    """


class CalibratedSubtractConnections(SubtractConnections, dimensions=("instrument", "exposure", "detector")):
    """What `CalibratedSubtractTask` reads and writes."""

    subtractImage = cT.PrerequisiteInput(
        doc="Image to subtract, valid at the middle of the exposure.",
        name="combined_dark",
        storageClass="SPHERExImage",
        dimensions=("instrument", "detector"),
        isCalibration=True,
    )

    def __init__(self, *, config: CalibratedSubtractConfig | None = None) -> None:
        super().__init__(config=config)
        # Each pipeline has a lookup of its own, so that none sees what
        # another one has read.
        self._lookup = CalibrationLookup()
        self._leaves_out = config is not None and config.leaveOutUncalibrated
        self.subtractImage = dataclasses.replace(self.subtractImage, lookupFunction=self._lookup)

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Refuse, or leave out, what has no calibration.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.

        Raises
        ------
        MissingCalibrationError
            If there is any and it is not to be left out.
        """
        missing = self._lookup.finish()
        if not missing:
            return
        explanation = explain_missing(missing)
        if not self._leaves_out:
            raise MissingCalibrationError(
                f"{explanation}\nOr leave such images out: -c {adjuster.task_label}:leaveOutUncalibrated=True"
            )
        for one in missing:
            adjuster.remove_quantum(one.data_id)
        _LOG.warning("%d images are left out.\n%s", len(missing), explanation)


class CalibratedSubtractConfig(SubtractConfig, pipelineConnections=CalibratedSubtractConnections):
    """Configuration of `CalibratedSubtractTask`."""

    leaveOutUncalibrated = pexConfig.Field[bool](
        default=False,
        doc="Leave out images for which there is no calibration, with a warning that names them. Otherwise there is "
        "no graph until all have one.",
    )


class CalibratedSubtractTask(SubtractTask):
    """Subtract the calibration that is valid at the time of the exposure.

    It does what `SubtractTask` does; only the search for the image to subtract
    differs.
    """

    ConfigClass = CalibratedSubtractConfig
    _DefaultName = "calibratedSubtract"
    config: CalibratedSubtractConfig
